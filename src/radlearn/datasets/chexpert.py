"""CheXpert (Irvin et al., AAAI 2019): train.csv and valid.csv with uncertain labels."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import folder, located, tails
from radlearn.datasets.tables import Table, age_of, label_of, open_table, sex_of, split_of, view_of
from radlearn.errors import InputError
from radlearn.records.record import SetAside, Source, SourceRecord, Split, View

NAME = "CheXpert"
LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
COMPETITION = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
HOLDING = "train.csv and valid.csv beside train/ and valid/"
PATIENT = re.compile(r"patient\d+")
PARTS = 3  # patient/study/file: what identifies an image


def records(source: Path, options: LayoutOptions) -> Source:
    """Labels as given: 1, 0, -1 for uncertain, empty for not mentioned (not labelled).

    The tables are train.csv, valid.csv and test.csv (or any CSV named like one of them), or
    `options.table`. `published="official"` keeps them as train and val and test.

    Raises:
        InputError: no such table, or a column is missing.
    """
    root = folder(source, "chexpert", HOLDING)
    if options.published not in (None, "official"):
        raise InputError(
            f"chexpert has no published split {options.published!r}; there is official"
        )
    tables = [open_table(path, required=("Path",)) for path in _tables(root, options)]
    names = tuple(label for label in LABELS if any(table.has(label) for table in tables))
    if not names:
        raise InputError(f"{tables[0].path} has none of the columns {', '.join(LABELS)}")
    set_aside: list[SetAside] = []
    return Source(
        name=NAME,
        label_names=names,
        licence="Stanford University Dataset Research Use Agreement",
        terms="Research use by those who signed Stanford's agreement; neither the data nor copies "
        "of them may be passed on. Cite Irvin et al., AAAI 2019.",
        records=_records(root, tables, names, options, set_aside),
        set_aside=set_aside,
    )


def patient_of(path: str) -> str | None:
    """`patient00001` out of a path of CheXpert."""
    match = PATIENT.search(path)
    return match[0] if match else None


def roots_of(base: Path) -> list[Path]:
    """The folders that a path of CheXpert may start from."""
    return [base, *sorted(p for p in base.glob("CheXpert*") if p.is_dir())]


def _tables(root: Path, options: LayoutOptions) -> list[Path]:
    if options.table:
        return [options.table]
    for place in roots_of(root):
        for pattern in ("{}.csv", "*{}*.csv"):
            found = [p for s in ("train", "valid", "test") for p in place.glob(pattern.format(s))]
            if found:
                return sorted(set(found), key=lambda p: ("train" not in p.name, p.name))
    raise InputError(f"{root} has no train.csv or valid.csv; chexpert looks for {HOLDING}")


def _records(
    root: Path,
    tables: Sequence[Table],
    names: Sequence[str],
    options: LayoutOptions,
    set_aside: list[SetAside],
) -> Iterator[SourceRecord]:
    roots = roots_of(options.images or root)
    met: set[str] = set()
    for table in tables:
        for row in table:
            path = row["Path"].replace("\\", "/")
            patient = patient_of(path)
            if patient is None:
                set_aside.append(SetAside(path, "no patient in its path"))
                continue
            own = tails(path, PARTS)[-1].rsplit(".", 1)[0]
            if own in met:
                set_aside.append(SetAside(path, "named twice; the first row counts"))
                continue
            image = located(roots, tails(path, PARTS), set_aside, path)
            if image is None:
                continue
            met.add(own)
            try:
                labels = {name: label_of(row.get(name, "")) for name in names}
            except ValueError as error:
                set_aside.append(SetAside(path, f"a label: {error}"))
                continue
            projection = row.get("AP/PA", "")
            yield SourceRecord(
                id=own,
                patient=patient,
                image=image,
                labels={name: value for name, value in labels.items() if value is not None},
                view=_view(row, path),
                age=age_of(row.get("Age", "")),
                sex=sex_of(row.get("Sex", "")),
                split=_split(path, table.path) if options.published else None,
                extra={"projection": projection} if projection else {},
            )


def _view(row: dict[str, str], path: str) -> View:
    view = view_of(row.get("Frontal/Lateral", ""))
    return view if view != View.UNKNOWN else view_of(path.rsplit(".", 1)[0].rsplit("_", 1)[-1])


def _split(path: str, table: Path) -> Split | None:
    """The folder of the image says it (`train/patient00001/...`), else the table's name."""
    folders = path.split("/")[:-PARTS]
    words = [*reversed(folders), *table.name.split(".")[0].split("_")]
    return next((split for split in map(split_of, words) if split), None)
