"""A batch shared out: every process takes its part of the step that one would take."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from radlearn.engine.device import Compute
from radlearn.engine.draws import Draws, Rows
from radlearn.engine.processes import summed
from radlearn.errors import InputError
from radlearn.records.batches import Batch

if TYPE_CHECKING:
    from radlearn.engine.sharding import Shards

Terms = Callable[[Batch, dict[str, Any]], tuple[dict[str, Tensor], dict[str, Any]]]


class Places(NamedTuple):
    """For how many rows of some tensor each record stands; see `Rows` and `Draws`."""

    lengths: Int64[np.ndarray, "records"]
    dims: tuple[int, ...] = ()


class Told(NamedTuple):
    """What a process says of its part of a batch.

    Attributes:
        entries: how many entries each term is the mean of, stand-ins left out. A term that is not
            among them does not depend on the batch.
        places: a kind of rows each.
    """

    entries: Mapping[str, float]
    places: Sequence[Places]


Tell = Callable[[Batch], Told]


@dataclass(frozen=True)
class Agreed:
    """What all processes know of a step before they take it; of one alone, nothing to mind.

    Attributes:
        stop: whether some process was asked to stop.
        weights: of each term here, so that their mean over the processes is the mean over all
            entries of the batch.
        others: the weight of terms that are not named.
        draws: to be entered while terms are computed.
    """

    stop: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    others: float = 1.0
    draws: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def weighted(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = {name: self.weights.get(name, self.others) for name in parts}
        return {
            name: part if weights[name] == 1 else part * weights[name]
            for name, part in parts.items()
        }


ALONE = Agreed()


def agree(here: Compute, batch: Batch, tell: Tell | None, asked_to_stop: bool) -> Agreed:
    """One exchange a step.

    Args:
        batch: this process's part, with "rows", the rows of the batch that it holds (-1: a
            stand-in), and "whole", how many the batch has.
        tell: None where every term is a mean over records.
    """
    if here.world == 1:
        return ALONE
    rows, whole = batch["rows"].numpy(), int(batch["whole"])
    own = rows >= 0
    told = tell(batch) if tell else Told({}, (Places(np.ones(len(rows), np.int64)),))
    table = np.zeros((len(told.places), whole))
    for kind, places in enumerate(told.places):
        table[kind, rows[own]] = places.lengths[own]
    names = sorted(told.entries)
    said = [float(asked_to_stop), *(float(told.entries[name]) for name in names)]
    sums = summed(here, [*said, *table.flatten().tolist()])
    weights = {
        name: here.world * told.entries[name] / total if total else 0.0
        for name, total in zip(names, sums[1:], strict=False)
    }
    table = np.array(sums[len(said) :]).reshape(table.shape).astype(np.int64)
    kinds = [_rows(row, places, rows) for row, places in zip(table, told.places, strict=True)]
    others = here.world * int(own.sum()) / whole if tell is None else 1.0
    return Agreed(sums[0] > 0, weights, others, Draws(kinds))


def _rows(
    lengths: Int64[np.ndarray, "whole"],
    places: Places,
    rows: Int64[np.ndarray, "records"],
) -> Rows:
    starts = np.cumsum(lengths) - lengths
    own = [
        start + np.arange(length) if row >= 0 else np.zeros(length, np.int64)
        for row, start, length in zip(rows, starts[rows], places.lengths, strict=True)
    ]
    return Rows(int(lengths.sum()), torch.from_numpy(np.concatenate(own)), places.dims)


class _Objective(nn.Module):
    """A phase's terms as a module, since gradients of several processes meet in a forward call."""

    def __init__(self, nets: Mapping[str, nn.Module], terms: Terms) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(nets)
        self.terms = terms

    def forward(
        self, batch: Batch, carry: dict[str, Any]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.terms(batch, carry)


def objective(
    nets: Mapping[str, nn.Module], terms: Terms, optimizer: Optimizer, here: Compute
) -> tuple[Terms, "Shards | None"]:
    """A phase's terms, such that the gradients of what it updates are means over the processes.

    With them where the weights are spread, if they are.

    Raises:
        InputError: a network has batch norm, whose statistics would be those of a share.
    """
    if here.world == 1:
        return terms, None
    module = _Objective(nets, terms)
    if any(isinstance(part, _BatchNorm) for part in module.modules()):
        raise InputError(
            "a network has batch norm, which sees the batch of one process alone; train it in one "
            "process, or choose a backbone with layer norm, such as a ViT, Swin or ConvNeXt"
        )
    if here.sharded:
        from radlearn.engine.sharding import Shards

        return module, Shards(module, optimizer, here)
    updated = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left = [
        name for name, p in module.named_parameters(remove_duplicate=False) if id(p) not in updated
    ]
    # what is no weight is the same function of the weights in every process
    left += [name for name, _ in module.named_buffers(remove_duplicate=False)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, left)
    together = DistributedDataParallel(
        module,
        device_ids=[here.device.index] if here.device.type == "cuda" else None,
        find_unused_parameters=True,
    )
    return together, None
