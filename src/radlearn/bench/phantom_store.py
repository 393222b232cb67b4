"""Pictures as a hospital has them, and the store that is prepared of them, made by script."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from radlearn.records.phantoms import LABEL_NAMES, phantom
from radlearn.records.prepare import prepare_source
from radlearn.records.record import Source, SourceRecord, Split, View
from radlearn.records.settings import PrepareConfig
from radlearn.records.store import Store, open_store
from radlearn.records.transforms import generator

DRAWN = 256  # side at which a phantom is drawn; larger pictures are that one with a sensor's noise
NOISE_STREAM, NOISE = 0xBE7C4, 2.0


class Made(NamedTuple):
    """A store and the pictures it was made of, in the order of its rows."""

    store: Store
    pictures: list[Path]


def phantom_store(folder: Path, patients: int, picture: int, side: int) -> Made:
    """One picture a patient, half of them to train and a quarter each to validate and to test.

    Args:
        folder: a new one.
        picture: side of the PNG files, pixels.
        side: of the stored squares, pixels.
    """
    folder.mkdir()
    records = list(_records(folder, patients, picture))
    source = Source("phantoms", LABEL_NAMES, "", "", records)
    prepare_source(source, PrepareConfig("folder", folder, folder / "store", size=side, workers=0))
    store = open_store(folder / "store")
    paths = {record.id: record.image for record in records if record.image is not None}
    return Made(store, [paths[name] for name in store.rows["id"]])


def _records(folder: Path, patients: int, picture: int) -> Iterator[SourceRecord]:
    splits = (Split.TRAIN, Split.VAL, Split.TRAIN, Split.TEST)
    for patient in range(patients):
        drawn = phantom(patient, 0, 0, min(DRAWN, picture))
        path = folder / f"{patient:04d}.png"
        grey = Image.fromarray(drawn.image).resize((picture, picture), Image.Resampling.BICUBIC)
        noise = generator(NOISE_STREAM, patient).normal(0, NOISE, (picture, picture))
        noisy = (np.asarray(grey) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path)
        # labels in turn, so that each has both classes in every split, however few patients
        labels = {name: float(patient // 4 % 2) for name in LABEL_NAMES}
        yield SourceRecord(
            path.stem, path.stem, path, labels=labels, view=View.FRONTAL, split=splits[patient % 4]
        )
