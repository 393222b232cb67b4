"""Registration: R, the network of RegGAN that learns how pairs do not line up, and its fields.

Kong et al., "Breaking the Dilemma of Medical Image-to-image Translation", NeurIPS 2021. A field
phi is a displacement in pixels, one channel an axis, in the order of the array's axes.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.models.layers import ResidualBlock, at_least_float32, check_sides, layers_of

LAST_STD = 1e-5


@dataclass(frozen=True)
class RegistrationConfig:
    """What R is made of; the defaults are RegGAN's (2,058,018 parameters).

    Attributes:
        channels: of the target, and so of G(a).
        dims: 2 or 3.
        widths: features of each level, the full resolution first.
        middle: features at the bottom.
        blocks: residual blocks at the bottom.
    """

    channels: int = 1
    dims: int = 2
    widths: tuple[int, ...] = (32, 64, 64, 64, 64, 64, 64)
    middle: int = 128
    blocks: int = 3

    @property
    def smallest_side(self) -> int:
        """In pixels: the bottom still has two, so that it has neighbours to reflect."""
        return 2 ** (len(self.widths) + 1)

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("a registration network needs at least one level")


SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "tiny": ((8, 16, 16, 16), 32),
    "small": ((16, 32, 32, 32, 32, 32), 64),
    "paper": ((32, 64, 64, 64, 64, 64, 64), 128),
}
"""Widths and middle by size; an image too small for all levels gets those that fit."""


def registration_config(size: str, channels: int, dims: int, side: int) -> RegistrationConfig:
    """R at a size of `SIZES` for images whose shortest side is `side` pixels (at least 4)."""
    widths, middle = SIZES[size]
    return RegistrationConfig(channels, dims, widths[: max(1, side.bit_length() - 2)], middle)


class _Conv(nn.Module):
    """A convolution that keeps the size, then leaky ReLU and residual blocks where they are."""

    def __init__(
        self, before: int, after: int, dims: int, side: int = 3, *, residual: bool = False
    ) -> None:
        super().__init__()
        self.conv2d = layers_of(dims).conv(before, after, side, padding=side // 2)
        nn.init.kaiming_normal_(self.conv2d.weight)
        nn.init.zeros_(self.conv2d.bias)
        self.resnet_block = _Blocks(after, dims, 1) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv2d(x), 0.2)
        return x if self.resnet_block is None else self.resnet_block(x)


class _Blocks(nn.Module):
    def __init__(self, width: int, dims: int, count: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(ResidualBlock(width, dims) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _UNet(nn.Module):
    """The residual U-Net; its parts are named as they are published."""

    def __init__(self, config: RegistrationConfig) -> None:
        super().__init__()
        of, dims, widths = layers_of(config.dims), config.dims, config.widths
        self.interpolation = of.interpolation
        self.levels = range(1, len(widths) + 1)
        self.halve = of.max_pool(2)
        ins = (2 * config.channels, *widths)
        for level, (before, after) in enumerate(pairwise(ins), start=1):
            down = nn.ModuleDict({"conv_0": _Conv(before, after, dims, residual=True)})
            self.add_module(f"down_{level}", down)
        self.c1 = _Conv(widths[-1], config.middle, dims, 1)
        self.t = _Blocks(config.middle, dims, config.blocks)
        self.c2 = _Conv(config.middle, widths[-1], dims, 1)
        below = widths[-1]
        for level in reversed(self.levels):
            width = widths[level - 1]
            self.add_module(f"up_{level}", _Conv(below + width, width, dims))
            below = width
        self.refine = nn.Sequential(_Blocks(below, dims, 1), _Conv(below, below, dims, 1))
        last = of.conv(below, dims, 3, padding=1)
        nn.init.normal_(last.weight, std=LAST_STD)
        nn.init.zeros_(last.bias)
        self.output = nn.ModuleDict({"conv2d": last})

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in self.levels:
            x = self.get_submodule(f"down_{level}.conv_0")(x)
            skips.append(x)
            x = self.halve(x)
        x = self.c2(self.t(self.c1(x)))
        for level in reversed(self.levels):
            skip = skips.pop()
            x = F.interpolate(x, skip.shape[2:], mode=self.interpolation, align_corners=False)
            x = self.get_submodule(f"up_{level}")(torch.cat([x, skip], 1))
        return self.output["conv2d"](self.refine(x))


class Registration(nn.Module):
    """R: a residual U-Net from a made and a real target to the field between them.

    The last convolution starts at almost nothing, so that R starts at almost the identity.
    """

    def __init__(self, config: RegistrationConfig) -> None:
        super().__init__()
        self.config = config
        self.offset_map = _UNet(config)
        if config.dims == 2:  # many narrow layers at full size: a third faster on CPUs
            self.to(memory_format=torch.channels_last)

    def forward(
        self,
        moving: Float[Tensor, "batch channels *space"],
        fixed: Float[Tensor, "batch channels *space"],
    ) -> Float[Tensor, "batch dims *space"]:
        """The displacement phi, pixels: `warp(moving, phi)` should lie on `fixed`.

        Raises:
            InputError: a side is shorter than `config.smallest_side`.
        """
        check_sides(moving, self.config.smallest_side, 1, "the registration network")
        return self.offset_map(torch.cat([moving, fixed], 1))


def warp(
    image: Float[Tensor, "batch channels *space"], flow: Float[Tensor, "batch dims *space"]
) -> Float[Tensor, "batch channels *space"]:
    """image o phi: at every place x the image's value at x + phi(x), linear between pixels.

    Outside of the image its border goes on. Computed in float32 at least, whatever comes in:
    bfloat16 cannot tell neighbouring pixels of a large image apart.
    """
    kind = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    image, flow = image.to(kind), flow.to(kind)
    sides = flow.shape[2:]
    places = torch.meshgrid(
        *(torch.arange(n, dtype=flow.dtype, device=flow.device) for n in sides), indexing="ij"
    )
    scaled = [
        2 * (place + moved) / (n - 1) - 1
        for place, moved, n in zip(places, flow.unbind(1), sides, strict=True)
    ]
    grid = torch.stack(scaled[::-1], -1)  # grid_sample wants the last axis first
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def smoothness(flow: Float[Tensor, "batch dims *space"]) -> Float[Tensor, ""]:
    """L_smooth: the mean squared forward difference along each axis, summed over the axes."""
    flow = at_least_float32(flow)
    return torch.stack([flow.diff(dim=axis).square().mean() for axis in range(2, flow.ndim)]).sum()


def jacobian(flow: Float[Tensor, "batch dims *space"]) -> Float[Tensor, "batch *fewer"]:
    """Determinant of the Jacobian of x + phi(x) by forward differences; one fewer along each axis.

    1 keeps the volume, below 1 shrinks, 0 and below folds.
    """
    flow = at_least_float32(flow)
    dims = flow.shape[1]
    here = flow
    for axis in range(dims):
        here = here.narrow(axis + 2, 0, flow.shape[axis + 2] - 1)
    columns = []
    for axis in range(dims):
        beside = flow
        for other in range(dims):
            beside = beside.narrow(other + 2, int(other == axis), flow.shape[other + 2] - 1)
        columns.append(beside - here)
    matrix = torch.stack(columns, -1).movedim(1, -2)
    identity = torch.eye(dims, dtype=flow.dtype, device=flow.device)
    return torch.linalg.det(matrix + identity)


def folding_share(flow: Float[Tensor, "batch dims *space"]) -> Float[Tensor, "batch"]:
    """Share of places where the field folds (its Jacobian determinant is 0 or less)."""
    return (jacobian(flow) <= 0).flatten(1).float().mean(1)
