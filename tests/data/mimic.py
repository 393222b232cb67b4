"""MIMIC-CXR-JPG as published, gzipped tables and free-text reports; and MRM's training.csv."""

import gzip
from collections.abc import Sequence
from pathlib import Path

from radlearn.datasets.chexpert import LABELS
from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import Split, View

from .fakes import Fake, picture, write

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // ?pneumonia

 COMPARISON:  ___.

 FINDINGS:

 There is no focal consolidation,
 pleural effusion or pneumothorax.

 IMPRESSION:

 No acute process.
"""


def make(root: Path) -> Fake:
    study, other = "p10/p10000032/s50414267", "p10/p10000032/s50414268"
    for place, name in ((study, "aa-1"), (study, "aa-2"), (other, "bb-1")):
        picture(root / "files" / place / f"{name}.jpg")
    reports = root.parent / "reports"
    write(reports / "files" / f"{study}.txt", REPORT.splitlines())
    table = root / "mimic-cxr-2.0.0-metadata.csv.gz"
    _gzipped(
        table,
        [
            "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition",
            "aa-1,10000032,50414267,CHEST (PA AND LAT),PA",
            "aa-2,10000032,50414267,CHEST (PA AND LAT),LATERAL",
            "bb-1,10000032,50414268,CHEST (PORTABLE AP),",
            "cc-1,10000033,50414269,CHEST (PORTABLE AP),AP",
        ],
    )
    _gzipped(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        [
            "dicom_id,study_id,subject_id,split",
            "aa-1,50414267,10000032,train",
            "aa-2,50414267,10000032,train",
            "bb-1,50414268,10000032,validate",
        ],
    )
    order = sorted(LABELS)
    cells = {"Pneumonia": "-1.0", "No Finding": "1.0", "Edema": "0.0"}
    _gzipped(
        root / "mimic-cxr-2.0.0-chexpert.csv.gz",
        [
            "subject_id,study_id," + ",".join(order),
            "10000032,50414267," + ",".join(cells.get(name, "") for name in order),
        ],
    )
    return Fake(
        root,
        {
            "aa-1": {
                "patient": "10000032",
                "report": "There is no focal consolidation, pleural effusion or pneumothorax. "
                "No acute process.",
                "labels": {"Pneumonia": -1.0, "No Finding": 1.0, "Edema": 0.0},
                "view": View.FRONTAL,
                "split": Split.TRAIN,
            },
            "aa-2": {"view": View.LATERAL},
            "bb-1": {"report": None, "labels": {}, "view": View.UNKNOWN, "split": Split.VAL},
        },
        {"files/p10/p10000033/s50414269/cc-1.jpg": "missing"},
        LayoutOptions(published="official", reports=reports),
        LABELS,
        table,
        "subject_id",
    )


def make_training(root: Path) -> Fake:
    path = "mimic_cxr/files/p10/p10000032/s50414267/aa-1.jpg"
    table = write(
        root / "training.csv",
        [
            "image_path,report_content",
            f'{path},"No acute process.',
            '  Heart size normal."',
            "files/p10/p10000033/s50414269/cc-1.jpg,Missing image.",
            "../climbing.jpg,Somebody else's file.",
        ],
    )
    picture(root / "files/p10/p10000032/s50414267/aa-1.jpg")
    picture(root.parent / "climbing.jpg")
    return Fake(
        root,
        {
            path.removesuffix(".jpg"): {
                "patient": "10000032",
                "report": "No acute process. Heart size normal.",
                "labels": {},
            }
        },
        {
            "files/p10/p10000033/s50414269/cc-1.jpg": "missing",
            "../climbing.jpg": "leads out",
        },
        table=table,
        column="report_content",
    )


def _gzipped(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
