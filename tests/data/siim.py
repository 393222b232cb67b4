"""SIIM-ACR: one folder a study and series, run-lengths under a column that starts with a space."""

from pathlib import Path

from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import RunLengths

from .fakes import Fake, dicom, write


def make(root: Path) -> Fake:
    table = write(
        root / "siim-pneumothorax-train-rle.csv",
        [
            "ImageId, EncodedPixels",
            "1.2.3.1,2 3 5 4",
            "1.2.3.2, -1",
            "1.2.3.1,100 2",
            "1.2.3.3,-1",
        ],
    )
    dicom(root / "dicom-images-train/1.9.1/1.9.2/1.2.3.1.dcm", patient="p-1", rows=16, columns=20)
    dicom(root / "dicom-images-train/1.9.3/1.9.4/1.2.3.2.dcm")
    for part, names in {"train": ["1.2.3.1"], "val": ["1.2.3.9"], "test": ["1.2.3.2"]}.items():
        write(root / "mrm_splits" / f"{part}_list.txt", names)
    return Fake(
        root,
        {
            "1.2.3.1": {
                "patient": "p-1",
                "labels": {"Pneumothorax": 1.0},
                "mask": RunLengths(("2 3 5 4", "100 2"), 16, 20),
                "split": "train",
            },
            "1.2.3.2": {
                "patient": "1.2.3.2",
                "labels": {"Pneumothorax": 0.0},
                "mask": RunLengths((), 16, 32),
                "split": "test",
            },
        },
        {"1.2.3.3": "missing", "val_list.txt": "names 1 files"},
        LayoutOptions(published="mrm"),
        label_names=("Pneumothorax",),
        table=table,
        column="EncodedPixels",
    )
