"""UNIT: two variational autoencoders that share one space of codes.

Liu, Breuel, Kautz, "Unsupervised Image-to-Image Translation Networks", NeurIPS 2017, in the form
that its authors later published beside MUNIT: codes have noise of variance 1, no weights are
shared, and it is the losses that make the codes of both kinds of image the same.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.generators.host import Fakes, Networks, Terms, of_autoencoders
from radlearn.models.autoencoder import Encoder, kaiming, painter
from radlearn.models.layers import ResidualBlock, at_least_float32
from radlearn.models.losses import as_it_stands, l1_loss, looks_real
from radlearn.records.batches import Batch

RECONSTRUCTION, KL, CYCLE, CYCLE_KL, ADVERSARIAL = 10.0, 0.01, 10.0, 0.01, 1.0


class Unit(nn.Module):
    """G_ab: `encode` reads a, `decode` paints b. G_ba reads b and paints a."""

    def __init__(
        self, channels_in: int = 1, channels_out: int = 1, width: int = 64, blocks: int = 4
    ) -> None:
        super().__init__()
        self.encode = Encoder(channels_in, width, blocks)
        self.decode = nn.Sequential(
            *(ResidualBlock(4 * width, 2) for _ in range(blocks)), *painter(width, channels_out)
        )
        kaiming(self)

    def forward(
        self, source: Float[Tensor, "batch channels_in height width"]
    ) -> Float[Tensor, "batch channels_out height width"]:
        """G(a) from the mean of the code, without noise.

        Raises:
            InputError: a side is shorter than 16 or no multiple of 4.
        """
        return self.decode(self.encode(source))


def drawn(mean: Float[Tensor, "batch *code"]) -> Float[Tensor, "batch *code"]:
    """A code around its mean, variance 1."""
    return mean + torch.randn_like(mean)


def divergence(mean: Float[Tensor, "batch *code"]) -> Float[Tensor, ""]:
    """KL of N(mean, 1) from N(0, 1), an element of the code, but for its factor 1/2."""
    return at_least_float32(mean).square().mean()


def generator_terms(nets: Networks, batch: Batch) -> tuple[Terms, Fakes]:
    """The bounds of both autoencoders and of both cycles; the critics believe."""
    a, b = batch["source"], batch["target"]
    ab, ba = nets["G_ab"], nets["G_ba"]
    mean_a, mean_b = ab.encode(a), ba.encode(b)
    code_a, code_b = drawn(mean_a), drawn(mean_b)
    fake_a, fake_b = ba.decode(code_b), ab.decode(code_a)
    back_a, back_b = ba.encode(fake_b), ab.encode(fake_a)
    terms = {
        "adversarial_a": ADVERSARIAL * looks_real(*as_it_stands(nets["D_a"], fake_a)),
        "adversarial_b": ADVERSARIAL * looks_real(*as_it_stands(nets["D_b"], fake_b)),
        "reconstruction_a": RECONSTRUCTION * l1_loss(ba.decode(code_a), a),
        "reconstruction_b": RECONSTRUCTION * l1_loss(ab.decode(code_b), b),
        "kl_a": KL * divergence(mean_a),
        "kl_b": KL * divergence(mean_b),
        "cycle_a": CYCLE * l1_loss(ba.decode(drawn(back_a)), a),
        "cycle_b": CYCLE * l1_loss(ab.decode(drawn(back_b)), b),
        "cycle_kl_a": CYCLE_KL * divergence(back_a),
        "cycle_kl_b": CYCLE_KL * divergence(back_b),
    }
    return terms, {"a": fake_a, "b": fake_b}


HOST = of_autoencoders(Unit, generator_terms)
