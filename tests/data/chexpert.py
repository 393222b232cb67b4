"""CheXpert, its small version: two tables, uncertain labels, the archive's own prefix."""

from pathlib import Path

from radlearn.datasets.chexpert import LABELS
from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import Split, View

from .fakes import Fake, picture, write

HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS))


def make(root: Path) -> Fake:
    prefix = "CheXpert-v1.0-small"
    table = write(
        root / "train.csv",
        [
            HEADER,
            f"{prefix}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,"
            "1.0,,,,,,,,,0.0,,,,1.0",
            f"{prefix}/train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,"
            ",,-1.0,,,,,,,,,,,",
            f"{prefix}/train/patient00002/study1/view1_frontal.jpg,Male,40,Frontal,PA," + "," * 13,
            f"{prefix}/train/../../patient00003/study1/view1_frontal.jpg,Male,40,Frontal,PA,"
            + "," * 13,
        ],
    )
    write(
        root / "valid.csv",
        [
            HEADER,
            f"{prefix}/valid/patient64541/study1/view1_frontal.jpg,Unknown,73,Frontal,AP,"
            + ",".join(["0.0"] * 14),
        ],
    )
    for path in (
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00001/study1/view2_lateral.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    ):
        picture(root / path)
    return Fake(
        root,
        {
            "patient00001/study1/view1_frontal": {
                "patient": "patient00001",
                "labels": {"No Finding": 1.0, "Pneumothorax": 0.0, "Support Devices": 1.0},
                "view": View.FRONTAL,
                "age": 68.0,
                "sex": "F",
                "split": Split.TRAIN,
            },
            "patient00001/study1/view2_lateral": {
                "labels": {"Cardiomegaly": -1.0},
                "view": View.LATERAL,
            },
            "patient64541/study1/view1_frontal": {
                "labels": dict.fromkeys(LABELS, 0.0),
                "sex": None,
                "split": Split.VAL,
            },
        },
        {
            f"{prefix}/train/patient00002/study1/view1_frontal.jpg": "missing",
            f"{prefix}/train/../../patient00003/study1/view1_frontal.jpg": "leads out",
        },
        LayoutOptions(published="official"),
        LABELS,
        table,
        "Path",
    )
