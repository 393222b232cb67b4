"""COVID-19 Image Data Collection: notes in quotes, a file under two patients, MRM's lists."""

from pathlib import Path

from radlearn.datasets.options import LayoutOptions
from radlearn.records.record import Split, View

from .fakes import Fake, mask, picture, write

HEADER = (
    "patientid,offset,sex,age,finding,survival,view,modality,folder,filename,license,clinical_notes"
)


def make(root: Path) -> Fake:
    table = write(
        root / "metadata.csv",
        [
            HEADER,
            '2,0,M,65.0,COVID-19,Y,PA,X-ray,images,one.jpg,CC BY 4.0,"Fever, cough.  ""Patchy""',
            'opacities."',
            "3,1,F,,Streptococcus,N,L,X-ray,images,two words.png,CC BY-NC-SA,",
            "4,,,30,todo,,AP Supine,X-ray,images,three.png,,Dyspnœa",
            "5,,F,51,No Finding,,AP,X-ray,images,four.png,,",
            "6,,F,51,No Finding,,AP,X-ray,images,four.png,,",
            "6,,F,51,COVID-19,,PA,X-ray,images,gone.png,,",
            "7,,F,51,COVID-19,,Axial,CT,volumes,seven.nii.gz,,",
            "8,,F,51,COVID-19,,PA,X-ray,..,climbing.png,,",
            "9,,F,51,COVID-19,,PA,X-ray,images,../../climbing.png,,",
            "10,,F,51,Pneumonia,,PA,X-ray,images,ten.png,,",
        ],
    )
    for name in ("one.jpg", "two words.png", "three.png", "four.png", "ten.png"):
        picture(root / "images" / name)
    picture(root.parent / "climbing.png")
    mask(root / "lung_masks/one.png", slice(0, 6))
    lists = root / "mrm_splits/viral1"
    write(lists / "isviral_train.txt", ["one.jpg 1", "two words.png 0", "absent.png 1"])
    write(lists / "isviral_val.txt", ["three.png 1"])
    write(lists / "isviral_test.txt", ["ten.png 11"])
    return Fake(
        root,
        {
            "one.jpg": {
                "patient": "2",
                "report": 'Fever, cough. "Patchy" opacities.',
                "labels": {"COVID-19": 1.0, "Pneumonia": 1.0, "Viral": 1.0, "Bacterial": 0.0},
                "view": View.FRONTAL,
                "age": 65.0,
                "split": Split.TRAIN,
                "licence": "CC BY 4.0",
            },
            "two words.png": {
                "report": None,
                "labels": {"COVID-19": 0.0, "Pneumonia": 1.0, "Viral": 0.0, "Bacterial": 1.0},
                "view": View.LATERAL,
                "mask": None,
            },
            "three.png": {
                "report": "Dyspnœa",
                "labels": {"Viral": 1.0, "Bacterial": 0.0},
                "split": Split.VAL,
            },
            "four.png": {"patient": "5", "labels": {"Pneumonia": 0.0}, "split": None},
            "ten.png": {"labels": {"COVID-19": 0.0, "Pneumonia": 1.0}, "split": Split.TEST},
        },
        {
            "gone.png": "missing",
            "seven.nii.gz": "CT",
            "climbing.png": "leads out",
            "../../climbing.png": "leads out",
            "isviral_test.txt:1": "11",
            "isviral_train.txt": "1 file",
        },
        LayoutOptions(published="mrm-viral1"),
        ("COVID-19", "Pneumonia", "Viral", "Bacterial"),
        table,
        "finding",
    )
