"""MED-PEFT's CheXpert lists: a 1 % inside the 100 %, a bad line, lines that end in a space."""

from pathlib import Path

from radlearn.datasets.chexpert import COMPETITION
from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import Split, View

from .fakes import Fake, picture, write


def make(root: Path) -> Fake:
    lists, images = root / "lists", root / "CheXpert-v1.0-small"
    first = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    second = "CheXpert-v1.0-small/train/patient00002/study1/view1_lateral.jpg"
    third = "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg"
    write(lists / "CheXpert_train_1.txt", [f"{first} 0 1 0 0 1 "])
    write(
        lists / "CheXpert_train_list.txt",
        [
            f"{first} 0 1 0 0 1 ",
            f"{second} 0 0 0 0 0 ",
            "CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg 0 0 0 0 0",
            "CheXpert-v1.0-small/train/patient00004/study1/view1_frontal.jpg 0 0 11 0 0",
            "CheXpert-v1.0-small/train/patient00005/study1/view1_frontal.jpg 0 0",
        ],
    )
    write(lists / "CheXpert_val_list.txt", [f"{third} 1 1 1 1 1"])
    write(lists / "CheXpert_test_list.txt", ["../climbing/study1/view1_frontal.jpg 0 0 0 0 0"])
    for path in (first, second, third):
        picture(root / path)
    picture(root / "climbing/study1/view1_frontal.jpg")
    return Fake(
        lists,
        {
            first.removesuffix(".jpg"): {
                "patient": "patient00001",
                "labels": dict(zip(COMPETITION, (0.0, 1.0, 0.0, 0.0, 1.0), strict=True)),
                "split": Split.TRAIN,
                "view": View.FRONTAL,
                "extra": {"lists": "CheXpert_train_1 CheXpert_train_list"},
            },
            second.removesuffix(".jpg"): {
                "view": View.LATERAL,
                "extra": {"lists": "CheXpert_train_list"},
            },
            third.removesuffix(".jpg"): {"split": Split.VAL},
        },
        {
            "CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg": "missing",
            "CheXpert_train_list.txt:4": "not 0 or 1",
            "CheXpert_train_list.txt:5": "2 labels",
            "../climbing/study1/view1_frontal.jpg": "leads out",
        },
        LayoutOptions(images=images),
        COMPETITION,
    )
