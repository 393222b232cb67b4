"""NIH ChestX-ray14: archives unpacked side by side, the 2017 table, both kinds of boxes, lists."""

from pathlib import Path

from radlearn.datasets.nih import LABELS
from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import Split, View

from .fakes import Fake, picture, write

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def make(root: Path) -> Fake:
    table = write(
        root / "Data_Entry_2017.csv",
        [
            HEADER,
            "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143,",
            "00000001_001.png,No Finding,1,1,58,M,AP,2682,2749,0.143,0.143,",
            "00000013_000.png,Pneumonia,0,13,414,F,PA,2500,2048,0.168,0.168,",
            "00000014_000.png,Pneumonia,0,14,60,F,PA,2500,2048,0.168,0.168,",
            "../climbing.png,Pneumonia,0,15,60,F,PA,2500,2048,0.168,0.168,",
            "00000016_000.png,Gremlins,0,16,60,F,PA,2500,2048,0.168,0.168,",
        ],
    )
    picture(root / "images_001/images/00000001_000.png")
    picture(root / "images_001/images/00000001_001.png")
    picture(root / "images_002/images/00000013_000.png")
    picture(root / "original_size/00000013_000.png", side=48)
    picture(root.parent / "climbing.png")
    write(
        root / "BBox_List_2017.csv",
        [
            "Image Index,Finding Label,Bbox [x,y,w,h],,,",
            "00000001_000.png,Infiltrate,256,512,128,256,,,",
            "00000001_000.png,Mass,1000,0,100,64.0,,,",
        ],
    )
    write(
        root / "rsna_boxes.csv",
        [
            "Image Index,patientId,x,y,width,height,Target,class,match_mse",
            "00000013_000.png,aa-bb,0.0,0.0,512.0,512.0,1,Lung Opacity,1.2",
            "00000001_001.png,cc-dd,,,,,0,Normal,2.1",
        ],
    )
    zeros = " ".join("0" * 14)
    write(root / "medpeft_train_list.txt", [f"00000001_000.png {zeros}"])
    write(root / "medpeft_val_list.txt", [f"00000013_000.png {zeros} "])
    write(root / "medpeft_test_list.txt", [f"99999999_000.png {zeros}"])
    write(root / "train_val_list.txt", ["00000001_000.png", "00000001_001.png"])
    write(root / "test_list.txt", ["00000013_000.png"])

    def labels(*present: str) -> dict[str, float]:
        return {name: float(name in present) for name in LABELS}

    return Fake(
        root,
        {
            "00000001_000": {
                "patient": "1",
                "labels": labels("Cardiomegaly", "Effusion"),
                "view": View.FRONTAL,
                "age": 58.0,
                "sex": "M",
                "split": Split.TRAIN,
                "boxes": (
                    ("Infiltration", 0.25, 0.5, 0.125, 0.25),
                    ("Mass", 1000 / 1024, 0.0, 24 / 1024, 0.0625),
                ),
            },
            "00000001_001": {"labels": labels(), "split": None, "age": 58.0},
            "00000013_000": {
                "patient": "13",
                "labels": labels("Pneumonia"),
                "age": None,
                "split": Split.VAL,
                "boxes": (("Pneumonia", 0.0, 0.0, 0.5, 0.5),),
            },
        },
        {
            "00000014_000.png": "missing",
            "../climbing.png": "leads out",
            "00000016_000.png": "Gremlins",
            "medpeft_test_list.txt": "1 file",
        },
        LayoutOptions(published="medpeft"),
        LABELS,
        table,
        "Finding Labels",
    )
