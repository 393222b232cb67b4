"""NICE-GAN: no encoder of its own; the critic's first layers are the encoder.

Chen, Huang, Huang, Sun, Fang, "Reusing Discriminators for Encoding: Towards Unsupervised
Image-to-Image Translation", CVPR 2020; the light generator. The encoder learns by the critics'
terms alone and stands still while the generators learn: that is all of the decoupled training.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.generators.host import BOTH_WAYS, Fakes, Host, Losses, Networks, Terms
from radlearn.models.adalin import AdaLINBlock, normed
from radlearn.models.layers import check_sides
from radlearn.models.losses import as_it_stands, l1_loss, looks_real
from radlearn.models.spectral import SpectralConv, SpectralLinear
from radlearn.records.batches import Batch

CYCLE, RECONSTRUCTION, ADVERSARIAL = 10.0, 10.0, 1.0
SIZES: dict[str, tuple[int, int]] = {"tiny": (16, 2), "small": (32, 4), "paper": (64, 6)}
"""Width and residual blocks of the generator by size."""
CRITIC_SIZES: dict[str, tuple[int, int, int]] = {
    "tiny": (16, 0, 1),
    "small": (32, 1, 1),
    "paper": (64, 1, 2),
}
"""Width of the critic, halvings after the encoder to its local and from there to its global scale,
by size; the width is the generator's."""


