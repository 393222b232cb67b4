"""Losses that hosts of translation share: mean differences, and least squares of critics."""

from functools import cache
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


def mutual_information(
    made: Float[Tensor, "batch made_channels *space"],
    source: Float[Tensor, "batch source_channels *space"],
) -> Float[Tensor, ""]:
    """How much one image says of the other, in nats; the mean over pairs of their channels.

    From joint histograms of values in [-1, 1] with soft bins (Mattes et al., IEEE TMI 2003): it
    needs no common contrast, and falls when one of the two is shifted.
    """
    measure = _information(made.device)
    with torch.autocast(made.device.type, enabled=False):  # counts in bfloat16 are no counts
        pairs = [
            measure((at_least_float32(a) + 1) / 2, (at_least_float32(b) + 1) / 2)
            for a in made.split(1, dim=1)
            for b in source.split(1, dim=1)
        ]
        return -torch.stack(pairs).mean()


@cache
def _information(device: torch.device) -> nn.Module:
    from monai.losses.image_dissimilarity import GlobalMutualInformationLoss

    return GlobalMutualInformationLoss(num_bins=24).to(device)


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
