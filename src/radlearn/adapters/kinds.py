"""What peft offers for linear layers: a line a way of tuning, in peft's own terms."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from radlearn.adapters.tuner import TunerConfig
from radlearn.errors import InputError


class Shapes(NamedTuple):
    """The layers that are to be tuned: their names, inputs and outputs."""

    names: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def rank(self, wanted: int) -> int:
        """The rank, no larger than any layer has."""
        return min(wanted, *self.inputs, *self.outputs)

    @property
    def common(self) -> int:
        """The largest number that divides every input and output."""
        return math.gcd(*self.inputs, *self.outputs)

    def factor(self, limit: int) -> int:
        """The largest number up to `limit` that divides every input and output."""
        return next(n for n in range(min(limit, self.common), 0, -1) if self.common % n == 0)

    def coefficients(self, wanted: int) -> int:
        """A number of weights, no larger than any layer has."""
        return min(wanted, *(i * o for i, o in zip(self.inputs, self.outputs, strict=True)))


Settings = Callable[[TunerConfig, Shapes], dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A way of tuning of peft's.

    Attributes:
        type: peft's name for it.
        settings: of peft's configuration, from ours and from the layers.
        about: what trains, in a line.
        paper: authors and year, or arXiv's number.
        size: what `TunerConfig.rank` is to it; empty where it is nothing.
        rewrites: whether it starts by changing the base weights, which trained factors make up for;
            it is then saved as the LoRA of twice the rank that changes them from where they were.
        mergeable: whether peft can add it to the weights.
        same_start: whether it changes nothing at first.
        families: of backbones whose layers it takes; peft fails on the others only when they run.
    """

    type: str
    settings: Settings
    about: str
    paper: str
    size: str = "rank"
    rewrites: bool = False
    mergeable: bool = True
    same_start: bool = True
    families: tuple[str, ...] = ("vit", "swin", "convnext", "other")


def _lora(**more: Any) -> Settings:
    return lambda config, shapes: {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        **more,
    }


def _ranks(times: int = 1, alpha: str = "", **more: Any) -> Settings:
    """Rank as so many of ours, and so many of alpha where it has one: their ratio stays."""

    def settings(config: TunerConfig, shapes: Shapes) -> dict[str, Any]:
        rank = shapes.rank(times * config.rank)
        return {"r": rank, **({alpha: config.alpha * rank / config.rank} if alpha else {}), **more}

    return settings