class NiceEncoder(nn.Module):
    """The critic's first layers: two halvings, then attention by class activation, residual.

    Features are weighed by what tells real from made (Kim et al., U-GAT-IT, ICLR 2020), and added
    with a factor that starts at 0.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_layer(channels, width, stride=2), *_layer(width, 2 * width, stride=2)
        )
        self.telling = SpectralLinear(4 * width, 1)
        self.mix = nn.Conv2d(4 * width, 2 * width, 1)
        self.share = nn.Parameter(torch.zeros(()))
        self.activation = nn.LeakyReLU(0.2)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch features rows columns"], Float[Tensor, "batch 1"]]:
        """The code, a quarter of the image's sides, and the score of the activation map.

        Raises:
            InputError: a side is shorter than 8 or no multiple of 4.
        """
        check_sides(images, 8, 4, "NICE-GAN's encoder")
        x = self.layers(images)
        weight = self.telling.weight()
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        score = nn.functional.linear(pooled, weight)
        weighed = self.mix(torch.cat([x, x], 1) * weight[..., None, None])
        return self.activation(self.share * weighed + x), score


class NiceCritic(nn.Module):
    """D: its encoder, and on the code a classifier of small and one of large patches.

    46.9 million parameters at the defaults. Spectral norm but for the 1-wide convolution.
    """

    def __init__(
        self, channels: int = 1, width: int = 64, local: int = 1, further: int = 2
    ) -> None:
        super().__init__()
        self.smallest_side = 3 * 2 ** (2 + local + further)
        self.encoder = NiceEncoder(channels, width)
        self.classifiers = _Classifiers(2 * width, local, further)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> tuple[Tensor, ...]:
        """Scores by small patches and by large ones, (B, 1, rows, columns), and of the attention.

        Raises:
            InputError: a side is shorter than `smallest_side` or no multiple of 4.
        """
        check_sides(images, self.smallest_side, 4, "NICE-GAN's critic")
        code, score = self.encoder(images)
        return *self.classifiers(code), score


class _Classifiers(nn.Module):
    def __init__(self, width: int, local: int, further: int) -> None:
        super().__init__()
        middle = width * 2**local
        last = middle * 2**further
        self.down = _halvings(width, local)
        self.local = nn.Sequential(*_layer(middle, 2 * middle), _last(2 * middle))
        self.whole = nn.Sequential(
            _halvings(middle, further), *_layer(last, 2 * last), _last(2 * last)
        )

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        x = self.down(code)
        return self.local(x), self.whole(x)


class NiceGenerator(nn.Module):
    """G_ab: a code that D_a's encoder read from a, to a picture of b; 8.1 million parameters."""

    def __init__(self, channels_out: int = 1, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        wide = 4 * width
        self.head = nn.Sequential(_conv(2 * width, wide, 3), *normed(wide))
        self.read = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(wide, wide, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(wide, wide, bias=False),
            nn.ReLU(inplace=True),
        )
        self.scale = nn.Linear(wide, wide, bias=False)
        self.shift = nn.Linear(wide, wide, bias=False)
        self.blocks = nn.ModuleList(AdaLINBlock(wide) for _ in range(blocks))
        self.tail = nn.Sequential(
            *_doubled(4 * width, 2 * width),
            *_doubled(2 * width, width),
            _conv(width, channels_out, 7, bias=False),
            nn.Tanh(),
        )

    def forward(
        self, code: Float[Tensor, "batch features rows columns"]
    ) -> Float[Tensor, "batch channels_out height width"]:
        """A picture in [-1, 1], four times the code's sides."""
        x = self.head(code)
        read = self.read(x)
        scale, shift = self.scale(read), self.shift(read)
        for block in self.blocks:
            x = block(x, scale, shift)
        return self.tail(x)


class NiceTranslator(nn.Module):
    """The encoder of D_a, then G_ab."""

    def __init__(self, encoder: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(
        self, source: Float[Tensor, "batch channels_in height width"]
    ) -> Float[Tensor, "batch channels_out height width"]:
        """G(a) in [-1, 1]; in training mode the spectral norm of the encoder would go on learning.

        Raises:
            InputError: a side is shorter than 8 or no multiple of 4.
        """
        code, _ = self.encoder(source)
        return self.generator(code)


def generator_terms(nets: Networks, batch: Batch) -> tuple[Terms, Fakes]:
    """Adversarial, cycle and reconstruction terms of both ways, the encoders frozen."""
    a, b = batch["source"], batch["target"]
    ab, ba, critic_a, critic_b = nets["G_ab"], nets["G_ba"], nets["D_a"], nets["D_b"]
    code_a, _ = as_it_stands(critic_a.encoder, a)
    code_b, _ = as_it_stands(critic_b.encoder, b)
    fake_a, fake_b = ba(code_b), ab(code_a)
    code_of_fake_a, scores_a = _judged(critic_a, fake_a)
    code_of_fake_b, scores_b = _judged(critic_b, fake_b)
    terms = {
        "adversarial_a": ADVERSARIAL * looks_real(*scores_a),
        "adversarial_b": ADVERSARIAL * looks_real(*scores_b),
        "cycle_a": CYCLE * l1_loss(ba(code_of_fake_b), a),
        "cycle_b": CYCLE * l1_loss(ab(code_of_fake_a), b),
        "reconstruction_a": RECONSTRUCTION * l1_loss(ba(code_a), a),
        "reconstruction_b": RECONSTRUCTION * l1_loss(ab(code_b), b),
    }
    return terms, {"a": fake_a, "b": fake_b}


def _judged(critic: NiceCritic, fake: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The code and all scores of a fake in one pass, no gradient for the critic."""
    check_sides(fake, critic.smallest_side, 4, "NICE-GAN's critic")
    code, score = as_it_stands(critic.encoder, fake)
    return code, (*as_it_stands(critic.classifiers, code), score)


def _conv(before: int, after: int, side: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(before, after, side, padding=side // 2, padding_mode="reflect", bias=bias)


def _doubled(before: int, after: int) -> tuple[nn.Module, ...]:
    """Twice the sides by sub-pixel convolution (Shi et al., CVPR 2016)."""
    first = (_conv(before, after, 3), *normed(after))
    return *first, nn.Conv2d(after, 4 * after, 1), nn.PixelShuffle(2), *normed(after)


def _layer(before: int, after: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return SpectralConv(before, after, stride), nn.LeakyReLU(0.2, inplace=True)


def _halvings(width: int, count: int) -> nn.Sequential:
    layers = (_layer(width * 2**n, width * 2 ** (n + 1), stride=2) for n in range(count))
    return nn.Sequential(*(part for layer in layers for part in layer))


def _last(width: int) -> nn.Module:
    return SpectralConv(width, 1, bias=False)


def nicegan(size: str, channels_in: int, channels_out: int, dims: int) -> NiceGenerator:
    """The generator at a size of `SIZES`; `dims` is 2, and the source is the encoder's affair."""
    width, blocks = SIZES[size]
    return NiceGenerator(channels_out, width, blocks)


def nice_critic(size: str, channels: int, dims: int) -> NiceCritic:
    """The critic at a size of `CRITIC_SIZES`; `dims` is 2."""
    return NiceCritic(channels, *CRITIC_SIZES[size])


def _translating(nets: Networks) -> NiceTranslator:
    return NiceTranslator(nets["D_a"].encoder, nets["G_ab"])


HOST = Host(
    nicegan,
    nice_critic,
    Losses(generator_terms, weight_decay=1e-4),
    needs=BOTH_WAYS,
    dims=(2,),
    translating=_translating,
)
