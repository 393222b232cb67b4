"""Batch k of translation, from (seed, k) alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64

from radlearn.records.batches import Batch, batch_positions, part_of
from radlearn.records.pair_store import PairStore, clipped
from radlearn.records.transforms import generator
from radlearn.translation.misalign import Misalignment, misaligned

PATCH_STREAM = 0x9A7C4  # keeps where a patch lies apart from every other use of the seed
OTHER_STREAM = 0x07E4  # keeps the order of targets without a partner apart from that of sources


@dataclass(frozen=True)
class TranslationBatches:
    """Makes batch k; picklable, so that a loader's worker can do it.

    Attributes:
        sources: (store, row, slice) of what is translated; in 3-D the third counts patches.
        targets: the same of what it should look like; pair by pair, unless `unpaired`.
        patch: depth, height and width in 3-D; None for whole slices.
        rank: which of `world` processes this is; each makes its share of the batch.
    """

    stores: tuple[PairStore, ...]
    sources: Int64[np.ndarray, "sources 3"]
    targets: Int64[np.ndarray, "targets 3"]
    unpaired: bool
    patch: tuple[int, ...] | None
    misalignment: Misalignment
    batch: int
    seed: int
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> Batch:
        whole = batch_positions(self.seed, step, len(self.sources), self.batch)
        part = part_of(whole, self.rank, self.world)
        first = second = part.positions
        if self.unpaired:
            other = self.seed + OTHER_STREAM
            beside = batch_positions(other, step, len(self.targets), self.batch)
            second = part_of(beside, self.rank, self.world).positions
        pairs = [self._pair(int(a), int(b), step) for a, b in zip(first, second, strict=True)]
        return {
            "source": torch.stack([torch.from_numpy(source) for source, _ in pairs]),
            "target": torch.stack([torch.from_numpy(target) for _, target in pairs]),
            "ids": [self.name(self.sources[at].tolist()) for at in first],
            **part.told(len(whole), self.world),
        }

    def name(self, place: Sequence[int]) -> str:
        store, row, part = place
        return f"{self.stores[store].rows['id'][row]} {part}"

    def _pair(self, first: int, second: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        keys = (self.seed, step, first, second)
        store, row, part = self.sources[first].tolist()
        other, other_row, other_part = self.targets[second].tolist()
        source, target = self.stores[store].source(row), self.stores[other].target(other_row)
        if self.patch is None:
            a, b = clipped(source[:, part]), clipped(target[:, other_part])
            a, b = misaligned(a, b, self.misalignment, *keys)
        else:
            rng = generator(PATCH_STREAM, *keys)
            window = random_window(source.shape[1:], self.patch, rng)
            beside = window
            if self.unpaired:
                beside = random_window(target.shape[1:], self.patch, rng)
            volumes = clipped(source), clipped(target)
            a, b = misaligned(*volumes, self.misalignment, *keys, windows=(window, beside))
        return a.astype(np.float32), b.astype(np.float32)


def random_window(
    shape: tuple[int, ...], patch: tuple[int, ...], rng: np.random.Generator
) -> tuple[slice, ...]:
    """A box of the patch's size somewhere in the volume; it hangs over where a side is shorter."""
    starts = [
        int(rng.integers(max(side - wanted, 0) + 1))
        for side, wanted in zip(shape, patch, strict=True)
    ]
    return tuple(slice(start, start + wanted) for start, wanted in zip(starts, patch, strict=True))
