"""COVID-19 Image Data Collection (Cohen et al., 2020): metadata.csv, images, clinical notes."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from radlearn.datasets.lists import Place, note_absent, read_places
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import folder, located
from radlearn.datasets.tables import age_of, open_table, sex_of, view_of
from radlearn.errors import InputError
from radlearn.records.record import MaskFiles, SetAside, Source, SourceRecord, Split
from radlearn.records.reports import clean_report

NAME = "COVID-19 Image Data Collection"
LABELS = ("COVID-19", "Pneumonia", "Viral", "Bacterial")
VIRAL = {"covid-19", "sars", "mers", "mers-cov", "varicella", "influenza", "herpes", "h1n1"}
BACTERIAL = {
    *("streptococcus", "klebsiella", "e.coli", "legionella", "mycoplasma", "chlamydophila"),
    *("nocardia", "staphylococcus", "mrsa"),
}
OTHER_PNEUMONIA = {"pneumocystis", "aspergillosis", "fungal", "lipoid", "aspiration"}
HOLDING = "metadata.csv and images/"
LIST_LABELS = {"iscovid": ("COVID-19", None), "isviral": ("Viral", "Bacterial")}
EXTRA = {
    "finding": "finding",
    "projection": "view",
    "survival": "survival",
    "intubated": "intubated",
    "icu": "went_icu",
    "offset": "offset",
    "url": "url",
}


def records(source: Path, options: LayoutOptions) -> Source:
    """Radiographs with their clinical notes as report; computed tomography is set aside.

    A file that stands under several patient ids is one record, and those ids one patient.
    Labels follow from the column `finding` (see `labels_of`). `published="mrm-covid1"` (or any
    other folder NAME of mrm_splits/ as mrm-NAME) keeps MRM's lists: their splits, and their
    labels for the task that they are about, COVID-19 or Viral against Bacterial.

    Raises:
        InputError: no metadata.csv, a column is missing, or the split's lists are.
    """
    root = folder(source, "covid", HOLDING)
    path = options.table or root / "metadata.csv"
    if not path.is_file():
        raise InputError(f"there is no {path}; covid looks for a folder holding {HOLDING}")
    table = open_table(path, required=("patientid", "filename", "finding", "modality"))
    rows = list(table)
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patients[row["filename"]].add(row["patientid"])
    set_aside: list[SetAside] = []
    return Source(
        name=NAME,
        label_names=LABELS,
        mask_names=("lung",),
        licence="images CC BY, CC BY-SA or CC BY-NC-SA, each its own; metadata CC BY-NC-SA 4.0",
        terms="Each image keeps the licence given with it; metadata CC BY-NC-SA 4.0 (no commercial "
        "use, share alike); lung masks CC BY 4.0. Cite Cohen et al., arXiv:2006.11988.",
        records=_records(root, rows, options, set_aside),
        set_aside=set_aside,
        same_patient=_joined(patients.values()),
    )


def labels_of(finding: str) -> dict[str, float]:
    """What a finding such as `COVID-19, ARDS` or `Pneumonia/Bacterial/E.Coli` says.

    `todo` and `Unknown` say nothing. `No Finding` speaks of the image only (many are of COVID-19
    patients): no pneumonia, the rest unknown. A pneumonia without a named cause, an ARDS and a
    tuberculosis are not COVID-19; what else they are is unknown.
    """
    words = {word.strip().lower() for word in re.split(r"[,/]", finding)}
    causes = words | {word.split()[0] for word in words if word}
    if "no finding" in words:
        return {"Pneumonia": 0.0}
    viral = bool(causes & (VIRAL | {"viral"}))
    bacterial = bool(causes & (BACTERIAL | {"bacterial"}))
    if viral or bacterial or causes & OTHER_PNEUMONIA:
        return {
            "COVID-19": float("covid-19" in causes),
            "Pneumonia": 1.0,
            "Viral": float(viral),
            "Bacterial": float(bacterial),
        }
    if "pneumonia" in words:
        return {"COVID-19": 0.0, "Pneumonia": 1.0}
    return {"COVID-19": 0.0} if causes & {"ards", "tuberculosis"} else {}


def _records(
    root: Path,
    rows: list[dict[str, str]],
    options: LayoutOptions,
    set_aside: list[SetAside],
) -> Iterator[SourceRecord]:
    base = options.images or root
    places = _published(root, options.published)
    met: set[str] = set()
    for row in rows:
        name = row["filename"]
        if name in met:
            continue
        if "x-ray" not in row["modality"].lower():
            set_aside.append(SetAside(name, f"not a radiograph: {row['modality'] or 'unknown'}"))
            continue
        names = (f"{row.get('folder') or 'images'}/{name}", name)
        image = located([base], names, set_aside, name)
        if image is None:
            continue
        met.add(name)
        stem = name.rsplit(".", 1)[0]
        mask = located([options.mask_folder or root / "lung_masks"], [f"{stem}.png"], None, "")
        labels = labels_of(row["finding"])
        if name in places:
            labels |= _list_labels(places[name], set_aside)
        yield SourceRecord(
            id=name,
            patient=row["patientid"],
            image=image,
            report=clean_report(row.get("clinical_notes", "")) or None,
            labels=labels,
            mask=MaskFiles((mask,)) if mask else None,
            view=view_of(row.get("view", "")),
            age=age_of(row.get("age", "")),
            sex=sex_of(row.get("sex", "")),
            split=places[name].split if name in places else None,
            licence=row.get("license") or None,
            extra={name: row[c] for name, c in EXTRA.items() if row.get(c)},
        )
    note_absent(places, met, set_aside)


def _published(root: Path, published: str | None) -> dict[str, Place]:
    if published is None:
        return {}
    there = sorted(p.name for p in root.glob("mrm_splits/*") if p.is_dir())
    name = published.removeprefix("mrm-")
    if name not in there or name == published:
        choice = ", ".join(f"mrm-{n}" for n in there) or f"none: {root} has no mrm_splits/"
        raise InputError(f"covid has no published split {published!r}; there is {choice}")
    lists = {}
    for split in Split:
        found = sorted((root / "mrm_splits" / name).glob(f"*_{split}.txt"))
        lists[split] = found[0] if found else root / "mrm_splits" / name / f"*_{split}.txt"
    return read_places(lists)


def _list_labels(place: Place, set_aside: list[SetAside]) -> Mapping[str, float]:
    """The label of an MRM list; anything but one 0 or 1 is set aside and the file kept."""
    task = LIST_LABELS.get(place.list_name.split("_")[0])
    if task is None:
        return {}
    if place.line.labels not in (("0",), ("1",)):
        shown = " ".join(place.line.labels)[:40]
        where = f"{place.list_name}:{place.line.number}"
        set_aside.append(SetAside(where, f"the label {shown!r} is not 0 or 1; its file is kept"))
        return {}
    value = float(place.line.labels[0])
    yes, no = task
    return {yes: value, no: 1.0 - value} if no else {yes: value}


def _joined(groups: Iterable[set[str]]) -> tuple[frozenset[str], ...]:
    """Sets of ids that overlap, united; single ids left out."""
    united: list[set[str]] = []
    for group in groups:
        if len(group) < 2:
            continue
        apart = [g for g in united if not g & group]
        united = [*apart, group.union(*(g for g in united if g & group))]
    return tuple(frozenset(g) for g in united)
