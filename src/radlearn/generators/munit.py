"""MUNIT: content that two kinds of image share, style that each has its own.

Huang, Liu, Belongie, Kautz, "Multimodal Unsupervised Image-to-Image Translation", ECCV 2018; sizes
and weights as RegGAN used it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.generators.host import Fakes, Networks, Terms, of_autoencoders
from radlearn.models.autoencoder import Encoder, conv, kaiming, painter
from radlearn.models.losses import as_it_stands, l1_loss, looks_real
from radlearn.records.batches import Batch

STYLES = 8
RECONSTRUCTION, STYLE, CONTENT, ADVERSARIAL = 10.0, 1.0, 1.0, 1.0


def adain(
    x: Float[Tensor, "batch width rows columns"],
    scale: Float[Tensor, "batch width"],
    shift: Float[Tensor, "batch width"],
) -> Float[Tensor, "batch width rows columns"]:
    """Every channel brought to mean `shift` and standard deviation |`scale`|."""
    return scale[..., None, None] * F.instance_norm(x) + shift[..., None, None]


class _StyledBlock(nn.Module):
    """A residual block whose norms are AdaIN; it takes four vectors: two scales, two shifts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width, 3), conv(width, width, 3)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift, last_scale, last_shift = style.unbind(1)
        y = F.relu(adain(self.first(x), scale, shift))
        return x + adain(self.second(y), last_scale, last_shift)


class Munit(nn.Module):
    """G_ab: contents of a, pictures of b, and the styles of b that its pictures are made with.

    G_ba has the others, so that what one writes the other can read. 15.0 million parameters at
    the defaults.
    """

    def __init__(
        self, channels_in: int = 1, channels_out: int = 1, width: int = 64, blocks: int = 4
    ) -> None:
        super().__init__()
        self.content = Encoder(channels_in, width, blocks)
        self.style = nn.Sequential(
            conv(channels_out, width, 7),
            nn.ReLU(inplace=True),
            *_halved(width, 2 * width),
            *_halved(2 * width, 4 * width),
            *_halved(4 * width, 4 * width),
            *_halved(4 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(4 * width, STYLES, 1),
            nn.Flatten(),
        )
        self.blocks = nn.ModuleList(_StyledBlock(4 * width) for _ in range(blocks))
        self.styling = nn.Sequential(
            nn.Linear(STYLES, 4 * width),
            nn.ReLU(inplace=True),
            nn.Linear(4 * width, 4 * width),
            nn.ReLU(inplace=True),
            nn.Linear(4 * width, blocks * 4 * 4 * width),
            nn.Unflatten(1, (blocks, 4, 4 * width)),
        )
        self.painter = painter(width, channels_out)
        kaiming(self)

    def decode(
        self,
        content: Float[Tensor, "batch features rows columns"],
        style: Float[Tensor, "batch styles"],
    ) -> Float[Tensor, "batch channels_out height width"]:
        """A picture of b with that content and that style."""
        for block, own in zip(self.blocks, self.styling(style).unbind(1), strict=True):
            content = block(content, own)
        return self.painter(content)

    def forward(
        self, source: Float[Tensor, "batch channels_in height width"]
    ) -> Float[Tensor, "batch channels_out height width"]:
        """G(a) with the style 0, the mean of the styles that training draws: one answer, not many.

        Raises:
            InputError: a side is shorter than 16 or no multiple of 4.
        """
        content = self.content(source)
        return self.decode(content, content.new_zeros(len(content), STYLES))


def _halved(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    return conv(before, after, 4, 2), nn.ReLU(inplace=True)


def generator_terms(nets: Networks, batch: Batch) -> tuple[Terms, Fakes]:
    """Pictures, contents and styles come back; the critics believe.

    A picture is made again from its own content and style; the content and the style that a
    translation was made from are read off it again.
    """
    a, b = batch["source"], batch["target"]
    ab, ba = nets["G_ab"], nets["G_ba"]
    content_a, content_b = ab.content(a), ba.content(b)
    style_a, style_b = ba.style(a), ab.style(b)
    drawn_a, drawn_b = torch.randn_like(style_a), torch.randn_like(style_b)
    fake_a, fake_b = ba.decode(content_b, drawn_a), ab.decode(content_a, drawn_b)
    terms = {
        "adversarial_a": ADVERSARIAL * looks_real(*as_it_stands(nets["D_a"], fake_a)),
        "adversarial_b": ADVERSARIAL * looks_real(*as_it_stands(nets["D_b"], fake_b)),
        "reconstruction_a": RECONSTRUCTION * l1_loss(ba.decode(content_a, style_a), a),
        "reconstruction_b": RECONSTRUCTION * l1_loss(ab.decode(content_b, style_b), b),
        "content_a": CONTENT * l1_loss(ba.content(fake_b), content_a),
        "content_b": CONTENT * l1_loss(ab.content(fake_a), content_b),
        "style_a": STYLE * l1_loss(ba.style(fake_a), drawn_a),
        "style_b": STYLE * l1_loss(ab.style(fake_b), drawn_b),
    }
    return terms, {"a": fake_a, "b": fake_b}


HOST = of_autoencoders(Munit, generator_terms)
