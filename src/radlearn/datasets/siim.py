"""SIIM-ACR Pneumothorax Segmentation (2019): DICOM files and run-length masks."""

from collections.abc import Iterator
from pathlib import Path

from radlearn.datasets.headers import facts
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import MISSING, folder, one_of, walk
from radlearn.datasets.tables import Table, open_table
from radlearn.errors import InputError
from radlearn.records.record import RunLengths, SetAside, Source, SourceRecord

NAME = "SIIM-ACR Pneumothorax Segmentation"
LABEL = "Pneumothorax"
HOLDING = "a train-rle CSV and DICOM files"
TABLES = ("*train-rle*.csv", "*train-rle*.csv.gz", "stage_2_train.csv")
IMAGES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")


def records(source: Path, options: LayoutOptions) -> Source:
    """Images anywhere below the folder, named by the table; a mask each, empty without finding.

    The label is whether the mask has foreground. Several rows of an image are united. The patient
    is the DICOM header's, else each image its own.

    Raises:
        InputError: no run-length table, or a column is missing.
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
        records=_records(images, table, set_aside),
        set_aside=set_aside,
    )


def _records(root: Path, table: Table, set_aside: list[SetAside]) -> Iterator[SourceRecord]:
    runs: dict[str, list[str]] = {}
    for row in table:
        encodings = runs.setdefault(row["ImageId"], [])
        if row["EncodedPixels"] not in ("", "-1"):
            encodings.append(row["EncodedPixels"])
    images: dict[str, Path] = {}
    for path in walk(root, set_aside):
        if path.suffix.lower() in IMAGES and path.stem in runs:
            images.setdefault(path.stem, path)
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
        )
