"""Averaged weights: what a network was of late, which swings less than what it is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(net: nn.Module, keep: float) -> AveragedModel:
    """A copy of `net` whose weights follow it: an exponential moving average.

    It starts as a plain mean and ends at `keep`, so that it forgets how training began: step n
    keeps min(keep, (1 + n) / (10 + n)) of what it was. Buffers are taken as they are.

    Args:
        keep: share of the average that a step keeps, in (0, 1).
    """

    def follow(average: Sequence[Tensor], now: Sequence[Tensor], count: Tensor | int) -> None:
        share = min(keep, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(average), list(now), 1 - share)

    return AveragedModel(net, multi_avg_fn=follow)
