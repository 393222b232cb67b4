"""MIMIC-CXR-JPG (Johnson et al., 2019) as published, or MRM's training.csv."""

import re
from collections.abc import Iterator
from pathlib import Path

from radlearn.datasets.chexpert import LABELS
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import MISSING, folder, inside, located, tails
from radlearn.datasets.tables import Table, label_of, open_table, split_of, text_lines, view_of
from radlearn.errors import InputError, UnreadableError
from radlearn.records.record import SetAside, Source, SourceRecord, Split
from radlearn.records.reports import clean_report, findings_and_impression

NAME = "MIMIC-CXR"
HOLDING = "training.csv (image_path,report_content), or files/ with mimic-cxr-2.0.0-*.csv.gz"
PATIENT = re.compile(r"(?:^|/)p(\d{8})(?:/|$)")
STUDY = re.compile(r"(?:^|/)s(\d{8})(?:/|$)")
REPORT_LIMIT = 1 << 20  # characters; the longest published report has under 10,000
NOT_LABELLED, CODE = 9, {0.0: 0, 1.0: 1, -1.0: 255}
VALUE = {code: value for value, code in CODE.items()}


def records(source: Path, options: LayoutOptions) -> Source:
    """Image and report pairs: one record an image, with the findings and impression of its study.

    With `options.table`, or a training.csv and no official tables, MRM's layout is read: the path
    and the text are the record. Otherwise the official tree: metadata (views), split, CheXpert's
    labels, and the reports files/p10/p10000032/s50414267.txt, in the same folder or in
    `options.reports`. `published="official"` keeps the official split.

    Raises:
        InputError: neither layout is there, or a column is missing.
    """
    root = folder(source, "mimic", HOLDING)
    if options.published not in (None, "official"):
        raise InputError(f"mimic has no published split {options.published!r}; there is official")
    set_aside: list[SetAside] = []
    names: tuple[str, ...] = ()
    official = {name: _official(root, name) for name in ("metadata", "split", "chexpert")}
    base = official["metadata"] or official["split"]
    if options.table or base is None:
        path = options.table or root / "training.csv"
        if not path.is_file():
            raise InputError(f"there is no {path}; mimic looks for a folder holding {HOLDING}")
        table = open_table(path, required=("image_path", "report_content"))
        found = _pairs(options.images or root, table, set_aside)
    else:
        required = ("dicom_id", "subject_id", "study_id")
        splits = official["split"] if options.published else None
        if options.published and splits is None:
            raise InputError(f"the official split needs mimic-cxr-2.0.0-split.csv.gz in {root}")
        names = LABELS if official["chexpert"] else ()
        table = open_table(base, required=required)
        found = _tree(root, table, splits, official["chexpert"], options, set_aside)
    return Source(
        name=NAME,
        label_names=names,
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        terms="Only for those credentialed by PhysioNet who signed its agreement; the data may not "
        "be shared, nor anybody in it identified. Cite Johnson et al., Scientific Data 2019.",
        records=found,
        set_aside=set_aside,
    )


def _official(root: Path, name: str) -> Path | None:
    found = [*root.glob(f"mimic-cxr-*-{name}.csv.gz"), *root.glob(f"mimic-cxr-*-{name}.csv")]
    return max(found, key=lambda path: path.name, default=None)


def _pairs(base: Path, table: Table, set_aside: list[SetAside]) -> Iterator[SourceRecord]:
    met: set[str] = set()
    for row in table:
        path = row["image_path"].replace("\\", "/")
        if path in met:
            set_aside.append(SetAside(path, "named twice; the first row counts"))
            continue
        image = located([base, base / "files"], tails(path, 1), set_aside, path)
        if image is None:
            continue
        met.add(path)
        patient, study = PATIENT.search(path), STUDY.search(path)
        own = path.rsplit(".", 1)[0]
        yield SourceRecord(
            id=own,
            patient=patient[1] if patient else study[1] if study else own,
            image=image,
            report=clean_report(row["report_content"]) or None,
            extra={"study": study[1]} if study else {},
        )


def _tree(
    root: Path,
    table: Table,
    splits: Path | None,
    chexpert: Path | None,
    options: LayoutOptions,
    set_aside: list[SetAside],
) -> Iterator[SourceRecord]:
    split_by_image = _splits(splits) if splits else {}
    labels_by_study = _labels(chexpert) if chexpert else {}
    base = options.images or root
    reports = [p for p in (options.reports, root, root / "mimic-cxr-reports") if p]
    last: tuple[str, str | None] = ("", None)
    for row in table:
        subject, study, name = row["subject_id"], row["study_id"], row["dicom_id"]
        place = f"p{subject[:2]}/p{subject}/s{study}"
        image = located(
            [base / "files", base],
            [f"{place}/{name}.jpg", f"{place}/{name}.dcm"],
            set_aside,
            f"files/{place}/{name}.jpg",
        )
        if image is None:
            continue
        if last[0] != place:
            last = (place, _report(reports, place, set_aside))
        codes = labels_by_study.get(study, b"")
        projection = row.get("ViewPosition", "")
        yield SourceRecord(
            id=name,
            patient=subject,
            image=image,
            report=last[1],
            labels={n: VALUE[c] for n, c in zip(LABELS, codes, strict=False) if c in VALUE},
            view=view_of(projection),
            split=split_by_image.get(name),
            extra={k: v for k, v in (("study", study), ("projection", projection)) if v},
        )


def _splits(path: Path) -> dict[str, Split]:
    rows = open_table(path, required=("dicom_id", "split"))
    pairs = ((row["dicom_id"], split_of(row["split"])) for row in rows)
    return {name: split for name, split in pairs if split is not None}


def _labels(path: Path) -> dict[str, bytes]:
    """Labels of each study, a byte each: 227,827 studies stay under 50 MB."""
    labels = {}
    for row in open_table(path, required=("study_id", *LABELS)):
        values = []
        for name in LABELS:
            try:
                value = label_of(row[name])
            except ValueError:
                value = None
            values.append(NOT_LABELLED if value is None else CODE[value])
        labels[row["study_id"]] = bytes(values)
    return labels


def _report(roots: list[Path], place: str, set_aside: list[SetAside]) -> str | None:
    for root in roots:
        for name in (f"files/{place}.txt", f"{place}.txt"):
            try:
                path = inside(root, name)
            except UnreadableError as error:
                if str(error) != MISSING:
                    set_aside.append(SetAside(name, str(error)))
                continue
            try:
                text = "".join(text_lines(path))[:REPORT_LIMIT]
            except InputError:
                set_aside.append(SetAside(name, "the report cannot be read; its images are kept"))
                return None
            return findings_and_impression(text) or None
    return None
