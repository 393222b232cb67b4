"""Sources made by script for tests of stores: pictures no two of which are alike."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from radlearn.records.record import MaskFiles, Source, SourceRecord
from radlearn.records.settings import PrepareConfig


def made_picture(seed: int, height: int = 72, width: int = 64) -> np.ndarray:
    """A smooth picture with fine structure, uint8, its own for every seed."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width), np.float32)
    for cells, strength in ((4, 60.0), (9, 40.0), (20, 25.0)):
        noise = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
        picture += strength * np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
    return (128 + picture).clip(0, 255).astype(np.uint8)


def save_picture(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def made_records(folder: Path, patients: int, each: int = 2) -> list[SourceRecord]:
    """`each` records a patient: all with an image, the first with a mask, most with a report."""
    records = []
    for patient in range(patients):
        for number in range(each):
            name = f"p{patient:03d}_{number}"
            picture = made_picture(100 * patient + number)
            image = save_picture(folder / "images" / f"{name}.png", picture)
            mask = None
            if number == 0:
                drawn = save_picture(
                    folder / "masks" / f"{name}.png", (picture > 128) * np.uint8(255)
                )
                mask = MaskFiles((drawn,))
            records.append(
                SourceRecord(
                    id=name,
                    patient=f"MRN{patient}",
                    image=image,
                    report=f"Report of {name}." if (patient + number) % 3 else None,
                    labels={"Effusion": float(patient % 2), "Mass": -1.0} if patient % 4 else {},
                    mask=mask,
                    extra={"ward": f"W{patient % 3}"},
                )
            )
    return records


def made_source(records: Iterable[SourceRecord], **changes: Any) -> Source:
    source = Source(
        name="Made",
        label_names=("Effusion", "Mass"),
        licence="CC0",
        terms="none",
        records=records,
    )
    return replace(source, **changes)


def made_config(folder: Path, store: Path, **changes: Any) -> PrepareConfig:
    config = PrepareConfig(layout="made", source=folder, store=store, size=48, workers=0)
    return replace(config, **changes)
