"""Order is a function: which records make batch k is computed from (seed, k), never remembered."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch.utils.data import DataLoader, Dataset

from radlearn.records.transforms import generator

Batch = dict[str, Any]
EPOCH_STREAM = 0x0E90C4  # keeps the order of epochs apart from every other use of the same seed


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The permutation of `count` records in one epoch."""
    return generator(seed, EPOCH_STREAM, epoch).permutation(count)


def batch_positions(seed: int, step: int, count: int, batch_size: int) -> np.ndarray:
    """Positions of the records of batch `step`.

    Epochs follow each other without a gap, so that every batch is full and every record is seen
    once an epoch; a batch may hold the end of one epoch and the start of the next.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(places, count)
    orders = {epoch: epoch_order(seed, int(epoch), count) for epoch in np.unique(epochs)}
    return np.array([orders[e][o] for e, o in zip(epochs, offsets, strict=True)])


class Part(NamedTuple):
    """What one of several processes makes of a batch.

    Attributes:
        positions: of its records.
        rows: of the batch where these stand; -1 for a record that stands in.
        has: of which kinds each of them is taken to be.
    """

    positions: Int64[np.ndarray, "part"]
    rows: Int64[np.ndarray, "part"]
    has: Bool[np.ndarray, "part kinds"]

    def told(self, whole: int, world: int) -> Batch:
        """What is added to the batch where there are several processes."""
        return {"rows": torch.from_numpy(self.rows), "whole": whole} if world > 1 else {}


def part_of(
    whole: Int64[np.ndarray, "records"],
    rank: int,
    world: int,
    has: Bool[np.ndarray, "records kinds"] | None = None,
) -> Part:
    """The share of the `rank`-th of `world` processes, which take the rows in turn.

    Processes that exchange gradients have to compute the same. So where this one has no record of
    a kind that the batch has (or no record at all), one of another's stands in, as that kind alone.

    Args:
        whole: positions of all records of the batch.
        has: of which kinds they are, such as with an image, with a report; default: of one.
    """
    kinds = np.ones((len(whole), 1), bool) if has is None else has
    rows = np.arange(rank, len(whole), world)
    lacking = np.flatnonzero(kinds.any(axis=0) & ~kinds[rows].any(axis=0))
    instead = kinds[:, lacking].argmax(axis=0)
    return Part(
        np.concatenate([whole[rows], whole[instead]]),
        np.concatenate([rows, np.full(len(lacking), -1)]),
        np.concatenate([kinds[rows], np.eye(kinds.shape[1], dtype=bool)[lacking]]),
    )


class Steps(Dataset[Batch]):
    """Batch k as a map from k: what a loader's worker is asked for is a step number."""

    def __init__(self, make: Callable[[int], Batch], start: int, stop: int) -> None:
        self.make = make
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)

    def __getitem__(self, position: int) -> Batch:
        return self.make(self.start + position)


def batches(
    make: Callable[[int], Batch],
    start: int,
    stop: int,
    *,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Iterate batches start, start + 1, ... stop - 1; the number of workers changes nothing.

    Args:
        make: batch k from k alone; it must be picklable where `workers` > 0.
        workers: processes that make batches ahead of the training thread.
        pin_memory: page-locked memory, for a copy to CUDA that overlaps the step.
    """
    loader = DataLoader(
        Steps(make, start, stop),
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,  # a fork would inherit held locks
        pin_memory=pin_memory and torch.cuda.is_available(),
        persistent_workers=False,
    )
    return iter(loader)
