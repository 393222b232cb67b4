"""Modes of translation: which networks exist, and what is asked of them."""

from dataclasses import dataclass, field
from typing import Literal

Size = Literal["tiny", "small", "paper"]
"""Width and depth of a mode's networks."""


@dataclass(frozen=True)
class Weights:
    """How much each term counts; the defaults are RegGAN's and Pix2Pix's.

    Attributes:
        direct: of mean |b - G(a)| without registration: only pairs that line up bear it.
        anchor: of the mutual information of G(a) and a, which is to be high. Not in the paper: R
            undoes any shift of G(a), so that nothing else holds G(a) in its place.
    """

    adversarial: float = 1.0
    cycle: float = 10.0
    direct: float = 0.0
    registration: float = 20.0
    smoothness: float = 10.0
    anchor: float = 0.0


@dataclass(frozen=True)
class Mode:
    """One way to train G_ab, the translation from source to target.

    A host with losses of its own has this mode if it has the networks; of the rest it takes the
    weights of registration alone, and its critics see the fakes of before the update, unpooled.

    Attributes:
        networks: those that exist; a term whose network is absent is absent. G_ab: source to
            target, G_ba: back, D_a and D_b: critics of source and target, R: registration.
        conditional: the critic sees the source beside the target (Isola et al., CVPR 2017).
        fresh: the critics judge a fake that is made after the generator's update; else the one
            that was made before it.
        pool: how many earlier fakes the critics may be shown again (Shrivastava et al., CVPR
            2017); 0 for none.
    """

    networks: frozenset[str]
    conditional: bool = False
    fresh: bool = False
    pool: int = 50
    weights: Weights = field(default_factory=Weights)

    @property
    def needs_pairs(self) -> bool:
        """Whether source and target must show the same patient."""
        return self.conditional or "R" in self.networks or self.weights.direct > 0


_ONE_WAY = frozenset({"G_ab", "D_b"})
_CYCLE = _ONE_WAY | {"G_ba", "D_a"}

MODES: dict[str, Mode] = {
    "nc": Mode(_ONE_WAY),
    "c": Mode(_CYCLE),
    "nc+r": Mode(_ONE_WAY | {"R"}, fresh=True, pool=0),
    "c+r": Mode(_CYCLE | {"R"}),
    "p2p": Mode(_ONE_WAY, conditional=True, fresh=True, pool=0, weights=Weights(direct=100.0)),
    # not in the paper: Pix2Pix's direct term gives way to the registered one
    "p2p+r": Mode(_ONE_WAY | {"R"}, conditional=True, fresh=True, pool=0),
}
"""By name, as in RegGAN (Kong et al., NeurIPS 2021), with its order of updates."""
