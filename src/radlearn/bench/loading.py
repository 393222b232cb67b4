"""A training image: from a store, and from the PNG that it was prepared from."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from radlearn.bench.figure import OURS, PLAIN, Figure, Setting
from radlearn.bench.phantom_store import phantom_store
from radlearn.bench.plain_image import batch_of, training_view
from radlearn.bench.timing import in_turn
from radlearn.finetuning.batches import FinetuneBatches
from radlearn.finetuning.examples import Examples
from radlearn.models.imported import MRM_PREPROCESSING
from radlearn.records.store import Selection, select

PASSES = 8  # over the store, a measurement: one pass is too short to be measured


def load(setting: Setting) -> Figure:
    """Seconds an image, cropped at random, flipped and put into its batch, on one thread."""
    sizes = setting.sizes
    made = phantom_store(setting.folder / "load", sizes.pictures, sizes.picture, sizes.side)
    records = select([made.store], split=None, view="all", needs={"image"})
    batches = training_batches(records, sizes.side)
    passes = iter(range(10**9))

    def stored() -> None:
        for step, _ in zip(passes, range(PASSES), strict=False):
            batches.images(np.arange(len(records)), step)

    def decoded() -> Tensor:
        return batch_of(made.pictures, training_view(sizes.side))

    forms = {OURS: stored, PLAIN: decoded} if setting.plain else {OURS: stored}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = in_turn(forms, setting)
    finally:
        torch.set_num_threads(threads)
    seconds[OURS] = [found / PASSES for found in seconds[OURS]]
    return Figure(
        "load",
        f"an augmented image of {sizes.side} px (plain: from a PNG of {sizes.picture} px), a core",
        "images",
        len(records),
        seconds,
        goal=30,
    )


def training_batches(records: Selection, side: int) -> FinetuneBatches:
    """What makes the batches of a fine-tuning run of these records."""
    truth = np.zeros((len(records), 1), np.float32)
    seen = replace(MRM_PREPROCESSING, size=side)
    return FinetuneBatches(Examples(records), truth, seen, 16, 0, "plain", (0.2, 1.0))
