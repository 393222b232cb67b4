"""The encoder and the painter that the autoencoders of MUNIT and UNIT are made of."""

from jaxtyping import Float
from torch import Tensor, nn

from radlearn.models.layers import ResidualBlock, check_sides

SIZES: dict[str, tuple[int, int]] = {"tiny": (16, 1), "small": (32, 3), "paper": (64, 4)}
"""Width and residual blocks, of the encoder as of what comes after it, by size."""


def conv(before: int, after: int, side: int, stride: int = 1) -> nn.Conv2d:
    """Reflect-padded so that stride 1 keeps the size and stride 2 with side 4 halves it."""
    padding = (side - stride + 1) // 2
    return nn.Conv2d(before, after, side, stride, padding, padding_mode="reflect")


class Encoder(nn.Module):
    """A picture to its content: two halvings, then residual blocks; instance norm throughout."""

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for before, after, side, stride in (
            (channels, width, 7, 1),
            (width, 2 * width, 4, 2),
            (2 * width, 4 * width, 4, 2),
        ):
            normed = nn.InstanceNorm2d(after)
            parts += [conv(before, after, side, stride), normed, nn.ReLU(inplace=True)]
        self.model = nn.Sequential(*parts, *(ResidualBlock(4 * width, 2) for _ in range(blocks)))

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features rows columns"]:
        """The code, a quarter of the image's sides.

        Raises:
            InputError: a side is shorter than 16 or no multiple of 4.
        """
        check_sides(images, 16, 4, "the encoder of MUNIT and UNIT")
        return self.model(images)


def painter(width: int, channels: int) -> nn.Sequential:
    """Features at a quarter of the sides to a picture in [-1, 1]: two doublings, layer norm."""
    parts: list[nn.Module] = []
    for before, after in ((4 * width, 2 * width), (2 * width, width)):
        normed = nn.GroupNorm(1, after)
        nn.init.uniform_(normed.weight)
        doubled = nn.Upsample(scale_factor=2, mode="nearest")
        parts += [doubled, conv(before, after, 5), normed, nn.ReLU(inplace=True)]
    return nn.Sequential(*parts, conv(width, channels, 7), nn.Tanh())


def kaiming(net: nn.Module) -> None:
    """Draw all convolutions and linear layers as He et al. (ICCV 2015); biases are 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
