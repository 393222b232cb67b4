"""Critics: PatchGAN, judged by the spatial mean of its patches; and critics of several scales."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from radlearn.models.layers import at_least_float32, check_sides, layers_of


@dataclass(frozen=True)
class CriticConfig:
    """What a critic is made of; the defaults are RegGAN's (2,762,689 parameters).

    Attributes:
        channels: of what it judges; a conditional critic sees source and target side by side.
        dims: 2 or 3.
        width: features of the first layer; the fourth has eight times as many.
    """

    channels: int = 1
    dims: int = 2
    width: int = 64


SIZES: dict[str, int] = {"tiny": 16, "small": 32, "paper": 64}
"""Width by size."""
MULTISCALE_SIZES: dict[str, tuple[int, int]] = {"tiny": (16, 2), "small": (32, 3), "paper": (64, 4)}
"""Width and layers of each scale by size."""


class Critic(nn.Module):
    """The 70x70-type PatchGAN (Isola et al., CVPR 2017) as RegGAN uses it.

    Convolutions of side 4: three of stride 2, then two of stride 1; instance norm from the second
    on but the last, leaky ReLU 0.2. Parameters have the published names.
    """

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        of, width = layers_of(config.dims), config.width
        parts = [of.conv(config.channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            parts += [
                of.conv(before * width, after * width, 4, stride, 1),
                of.norm(after * width),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.model = nn.Sequential(*parts, of.conv(8 * width, 1, 4, 1, 1))

    def forward(self, images: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch"]:
        """How real each image is: about 1 for real, 0 for made; float32 at least.

        Raises:
            InputError: a side is shorter than 24.
        """
        check_sides(images, 24, 1, "the critic")
        return at_least_float32(self.model(images)).flatten(1).mean(1)


def critic(size: str, channels: int, dims: int) -> Critic:
    """The critic at a size of `SIZES`."""
    return Critic(CriticConfig(channels, dims, SIZES[size]))


class MultiScaleCritic(nn.Module):
    """PatchGANs without norms on the image and on its averages at half and a quarter of the size.

    The critics of MUNIT (Huang et al., ECCV 2018, after Wang et al., CVPR 2018):
    convolutions of side 4 and stride 2 that double the width, leaky ReLU 0.2, reflect padding, then
    one of side 1; weights start with standard deviation 0.02. In 2-D.
    """

    def __init__(
        self, channels: int = 1, width: int = 64, layers: int = 4, scales: int = 3
    ) -> None:
        super().__init__()
        self.smallest_side = 2 ** (layers + scales - 1)
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        widths = [width * 2**layer for layer in range(layers)]
        self.scales = nn.ModuleList()
        for _ in range(scales):
            parts: list[nn.Module] = []
            for before, after in zip([channels, *widths], widths, strict=False):
                padded = nn.Conv2d(before, after, 4, 2, 1, padding_mode="reflect")
                parts += [padded, nn.LeakyReLU(0.2, inplace=True)]
            self.scales.append(nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 1)))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> tuple[Tensor, ...]:
        """How real each patch is, (B, 1, rows, columns) a scale, the finest first.

        Raises:
            InputError: a side is shorter than `smallest_side`.
        """
        check_sides(images, self.smallest_side, 1, "the critic of several scales")
        scores = []
        for scale in self.scales:
            scores.append(scale(images))
            images = self.halve(images)
        return tuple(scores)


def multiscale_critic(size: str, channels: int, dims: int) -> MultiScaleCritic:
    """The critic at a size of `MULTISCALE_SIZES`, with three scales; `dims` is 2."""
    return MultiScaleCritic(channels, *MULTISCALE_SIZES[size])
