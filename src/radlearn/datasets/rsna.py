"""RSNA Pneumonia Detection Challenge (2018): DICOM files, boxes, class of each image."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from radlearn.datasets.boxes import fractional
from radlearn.datasets.headers import facts
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import folder, located
from radlearn.datasets.tables import Table, label_of, open_table
from radlearn.errors import InputError
from radlearn.records.record import Box, SetAside, Source, SourceRecord

NAME = "RSNA Pneumonia Detection Challenge"
LABEL = "Pneumonia"
IMAGES = "stage_2_train_images"
HOLDING = f"stage_2_train_labels.csv and {IMAGES}/"
COLUMNS = ("patientId", "x", "y", "width", "height", "Target")


def records(source: Path, options: LayoutOptions) -> Source:
    """One record an image; its boxes are the evidence of pneumonia and carry that name.

    The extra column `class` tells normal images from those with another finding. RSNA's images
    were drawn from NIH ChestX-ray14: keep results on the two apart.

    Raises:
        InputError: no labels table, or a column is missing.
    """
    root = folder(source, "rsna", HOLDING)
    path = options.table or root / "stage_2_train_labels.csv"
    if not path.is_file():
        raise InputError(f"there is no {path}; rsna looks for a folder holding {HOLDING}")
    table = open_table(path, required=COLUMNS)
    set_aside: list[SetAside] = []
    return Source(
        name=NAME,
        label_names=(LABEL,),
        licence="Kaggle competition terms, non-commercial",
        terms="Non-commercial research and education under the competition's terms; the images "
        "are NIH's: acknowledge the NIH Clinical Center. Cite Shih et al., Radiology: AI 2019.",
        records=_records(root, table, options, set_aside),
        set_aside=set_aside,
    )


def _records(
    root: Path, table: Table, options: LayoutOptions, set_aside: list[SetAside]
) -> Iterator[SourceRecord]:
    targets: dict[str, float | None] = {}
    cells: dict[str, list[list[str]]] = defaultdict(list)
    for row in table:
        name = row["patientId"]
        try:
            target = label_of(row["Target"])
        except ValueError as error:
            set_aside.append(SetAside(name, f"Target: {error}"))
            continue
        targets[name] = max(target or 0.0, targets.get(name) or 0.0)
        if row["x"]:
            cells[name].append([row[c] for c in ("x", "y", "width", "height")])
    classes = _classes(root)
    base = options.images or root
    for name, target in targets.items():
        image = located((base / IMAGES, base), [f"{name}.dcm"], set_aside, f"{IMAGES}/{name}.dcm")
        if image is not None:
            extra = {"class": classes[name]} if name in classes else {}
            yield SourceRecord(
                id=name,
                patient=name,
                image=image,
                labels={} if target is None else {LABEL: target},
                boxes=_boxes(image, cells[name]) if name in cells else (),
                extra=extra,
            )


def _classes(root: Path) -> dict[str, str]:
    path = root / "stage_2_detailed_class_info.csv"
    if not path.is_file():
        return {}
    return {row["patientId"]: row["class"] for row in open_table(path, ("patientId", "class"))}


def _boxes(image: Path, cells: list[list[str]]) -> tuple[Box, ...]:
    size = facts(image)
    if size is None or not size.width or not size.height:
        return ()
    boxes = (fractional(LABEL, c, size.width, size.height) for c in cells)
    return tuple(box for box in boxes if box)
