"""Batch k of fine-tuning, from (seed, k) alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from radlearn.finetuning.examples import Examples
from radlearn.records.batches import Batch, batch_positions, part_of
from radlearn.records.transforms import (
    Preprocessing,
    augmented,
    evaluated,
    generator,
    strongly_augmented,
)

RECORD_STREAM = 0xF17E  # keeps what happens to a record apart from the order of records
DRAW_STREAM = 0xD4A3  # and from which of them are drawn, where some are drawn more often
STUDY_STREAM = 0x57D1  # and from which pictures of a large study are shown

MOST_PICTURES = 4
"""Pictures of a study that a step shows, so that no study fills the memory."""

Augment = Literal["none", "plain", "strong"]


@dataclass(frozen=True)
class FinetuneBatches:
    """Makes batch k; picklable, so that a loader's worker can do it.

    Attributes:
        truth: what is to be learned of each example.
        batch: examples a step.
        augment: random crops and flips, more than these, or the view that evaluation uses.
        crop: smallest and largest share of the area that a crop keeps.
        chances: of each example to be drawn, in place of epochs that show each of them once.
        rank: which of `world` processes this is; each makes its share of the batch.
    """

    examples: Examples
    truth: Float32[np.ndarray, "examples columns"]
    preprocessing: Preprocessing
    batch: int
    seed: int
    augment: Augment
    crop: tuple[float, float]
    chances: Float64[np.ndarray, "examples"] | None = None
    rank: int = 0
    world: int = 1

    def drawn(self, step: int) -> Int64[np.ndarray, "batch"]:
        """The examples of batch `step`, of all processes."""
        if self.chances is None:
            return batch_positions(self.seed, step, len(self.examples), self.batch)
        rng = generator(self.seed, DRAW_STREAM, step)
        return rng.choice(len(self.examples), self.batch, p=self.chances)

    def __call__(self, step: int) -> Batch:
        shown, batch = self.asked(step)
        return {"image": self.images(shown, step)} | batch

    def asked(self, step: int) -> tuple[Int64[np.ndarray, "pictures"], Batch]:
        """Positions of the pictures of batch `step`, and all of the batch but these.

        "truth" has a row an example, "ids" names the pictures; where studies are pooled, "study"
        says for each picture which row of the batch it belongs to.
        """
        part = part_of(self.drawn(step), self.rank, self.world)
        drawn = part.positions
        batch: Batch = {"truth": torch.from_numpy(self.truth[drawn])}
        batch |= part.told(self.batch, self.world)
        shown = drawn
        if self.examples.studies is not None:
            several = [self._some(int(at), step) for at in drawn]
            shown = np.concatenate(several)
            rows = np.repeat(np.arange(len(drawn)), [len(some) for some in several])
            batch["study"] = torch.from_numpy(rows)
        return shown, batch | {"ids": self.examples.records.take(shown).ids}

    def images(self, positions: Int64[np.ndarray, "pictures"], step: int) -> torch.Tensor:
        """Pictures as step `step` would see them: (pictures, 1, size, size)."""
        return torch.stack([self._image(int(at), step) for at in positions])

    def _some(self, example: int, step: int) -> Int64[np.ndarray, "pictures"]:
        assert self.examples.studies is not None
        study = self.examples.studies[example]
        if len(study) <= MOST_PICTURES:
            return study
        rng = generator(self.seed, STUDY_STREAM, step, example)
        return study[np.sort(rng.permutation(len(study))[:MOST_PICTURES])]

    def _image(self, at: int, step: int) -> torch.Tensor:
        image = self.examples.records.image(at)
        assert image is not None
        if self.augment == "none":
            return evaluated(image, self.preprocessing)
        rng = generator(self.seed, RECORD_STREAM, step, at)
        change = strongly_augmented if self.augment == "strong" else augmented
        return change(image, self.preprocessing.size, rng, self.crop)
