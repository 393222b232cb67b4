"""How a step's cost grows with the image's side, the batch, the model and the rank of LoRA."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from radlearn.bench.figure import OURS, Setting
from radlearn.bench.finetuning import tuning
from radlearn.bench.timing import Training, training_steps

TINY, SMALL, BASE = (f"vit_{name}_patch16_224" for name in ("tiny", "small", "base"))
WIDTHS = {TINY: 192, SMALL: 384, BASE: 768}


@dataclass(frozen=True)
class Step:
    """A step of LoRA: what one of the four is changed of, the others left as they are here."""

    side: int = 224
    batch: int = 4
    vit: str = SMALL
    rank: int = 4


GROWN: Mapping[str, Mapping[str, tuple[Step, ...]]] = {
    "full": {
        "image side, pixels": tuple(Step(side=side) for side in (96, 160, 224, 320, 448)),
        "images a batch": tuple(Step(batch=batch) for batch in (1, 2, 4, 8, 16)),
        "width of the ViT": tuple(Step(vit=vit) for vit in (TINY, SMALL, BASE)),
        "rank": tuple(Step(rank=rank) for rank in (1, 4, 16, 64)),
    },
    "tiny": {
        "image side, pixels": tuple(Step(side, 2, TINY) for side in (32, 48)),
        "rank": tuple(Step(32, 2, TINY, rank) for rank in (1, 4)),
    },
}
"""What is varied, and the steps along it."""


def along(name: str, step: Step) -> float:
    """The value of a step on the axis of this name."""
    values = {
        "image side, pixels": step.side,
        "images a batch": step.batch,
        "width of the ViT": WIDTHS[step.vit],
        "rank": step.rank,
    }
    return values[name]


def step_growth(setting: Setting) -> dict[str, list[tuple[float, float]]]:
    """Seconds of a step along every axis: the fastest of the repeats, as (value, seconds)."""
    known: dict[Step, float] = {}
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, steps in GROWN[setting.sizes.name].items():
        for step in steps:
            if step not in known:
                known[step] = min(training_steps(_training(step, setting), setting).seconds[OURS])
        lines[name] = [(along(name, step), known[step]) for step in steps]
    return lines


def _training(step: Step, setting: Setting) -> Training:
    sizes = replace(setting.sizes, vit=step.vit, side=step.side, batch=step.batch)
    return tuning("lora", replace(setting, sizes=sizes), rank=step.rank)
