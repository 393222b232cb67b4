"""The ResNet generator of CycleGAN (Zhu et al., ICCV 2017), RegGAN's first host."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from radlearn.generators.host import Host
from radlearn.models.layers import ResidualBlock, check_sides, layers_of


@dataclass(frozen=True)
class ResNetConfig:
    """What the generator is made of; the defaults are the paper's (11,365,633 parameters).

    Attributes:
        channels_in: of the source; several sequences side by side are several channels.
        channels_out: of the target.
        dims: 2 or 3.
        width: features at full resolution; a quarter of those at the lowest.
        blocks: residual blocks at the lowest resolution, a quarter of the input's.
    """

    channels_in: int = 1
    channels_out: int = 1
    dims: int = 2
    width: int = 64
    blocks: int = 9


SIZES: dict[str, tuple[int, int]] = {"tiny": (16, 3), "small": (32, 6), "paper": (64, 9)}
"""Width and blocks by size."""


class ResNetGenerator(nn.Module):
    """Two halvings, residual blocks, two doublings; parameters have RegGAN's published names."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        of, width = layers_of(config.dims), config.width
        head = [of.reflect(3), of.conv(config.channels_in, width, 7), *_normed(of.norm(width))]
        tail: list[nn.Module] = []
        for before in (width, 2 * width):
            after = 2 * before
            head += [of.conv(before, after, 3, 2, 1), *_normed(of.norm(after))]
            doubled = of.transposed(after, before, 3, 2, 1, output_padding=1)
            tail = [doubled, *_normed(of.norm(before)), *tail]
        self.model_head = nn.Sequential(*head)
        self.model_body = nn.Sequential(
            *(ResidualBlock(4 * width, config.dims) for _ in range(config.blocks))
        )
        self.model_tail = nn.Sequential(
            *tail, of.reflect(3), of.conv(width, config.channels_out, 7), nn.Tanh()
        )

    def forward(
        self, source: Float[Tensor, "batch channels_in *space"]
    ) -> Float[Tensor, "batch channels_out *space"]:
        """G(a) in [-1, 1].

        Raises:
            InputError: a side is shorter than 8 or no multiple of 4.
        """
        check_sides(source, 8, 4, "the ResNet generator")
        return self.model_tail(self.model_body(self.model_head(source)))


def resnet(size: str, channels_in: int, channels_out: int, dims: int) -> ResNetGenerator:
    """The generator at a size of `SIZES`."""
    width, blocks = SIZES[size]
    return ResNetGenerator(ResNetConfig(channels_in, channels_out, dims, width, blocks))


def _normed(norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    return norm, nn.ReLU(inplace=True)


HOST = Host(resnet)
