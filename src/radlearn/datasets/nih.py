"""NIH ChestX-ray14 (Wang et al., CVPR 2017): Data_Entry_2017*.csv, images, boxes, split lists."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from radlearn.datasets.boxes import fractional
from radlearn.datasets.lists import Place, note_absent, read_places
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import folder, located, one_of
from radlearn.datasets.tables import (
    Table,
    age_of,
    open_table,
    raw_rows,
    sex_of,
    view_of,
)
from radlearn.errors import InputError
from radlearn.records.record import Box, SetAside, Source, SourceRecord, Split

NAME = "NIH ChestX-ray14"
LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
LISTS: Mapping[str, Mapping[Split, str]] = {
    "medpeft": {split: f"medpeft_{split}_list.txt" for split in Split},
    "official": {Split.TRAIN: "train_val_list.txt", Split.TEST: "test_list.txt"},
}
"""Published splits and their files; no two of them hold the same images apart."""
BOX_SIDE = 1024  # boxes are in pixels of the published 1024 x 1024 images, whatever size is here
HOLDING = "Data_Entry_2017*.csv and the images (images/ or images_001/images/ ...)"


def records(source: Path, options: LayoutOptions) -> Source:
    """All 14 labels are known, 0 or 1, for each image that the table gives findings for.

    `published="medpeft"` keeps MED-PEFT's lists, `"official"` NIH's train_val_list.txt and
    test_list.txt (its validation part is carved from training later). Labels come from the table
    either way. Extra columns: no_finding, follow_up, projection; `official` and `medpeft`, where
    these lists lie there, kept or not: where each puts the image; and, where RSNA's reading of the
    image is given, rsna_target and rsna_class. RSNA's boxes are named Pneumonia.

    Raises:
        InputError: not an NIH folder, a column is missing, or the split's lists are.
    """
    root = folder(source, "nih", HOLDING)
    path = options.table or one_of(
        root, ["Data_Entry_2017*.csv", "Data_Entry_2017*.csv.gz"], "nih", HOLDING
    )
    table = open_table(path, required=("Image Index", "Finding Labels", "Patient ID"))
    set_aside: list[SetAside] = []
    return Source(
        name=NAME,
        label_names=LABELS,
        licence="free use with acknowledgement",
        terms="Free to use; acknowledge the NIH Clinical Center as provider of the images and cite "
        "Wang et al., CVPR 2017. RSNA's boxes, where present, come under the terms of its Kaggle "
        "competition: non-commercial.",
        records=_records(root, table, options, set_aside),
        set_aside=set_aside,
    )


def finding_name(text: str) -> str:
    """NIH's spelling of a finding: the boxes' `Infiltrate` is the labels' `Infiltration`."""
    name = "_".join(text.split())
    return {"Infiltrate": "Infiltration", "No_Finding": NO_FINDING}.get(name, name)


def _records(
    root: Path, table: Table, options: LayoutOptions, set_aside: list[SetAside]
) -> Iterator[SourceRecord]:
    base = options.images or root
    roots = [base / "images", *sorted(base.glob("images_*/images")), *sorted(base.glob("images_*"))]
    roots.append(base)
    places = _published(root, options.published)
    others = {
        name: _published(root, name) for name, lists in LISTS.items() if _are_there(root, lists)
    }
    boxes, readings = _boxes(root)
    met: set[str] = set()
    for row in table:
        name = row["Image Index"]
        findings = {finding_name(f) for f in row["Finding Labels"].split("|")} - {""}
        if unknown := findings - {NO_FINDING, *LABELS}:
            set_aside.append(SetAside(name, f"finding {min(unknown)!r} is none of the 14"))
            continue
        if name in met:
            set_aside.append(SetAside(name, "the table has it twice; the first row counts"))
            continue
        image = located(roots, [name], set_aside, name)
        if image is None:
            continue
        met.add(name)
        extra = {
            "no_finding": str(int(findings == {NO_FINDING})),
            "follow_up": row.get("Follow-up #", ""),
            "projection": row.get("View Position", ""),
            **{of: str(listed[name].split) for of, listed in others.items() if name in listed},
            **readings.get(name, {}),
        }
        yield SourceRecord(
            id=name.rsplit(".", 1)[0],
            patient=row["Patient ID"].lstrip("0") or row["Patient ID"],
            image=image,
            labels={label: float(label in findings) for label in LABELS} if findings else {},
            boxes=tuple(boxes.get(name, ())),
            view=view_of(row.get("View Position", "")),
            age=age_of(row.get("Patient Age", "")),
            sex=sex_of(row.get("Patient Gender", "")),
            split=places[name].split if name in places else None,
            extra={key: value for key, value in extra.items() if value},
        )
    note_absent(places, met, set_aside)


def _are_there(root: Path, lists: Mapping[Split, str]) -> bool:
    return all((root / name).is_file() for name in lists.values())


def _published(root: Path, name: str | None) -> dict[str, Place]:
    if name is None:
        return {}
    if name not in LISTS:
        raise InputError(f"nih has no published split {name!r}; choose {' or '.join(LISTS)}")
    return read_places({split: root / file for split, file in LISTS[name].items()})


def _boxes(root: Path) -> tuple[dict[str, list[Box]], Mapping[str, dict[str, str]]]:
    """Boxes by image name, and what RSNA's readers said of the image as a whole."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    readings: dict[str, dict[str, str]] = {}
    if (path := root / "BBox_List_2017.csv").is_file():
        # by position: the header's `Bbox [x,y,w,h]` falls apart at its commas
        for cells in raw_rows(path):
            if len(cells) >= 6:
                _add(boxes[cells[0]], finding_name(cells[1]), cells[2:6])
    if (path := root / "rsna_boxes.csv").is_file():
        for row in open_table(path, ("Image Index", "x", "y", "width", "height", "Target")):
            name = row["Image Index"]
            readings[name] = {"rsna_target": row["Target"], "rsna_class": row.get("class", "")}
            _add(boxes[name], "Pneumonia", [row[c] for c in ("x", "y", "width", "height")])
    return boxes, readings


def _add(boxes: list[Box], finding: str, cells: list[str]) -> None:
    if box := fractional(finding, cells, BOX_SIDE, BOX_SIDE):
        boxes.append(box)
