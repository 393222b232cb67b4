"""Layers of spectral norm 1 (Miyato et al., ICLR 2018), normalised in float32 under autocast."""

from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class _Spectral(nn.Module):
    """One step of the power method each time that the weight is asked for in training mode."""

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layer: Any = spectral_norm(layer)

    def weight(self) -> Tensor:
        """The weight over its largest singular value, out of the reach of autocast."""
        device = self.layer.parametrizations.weight.original.device.type
        known = torch.amp.is_autocast_available(device)  # not on meta, where operations are counted
        with torch.autocast(device, enabled=False) if known else nullcontext():
            weight: Tensor = self.layer.weight
        return weight


class SpectralConv(_Spectral):
    """A convolution of side 4 behind a reflect padding of 1; stride 2 halves, stride 1 takes 1."""

    def __init__(self, before: int, after: int, stride: int = 1, *, bias: bool = True) -> None:
        super().__init__(nn.Conv2d(before, after, 4, stride, bias=bias))

    def forward(
        self, x: Float[Tensor, "batch before rows columns"]
    ) -> Float[Tensor, "batch after fewer_rows fewer_columns"]:
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.weight(), self.layer.bias, self.layer.stride)


class SpectralLinear(_Spectral):
    """A linear layer without bias."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(nn.Linear(before, after, bias=False))

    def forward(self, x: Float[Tensor, "batch before"]) -> Float[Tensor, "batch after"]:
        return F.linear(x, self.weight())
