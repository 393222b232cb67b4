"""The settings of `radlearn bench` and `radlearn bench scale`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from radlearn.engine.names import DeviceName, PrecisionName
from radlearn.errors import InputError, refuse_unless_positive

FigureName = Literal[
    "pretrain",
    "lora",
    "full",
    "infer",
    "load",
    "translate",
    "job-lora",
    "job-linear",
    "bootstrap",
    "help",
]

ClockName = Literal["wall", "processor"]


@dataclass(frozen=True)
class BenchConfig:
    """Measure what work costs here, each figure in turn with the plain form of the same work.

    Example: radlearn bench --only lora infer --baseline True --json figures.json
    """

    only: tuple[FigureName, ...] = ()
    """Figures to measure; default: all."""
    baseline: bool = False
    """Measure the plain form too: eager float32, nothing left out, nothing kept."""
    repeats: int = 5
    """Measurements of each, of which the median counts."""
    size: Literal["full", "tiny"] = "full"
    """full: the papers' sizes; tiny: only to see that everything runs."""
    clock: ClockName = "wall"
    """processor: one thread's own time, for a machine that others use too."""
    json: Path | None = None
    """File for all that was measured."""
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"

    def __post_init__(self) -> None:
        refuse_unless_positive(self, "repeats")


@dataclass(frozen=True)
class ScaleConfig:
    """See whether cost grows as it should: a large store made by script, and larger steps.

    Example: radlearn bench scale --records 100000 --out scale
    """

    out: Path
    """Folder for what is made and measured; the made files are removed."""
    records: int = 100_000
    """Of the large store; the small one has a hundredth."""
    image_size: int = 224
    """Side of the stored pictures, pixels."""
    parts: tuple[Literal["store", "steps"], ...] = ("store", "steps")
    """store: a large one beside a small one; steps: lines against size, batch, model and rank."""
    repeats: int = 5
    size: Literal["full", "tiny"] = "full"
    """full: up to the papers' sizes; tiny: only to see that everything runs."""
    clock: ClockName = "wall"
    """processor: one thread's own time, for a machine that others use too."""
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"

    def __post_init__(self) -> None:
        refuse_unless_positive(self, "repeats", "image_size")
        if self.records < 200:
            raise InputError(f"--records {self.records}: give at least 200")
