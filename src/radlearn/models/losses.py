"""Losses that hosts of translation share: mean differences, and least squares of critics."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from radlearn.models.layers import at_least_float32


def l1_loss(
    found: Float[Tensor, "batch *space"], wanted: Float[Tensor, "batch *space"]
) -> Float[Tensor, ""]:
    """mean |found - wanted|, in float32 at least."""
    return (at_least_float32(found) - at_least_float32(wanted)).abs().mean()


def looks_real(*scores: Float[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    """Least squares (Mao et al., ICCV 2017): 0 where the critic says 1; summed over its scales."""
    return torch.stack([(at_least_float32(each) - 1).square().mean() for each in scores]).sum()


def looks_made(*scores: Float[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    """Least squares: 0 where the critic says 0; summed over its scales."""
    return torch.stack([at_least_float32(each).square().mean() for each in scores]).sum()


def as_it_stands(net: nn.Module, *inputs: Tensor) -> Any:
    """What `net` answers, with a gradient for the inputs and none for its weights."""
    fixed = {name: p.detach() for name, p in net.named_parameters()}
    return functional_call(net, fixed, inputs)


def judged(
    critic: nn.Module,
    real: Float[Tensor, "batch channels *space"],
    made: Float[Tensor, "batch channels *space"],
) -> tuple[list[Tensor], list[Tensor]]:
    """Scores of real and of made images, scale by scale, in one pass of a critic without norms."""
    scores = critic(torch.cat([real, made.to(real.dtype)]))
    halves = [each.tensor_split(2) for each in scores]
    return [of_real for of_real, _ in halves], [of_made for _, of_made in halves]
