"""Batch k of fine-tuning, from (seed, k) alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from radlearn.records.batches import Batch, batch_positions
from radlearn.records.store import Selection
from radlearn.records.transforms import Preprocessing, augmented, evaluated, generator

RECORD_STREAM = 0xF17E  # keeps what happens to a record apart from the order of records


@dataclass(frozen=True)
class FinetuneBatches:
    """Makes batch k; picklable, so that a loader's worker can do it.

    Attributes:
        truth: what is to be learned of each record.
        augment: random crops and flips, or the view that evaluation uses.
        crop: smallest and largest share of the area that a crop keeps.
        rank: which of `world` processes this is; each makes its share of the batch.
    """

    records: Selection
    truth: Float32[np.ndarray, "records columns"]
    preprocessing: Preprocessing
    batch: int
    seed: int
    augment: bool
    crop: tuple[float, float]
    rank: int = 0
    world: int = 1

    def positions(self, step: int) -> np.ndarray:
        """This process's share of the records of batch `step`."""
        whole = batch_positions(self.seed, step, len(self.records), self.batch)
        return whole[self.rank :: self.world]

    def __call__(self, step: int) -> Batch:
        positions = self.positions(step)
        return self.of(positions, step) | {"ids": self.records.take(positions).ids}

    def of(self, positions: np.ndarray, step: int) -> Batch:
        """The batch of these records, as step `step` would see them."""
        images = [self._image(int(at), step) for at in positions]
        return {
            "image": torch.stack(images),
            "truth": torch.from_numpy(self.truth[positions]),
        }

    def _image(self, at: int, step: int) -> torch.Tensor:
        image = self.records.image(at)
        assert image is not None
        if not self.augment:
            return evaluated(image, self.preprocessing)
        rng = generator(self.seed, RECORD_STREAM, step, at)
        return augmented(image, self.preprocessing.size, rng, self.crop)
