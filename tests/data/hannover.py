"""Hannover's COVID-19 repository: data.csv beside png/."""

from pathlib import Path

from radlearn.records.record import View

from .fakes import Fake, picture, write


def make(root: Path) -> Fake:
    table = write(
        root / "data.csv",
        [
            "patient_id,image_id,sex,age,death_offset,modality,projection,crp_val",
            "024e7871,fff13f3a,f,,,CR,pa,3.0",
            "042f06a9,b343e657,m,,13.0,CR,ap,inf",
            "042f06a9,c9280a30,m,,13.0,CR,lateral,",
            "042f06a9,ffffffff,m,,13.0,CR,ap,",
            "042f06a9,../../climbing,m,,13.0,CR,ap,",
        ],
    )
    for name in ("fff13f3a", "b343e657", "c9280a30"):
        picture(root / f"png/{name}.png")
    picture(root.parent / "climbing.png")
    return Fake(
        root,
        {
            "fff13f3a": {
                "patient": "024e7871",
                "sex": "F",
                "age": None,
                "view": View.FRONTAL,
                "extra": {"modality": "CR", "projection": "pa", "crp_val": "3.0"},
            },
            "b343e657": {
                "patient": "042f06a9",
                "sex": "M",
                "extra": {
                    "death_offset": "13.0",
                    "modality": "CR",
                    "projection": "ap",
                    "crp_val": "inf",
                },
            },
            "c9280a30": {"view": View.LATERAL},
        },
        {"ffffffff.png": "missing", "../../climbing.png": "leads out"},
        label_names=("COVID-19",),
        table=table,
        column="image_id",
    )
