"""Layers by number of spatial dimensions, and the residual block that generators and R share."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.errors import InputError


@dataclass(frozen=True)
class Layers:
    """The classes of one number of spatial dimensions; names of `interpolation` are torch's."""

    conv: type[Any]
    transposed: type[Any]
    norm: type[nn.Module]
    reflect: type[nn.Module]
    max_pool: type[nn.Module]
    interpolation: str


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's own, whose gradient is right whatever lies behind it.

    For a batch of one, torch 2.15 on a CPU misreads a gradient that comes channels-last.
    """

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(Tensor.contiguous)
        return y


class ReflectionPad2d(nn.ReflectionPad2d):
    """torch's own in the type that comes: on a CPU autocast would widen it and narrow it again."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.bfloat16:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x)


LAYERS: dict[int, Layers] = {
    2: Layers(
        nn.Conv2d,
        nn.ConvTranspose2d,
        InstanceNorm2d,
        ReflectionPad2d,
        nn.MaxPool2d,
        "bilinear",
    ),
    3: Layers(
        nn.Conv3d,
        nn.ConvTranspose3d,
        nn.InstanceNorm3d,
        nn.ReflectionPad3d,
        nn.MaxPool3d,
        "trilinear",
    ),
}


def layers_of(dims: int) -> Layers:
    """The layers for images of 2 or 3 spatial dimensions.

    Raises:
        InputError: any other number.
    """
    if dims not in LAYERS:
        raise InputError(f"images have 2 or 3 dimensions, not {dims}; choose one of the two")
    return LAYERS[dims]


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened to float32; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_sides(images: Tensor, at_least: int, multiple: int, who: str) -> None:
    """Refuse images that `who` cannot take, before a layer fails with a word about padding.

    Raises:
        InputError: a side is shorter than `at_least` or no multiple of `multiple`.
    """
    sides = tuple(images.shape[2:])
    if min(sides) < at_least or any(side % multiple for side in sides):
        size = " x ".join(map(str, sides))
        whole = f" and a multiple of {multiple}" if multiple > 1 else ""
        raise InputError(
            f"{who} takes sides of at least {at_least} pixels{whole}, not {size}; "
            "prepare the images at another size or choose a smaller network"
        )


class ResidualBlock(nn.Module):
    """Twice reflect pad, 3-wide convolution, instance norm, with a ReLU between; plus the input.

    The residual block of CycleGAN (Zhu et al. 2017), without dropout.
    """

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        of = layers_of(dims)
        self.conv_block = nn.Sequential(
            of.reflect(1),
            of.conv(width, width, 3),
            of.norm(width),
            nn.ReLU(inplace=True),
            of.reflect(1),
            of.conv(width, width, 3),
            of.norm(width),
        )

    def forward(
        self, x: Float[Tensor, "batch width *space"]
    ) -> Float[Tensor, "batch width *space"]:
        return x + self.conv_block(x)
