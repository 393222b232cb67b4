"""RSNA Pneumonia: DICOM files, a row a box, the class of each image."""

from pathlib import Path

from .fakes import Fake, dicom, write


def make(root: Path) -> Fake:
    table = write(
        root / "stage_2_train_labels.csv",
        [
            "patientId,x,y,width,height,Target",
            "aaaa-01,8.0,4.0,8.0,8.0,1",
            "bbbb-02,,,,,0",
            "aaaa-01,16.0,0.0,16.0,16.0,1",
            "cccc-03,,,,,0",
            "../dddd-04,,,,,0",
        ],
    )
    write(
        root / "stage_2_detailed_class_info.csv",
        [
            "patientId,class",
            "aaaa-01,Lung Opacity",
            "aaaa-01,Lung Opacity",
            "bbbb-02,No Lung Opacity / Not Normal",
        ],
    )
    dicom(root / "stage_2_train_images/aaaa-01.dcm", rows=16, columns=32)
    dicom(root / "stage_2_train_images/bbbb-02.dcm")
    return Fake(
        root,
        {
            "aaaa-01": {
                "patient": "aaaa-01",
                "labels": {"Pneumonia": 1.0},
                "boxes": (
                    ("Pneumonia", 0.25, 0.25, 0.25, 0.5),
                    ("Pneumonia", 0.5, 0.0, 0.5, 1.0),
                ),
                "extra": {"class": "Lung Opacity"},
            },
            "bbbb-02": {
                "labels": {"Pneumonia": 0.0},
                "boxes": (),
                "extra": {"class": "No Lung Opacity / Not Normal"},
            },
        },
        {
            "stage_2_train_images/cccc-03.dcm": "missing",
            "stage_2_train_images/../dddd-04.dcm": "leads out",
        },
        label_names=("Pneumonia",),
        table=table,
        column="Target",
    )
