"""A lab's own table with its own column names; and a folder of files without any."""

from pathlib import Path

from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import MaskFiles, Split, View

from .fakes import Fake, dicom, mask, picture, write


def make(root: Path) -> Fake:
    table = write(
        root / "liste.csv",
        [
            "Bild,Nr,Befund,Herz gross,Erguss,Teil,Projektion,Alter,Geschlecht,Maske",
            "a/1.png,77,Herz verbreitert.,1,,train,PA,63,w,m1.png",
            "a/2.dcm,77,,0,-1,Validation,LL,18M,m,",
            ",78,Nur ein Befund.,nan,vielleicht,test,,>90,x,",
            ",79,,1,1,test,,,,",
            "a/3.png,80,,1,1,nirgends,,,,",
            "a/4.png,81,,1,1,test,,,,",
            "../climbing.png,82,,1,1,test,,,,",
            "/etc/hostname,83,,1,1,test,,,,",
            "link.png,84,,1,1,test,,,,",
        ],
    )
    picture(root / "a/1.png")
    dicom(root / "a/2.dcm", patient="header")
    picture(root / "a/3.png")
    outside = picture(root.parent / "climbing.png")
    (root / "link.png").symlink_to(outside)
    drawn = mask(root / "m1.png", slice(0, 3))
    return Fake(
        root,
        {
            "a/1.png": {
                "patient": "77",
                "report": "Herz verbreitert.",
                "labels": {"Herz gross": 1.0},
                "split": Split.TRAIN,
                "view": View.FRONTAL,
                "age": 63.0,
                "sex": "F",
                "mask": MaskFiles((drawn,)),
            },
            "a/2.dcm": {
                "patient": "77",
                "labels": {"Herz gross": 0.0, "Erguss": -1.0},
                "split": Split.VAL,
                "view": View.LATERAL,
                "age": 1.5,
                "sex": "M",
            },
            "row 4": {"image": None, "report": "Nur ein Befund.", "labels": {}, "age": 90.0},
        },
        {
            "row 4: Erguss": "vielleicht",
            "row 5": "neither",
            "a/3.png": "nirgends",
            "a/4.png": "missing",
            "../climbing.png": "leads out",
            "/etc/hostname": "leads out",
            "link.png": "leads out",
        },
        LayoutOptions(
            table=table,
            image_column="Bild",
            patient_column="Nr",
            report_column="Befund",
            label_columns=("Herz gross", "Erguss"),
            split_column="Teil",
            view_column="Projektion",
            age_column="Alter",
            sex_column="Geschlecht",
            mask_column="Maske",
        ),
        ("Herz gross", "Erguss"),
        table,
        "Erguss",
    )


def make_tree(root: Path) -> Fake:
    """Folders a patient, except where a DICOM header says who it is."""
    picture(root / "meier/1.png")
    picture(root / "meier/2.png")
    picture(root / "schulz/1.png")
    picture(root / "loose.png")
    dicom(root / "export/1.2.840.1.7", patient="K-9")
    dicom(root / "export/1.2.840.1.8")
    write(root / "liste.csv", ["a,b"])
    write(root / ".hidden.png", ["rubbish"])
    outside = picture(root.parent / "elsewhere/1.png")
    (root / "link").symlink_to(outside.parent)
    return Fake(
        root,
        {
            "meier/1.png": {"patient": "meier"},
            "meier/2.png": {"patient": "meier"},
            "schulz/1.png": {"patient": "schulz"},
            "loose.png": {"patient": "loose"},
            "export/1.2.840.1.7": {"patient": "K-9"},
            "export/1.2.840.1.8": {"patient": "export"},
        },
        {"liste.csv": "no image", "link": "not followed"},
    )
