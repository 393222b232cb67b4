"""A store of any number of records, made by script: few pictures, shown again and again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from radlearn.records.prepare import PrepareSummary, prepare_source
from radlearn.records.record import Source, SourceRecord, Split, View
from radlearn.records.settings import PrepareConfig
from radlearn.records.transforms import generator

PICTURES = 64
HELD = 32
"""Records that validate, and as many that test, whatever the size of the store."""
LEAST = 4 * HELD
LABELS = ("even", "low")
PICTURE_STREAM = 0x1A4C3


def make_store(folder: Path, records: int, side: int, workers: int) -> PrepareSummary:
    """Prepare it by `radlearn prepare`'s own function, from pictures too flat to be compared.

    Args:
        folder: a new one; the store is in its folder `store`.
        side: of pictures and of the store, pixels.
        workers: processes that decode; 0 for this one.
    """
    folder.mkdir(parents=True)
    pictures = [_picture(folder / f"{at:02d}.png", at, side) for at in range(PICTURES)]
    source = Source("large", LABELS, "", "", _records(pictures, records))
    config = PrepareConfig("folder", folder, folder / "store", size=side, workers=workers)
    return prepare_source(source, config)


def _picture(path: Path, at: int, side: int) -> Path:
    """Grey with a few lighter pixels: quick to decode, and no structure to be told apart by."""
    pixels = np.full((side, side), 100 + at, np.uint8)
    places = generator(PICTURE_STREAM, at).integers(0, side, (2, 32))
    pixels[*places] += 4
    Image.fromarray(pixels).save(path)
    return path


def _records(pictures: list[Path], records: int) -> Iterator[SourceRecord]:
    for at in range(records):
        held = records - at
        split = Split.VAL if held <= HELD else Split.TEST if held <= 2 * HELD else Split.TRAIN
        yield SourceRecord(
            f"{at:07d}",
            f"{at // 2:07d}" if split is Split.TRAIN else f"{split}-{at}",
            pictures[at % PICTURES],
            labels={"even": float(at % 2), "low": float(at % PICTURES < PICTURES // 2)},
            view=View.FRONTAL,
            split=split,
        )
