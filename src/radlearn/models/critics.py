"""Critics: PatchGAN, judged by the spatial mean of its patches."""

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
