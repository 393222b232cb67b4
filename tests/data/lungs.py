"""Montgomery as published (left and right masks) beside Shenzhen, and a readme among the images."""

from pathlib import Path

from radlearn.records.record import MaskFiles, View

from .fakes import Fake, mask, picture, write


def make(root: Path) -> Fake:
    montgomery, shenzhen = root / "MontgomerySet", root / "ChinaSet_AllFiles"
    picture(montgomery / "CXR_png/MCUCXR_0001_0.png")
    picture(montgomery / "CXR_png/MCUCXR_0104_1.png")
    (montgomery / "CXR_png/Thumbs.db").write_bytes(b"rubbish")
    left = mask(montgomery / "ManualMask/leftMask/MCUCXR_0001_0.png", slice(0, 6))
    right = mask(montgomery / "ManualMask/rightMask/MCUCXR_0001_0.png", slice(12, 18))
    picture(shenzhen / "CXR_png/CHNCXR_0327_1.png")
    whole = mask(shenzhen / "mask/CHNCXR_0327_1_mask.png", slice(3, 9))
    write(shenzhen / "CXR_png/notes.txt", ["not an image"])
    return Fake(
        root,
        {
            "MCUCXR_0001_0": {
                "patient": "MCUCXR_0001",
                "labels": {"Tuberculosis": 0.0},
                "mask": MaskFiles((left, right)),
                "view": View.FRONTAL,
            },
            "MCUCXR_0104_1": {"labels": {"Tuberculosis": 1.0}, "mask": None},
            "CHNCXR_0327_1": {"labels": {"Tuberculosis": 1.0}, "mask": MaskFiles((whole,))},
        },
        {"notes.txt": "number"},
        label_names=("Tuberculosis",),
    )
