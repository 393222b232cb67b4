"""What a host of image-to-image translation is: its networks, its losses, its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from radlearn.models.autoencoder import SIZES
from radlearn.models.critics import critic, multiscale_critic
from radlearn.models.losses import judged, looks_made, looks_real
from radlearn.records.batches import Batch

Networks = Mapping[str, Any]  # modules; a host knows the parts of its own
Terms = dict[str, Tensor]
Fakes = dict[str, Tensor]

ONE_WAY = frozenset({"G_ab", "D_b"})
BOTH_WAYS = ONE_WAY | {"G_ba", "D_a"}


def critic_terms(nets: Networks, batch: Batch, fakes: Fakes) -> Terms:
    """Least squares: real ones called 1 and made ones 0, on every scale, weight 1.

    The authors of MUNIT, UNIT and NICE-GAN let the critics learn first and then make other fakes
    for the generators; here the critics see those of the generators' update, made once a step.
    """
    terms = {}
    for side, real in (("a", batch["source"]), ("b", batch["target"])):
        of_real, of_made = judged(nets[f"D_{side}"], real, fakes[side])
        terms[f"critic_{side}_real"] = looks_real(*of_real)
        terms[f"critic_{side}_made"] = looks_made(*of_made)
    return terms


@dataclass(frozen=True)
class Losses:
    """What a host minimises in place of RegGAN's adversarial, direct and cycle terms.

    Attributes:
        generator: (networks, batch) to the weighted terms of the generators, and the fakes by side
            ("a", "b") with their gradients. No gradient is computed for the critics.
        critic: (networks, batch, detached fakes) to the weighted terms of the critics.
        weight_decay: of Adam, for all networks but R.
    """

    generator: Callable[[Networks, Batch], tuple[Terms, Fakes]]
    critic: Callable[[Networks, Batch, Fakes], Terms] = critic_terms
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Host:
    """One way to build G_ab and its kin; a mode that lacks a network of `needs` is not its own.

    Attributes:
        generator: (size, channels in, channels out, dims) to G_ab or G_ba.
        critic: (size, channels, dims) to D_a or D_b.
        losses: None for RegGAN's own, which any generator can be trained by.
        needs: names of the networks that the losses are written for.
        dims: numbers of spatial dimensions that the networks exist in.
        translating: the networks to one module, whose forward is G(a) without chance; it holds the
            very parameters of the networks, each once.
    """

    generator: Callable[[str, int, int, int], nn.Module]
    critic: Callable[[str, int, int], nn.Module] = critic
    losses: Losses | None = None
    needs: frozenset[str] = ONE_WAY
    dims: tuple[int, ...] = (2, 3)
    translating: Callable[[Networks], nn.Module] = lambda nets: nets["G_ab"]


def of_autoencoders(
    network: Callable[[int, int, int, int], nn.Module],
    terms: Callable[[Networks, Batch], tuple[Terms, Fakes]],
) -> Host:
    """A host of two autoencoders, as MUNIT and UNIT are: in 2-D, both ways, judged on every scale.

    Args:
        network: (channels in, channels out, width, blocks) to a generator.
        terms: see `Losses.generator`.
    """

    def generator(size: str, channels_in: int, channels_out: int, dims: int) -> nn.Module:
        width, blocks = SIZES[size]
        return network(channels_in, channels_out, width, blocks)

    losses = Losses(terms, weight_decay=1e-4)
    return Host(generator, multiscale_critic, losses, needs=BOTH_WAYS, dims=(2,))
