"""SIIM-ACR Pneumothorax Segmentation (2019): DICOM files and run-length masks."""

from collections.abc import Iterator
from pathlib import Path

from radlearn.datasets.headers import facts
from radlearn.datasets.lists import Place, note_absent, read_places
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import MISSING, folder, one_of, walk
from radlearn.datasets.tables import Table, open_table
from radlearn.errors import InputError
from radlearn.records.record import RunLengths, SetAside, Source, SourceRecord, Split

NAME = "SIIM-ACR Pneumothorax Segmentation"
LABEL = "Pneumothorax"
HOLDING = "a train-rle CSV and DICOM files"
TABLES = ("*train-rle*.csv", "*train-rle*.csv.gz", "stage_2_train.csv")
IMAGES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")
LISTS = "mrm_splits"
"""Folder of the lists published with MRM's code, an ImageId a line."""


def records(source: Path, options: LayoutOptions) -> Source:
    """Images anywhere below the folder, named by the table; a mask each, empty without finding.

    The label is whether the mask has foreground. Several rows of an image are united. The patient
    is the DICOM header's, else each image its own. `published="mrm"` keeps MRM's train_list.txt,
    val_list.txt and test_list.txt; their train_10.txt is no part of it, since it names images of
    their test_list.txt.

    Raises:
        InputError: no run-length table, a column is missing, or the split's lists are.
    """
    root = folder(source, "siim", HOLDING)
    path = options.table or one_of(root, TABLES, "siim", HOLDING)
    table = open_table(path, required=("ImageId", "EncodedPixels"))
    images = options.images or root
    if not images.is_dir():
        raise InputError(f"{images} is not a folder; siim looks there for DICOM files")
    set_aside: list[SetAside] = []
    return Source(
        name=NAME,
        label_names=(LABEL,),
        mask_names=("pneumothorax",),
        licence="Kaggle competition terms, non-commercial",
        terms="Non-commercial research and education under the competition's terms; the images "
        "are NIH's: acknowledge the NIH Clinical Center.",
        records=_records(images, table, _published(root, options.published), set_aside),
        set_aside=set_aside,
    )


def _published(root: Path, name: str | None) -> dict[str, Place]:
    if name is None:
        return {}
    if name != "mrm":
        raise InputError(f"siim has no published split {name!r}; there is mrm")
    return read_places({split: root / LISTS / f"{split}_list.txt" for split in Split})


def _records(
    root: Path, table: Table, places: dict[str, Place], set_aside: list[SetAside]
) -> Iterator[SourceRecord]:
    runs: dict[str, list[str]] = {}
    for row in table:
        encodings = runs.setdefault(row["ImageId"], [])
        if row["EncodedPixels"] not in ("", "-1"):
            encodings.append(row["EncodedPixels"])
    images: dict[str, Path] = {}
    for path in walk(root, set_aside):
        if path.suffix.lower() in IMAGES and path.stem in runs:
            images.setdefault(path.stem, path)
    note_absent(places, images.keys(), set_aside)
    for name, encodings in runs.items():
        if name not in images:
            set_aside.append(SetAside(name, MISSING))
            continue
        known = facts(images[name])
        mask = RunLengths(tuple(encodings), known.height, known.width) if known else None
        yield SourceRecord(
            id=name,
            patient=(known.patient if known else None) or name,
            image=images[name],
            labels={LABEL: float(bool(encodings))},
            mask=mask,
            split=places[name].split if name in places else None,
        )