def _adalora(config: TunerConfig, shapes: Shapes) -> dict[str, Any]:
    """Ranks are given up after a tenth of the updates, and none any more in the last third."""
    if config.steps is None:
        raise InputError("AdaLoRA plans its ranks over all updates; give the number of steps")
    more = {
        "init_r": config.rank + max(1, config.rank // 2),
        "target_r": config.rank,
        "total_step": config.steps,
        "tinit": config.steps // 10,
        "tfinal": config.steps // 3,
        "deltaT": max(1, config.steps // 100),
    }
    return {name: v for name, v in (_lora()(config, shapes) | more).items() if name != "r"}


def _ia3(config: TunerConfig, shapes: Shapes) -> dict[str, Any]:
    """Inputs of the last layer of an MLP are scaled, outputs of the others."""
    return {"feedforward_modules": [name for name in shapes.names if name.endswith("fc2")]}


def _osf(config: TunerConfig, shapes: Shapes) -> dict[str, Any]:
    """All singular directions are kept but the `rank` smallest, which train."""
    sides = zip(shapes.names, shapes.inputs, shapes.outputs, strict=True)
    return {"rank_pattern": {name: max(min(i, o) - config.rank, 0) for name, i, o in sides}}


def _road(config: TunerConfig, shapes: Shapes) -> dict[str, Any]:
    """Groups of an even number of outputs that divides all of them."""
    group = next((n for n in range(64, 0, -2) if not any(o % n for o in shapes.outputs)), 2)
    return {"group_size": group}


def _psoft(config: TunerConfig, shapes: Shapes) -> dict[str, Any]:
    rank = shapes.rank(8 * config.rank)
    return {"r": rank, "psoft_alpha": rank}


def _vblora(config: TunerConfig, shapes: Shapes) -> dict[str, Any]:
    length = shapes.factor(256)
    return {"r": config.rank, "vector_length": length, "num_vectors": 64 * config.rank}


KINDS: dict[str, Kind] = {
    "lora-all": Kind("LORA", _lora(), "low-rank updates", "Hu et al., 2022"),
    "rslora": Kind(
        "LORA", _lora(use_rslora=True), "LoRA scaled by 1 / sqrt(rank)", "arXiv:2312.03732"
    ),
    "dora": Kind("LORA", _lora(use_dora=True), "LoRA, and a length a column", "Liu et al., 2024"),
    "pissa": Kind(
        "LORA",
        _lora(init_lora_weights="pissa"),
        "LoRA that starts as the largest singular vectors",
        "Meng et al., 2024",
        rewrites=True,
    ),
    "olora": Kind(
        "LORA",
        _lora(init_lora_weights="olora"),
        "LoRA that starts as orthonormal directions of the weight",
        "arXiv:2406.01775",
        rewrites=True,
    ),
    "orthogonal": Kind(
        "LORA",
        _lora(init_lora_weights="orthogonal"),
        "LoRA that starts as orthogonal factors",
        "",
        "rank, an even number",
    ),
    "mica": Kind(
        "LORA",
        _lora(init_lora_weights="mica"),
        "LoRA's A, its B being the smallest singular vectors",
        "arXiv:2604.01694",
    ),
    "adalora": Kind(
        "ADALORA",
        _adalora,
        "LoRA that moves its ranks to where they help",
        "Zhang et al., 2023",
        "rank at the end, on average; half more at the start",
    ),
    "hira": Kind(
        "HIRA", _ranks(8), "the weight times low-rank updates", "Huang et al., 2025", "rank / 8"
    ),
    "gralora": Kind(
        "GRALORA",
        _ranks(2, "alpha"),
        "LoRA block by block",
        "Jung et al., 2025",
        "rank / 2",
        families=("vit", "swin", "other"),
    ),
    "glora": Kind("GLORA", _ranks(), "scales and shifts of weight and bias", "Chavan et al., 2023"),
    "delora": Kind("DELORA", _ranks(), "normalised LoRA and its strength", "Bini et al., 2025"),
    "deft": Kind("DEFT", _ranks(), "low-rank directions, taken out and put in", ""),
    "lily": Kind(
        "LILY",
        _ranks(8),
        "LoRA whose B is shared by layers",
        "arXiv:2407.09946",
        "rank / 8",
        mergeable=False,
    ),
    "loha": Kind(
        "LOHA", _ranks(1, "alpha"), "products of two low-rank updates", "arXiv:2108.06098"
    ),
    "lokr": Kind("LOKR", _ranks(1, "alpha"), "Kronecker products", "arXiv:2309.14859"),
    "peanut": Kind(
        "PEANUT", _ranks(), "updates that a small net makes of the weight", "arXiv:2410.01870"
    ),
    "psoft": Kind("PSOFT", _psoft, "rotations among the largest singular vectors", "", "rank / 8"),
    "miss": Kind("MISS", _ranks(8), "shards of the weight, shared", "arXiv:2409.15371", "rank / 8"),
    "osf": Kind("OSF", _osf, "the smallest singular directions", "", "number of directions"),
    "ia3": Kind("IA3", _ia3, "a scale an output", "Liu et al., 2022", ""),
    "vera": Kind(
        "VERA", _ranks(64), "scales of random factors", "Kopiczko et al., 2024", "rank / 64"
    ),
    "pvera": Kind(
        "PVERA", _ranks(64), "VeRA that draws its scales", "arXiv:2512.07703", "rank / 64"
    ),
    "randlora": Kind(
        "RANDLORA", _ranks(8), "scales of random factors, full rank", "arXiv:2502.00987", "rank / 8"
    ),
    "tinylora": Kind(
        "TINYLORA",
        lambda config, shapes: {"u": 16 * config.rank},
        "one vector for all layers",
        "arXiv:2602.04118",
        "length / 16",
    ),
    "unilora": Kind(
        "UNILORA",
        lambda config, shapes: {"r": config.rank, "theta_d_length": 64 * config.rank},
        "one vector, of which all of LoRA is made",
        "arXiv:2506.00799",
        "rank, and length / 64",
        same_start=False,
    ),
    "vblora": Kind(
        "VBLORA",
        _vblora,
        "LoRA out of one bank of vectors",
        "arXiv:2405.15179",
        "rank, and vectors / 64",
        same_start=False,
    ),
    "oft": Kind(
        "OFT",
        lambda config, shapes: {"oft_block_size": shapes.factor(8 * config.rank)},
        "rotations block by block",
        "Qiu et al., 2023",
        "side of a block / 8",
        families=("vit", "swin", "other"),
    ),
    "boft": Kind(
        "BOFT",
        lambda config, shapes: {"boft_block_size": shapes.factor(config.rank)},
        "rotations as butterflies",
        "Liu et al., 2024",
        "side of a block",
    ),
    "hra": Kind("HRA", _ranks(2), "reflections", "Yuan et al., 2024", "reflections / 2"),
    "road": Kind("ROAD", _road, "a rotation a pair of outputs", "arXiv:2409.00119", ""),
    "c3a": Kind(
        "C3A",
        lambda c, s: {"block_size": s.factor(max(1, s.common // c.rank)), "init_weights": True},
        "circular convolutions",
        "arXiv:2407.19342",
        "convolutions a row, at least",
    ),
    "fourierft": Kind(
        "FOURIERFT",
        lambda c, s: {"n_frequency": s.coefficients(250 * c.rank), "init_weights": True},
        "coefficients of the update's spectrum",
        "Gao et al., 2024",
        "coefficients / 250",
    ),
    "waveft": Kind(
        "WAVEFT",
        lambda c, s: {"n_frequency": s.coefficients(648 * c.rank)},
        "coefficients of the update's wavelets",
        "",
        "coefficients / 648",
    ),
    "shira": Kind(
        "SHIRA",
        _ranks(random_seed=0),
        "single weights, drawn",
        "Bhardwaj et al., 2024",
        "as many as LoRA's",
    ),
    "supertuning": Kind(
        "SUPERTUNING", lambda c, s: {}, "the largest 1 % of weights", "arXiv:2607.09287", ""
    ),
    "adamss": Kind(
        "ADAMSS",
        lambda config, shapes: {"subspace_rank": config.rank},
        "LoRA in subspaces of the weight",
        "",
        "rank of a subspace",
    ),
    "frod": Kind(
        "FROD",
        lambda config, shapes: {"progressbar": False},
        "sparse scales of factors that layers share",
        "",
        "",
        families=("vit", "other"),
    ),
    "beft": Kind("BEFT", lambda c, s: {}, "shifts of outputs", "arXiv:2509.15974", ""),
}
