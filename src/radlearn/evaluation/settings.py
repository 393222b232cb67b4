"""The settings of evaluating runs and of planning labels, apart from what scores and draws."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from radlearn.errors import InputError


@dataclass(frozen=True)
class EvaluateConfig:
    """Score finished runs, with 95 % intervals over patients; two or more: their differences.

    Example: radlearn evaluate runs/lora runs/full --out difference.json
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Finished runs, of fine-tuning or of translation."""
    split: Literal["val", "test"] = "test"
    """Which records are scored."""
    resamples: int = 1000
    """Bootstrap resamples, drawn by patient; of few patients' slices, by block of neighbours."""
    seed: int = 0
    """Seed of the resamples."""
    rule: str = "youden"
    """Operating point, chosen on validation: youden, f1 or sensitivity>=X."""
    labels: tuple[str, ...] = ()
    """Only these labels; default: all."""
    step: int | None = None
    """Of translations: the step whose scores count; default: the last."""
    on: Path | None = None
    """Of segmentations: another store, whose masks are drawn by the runs as they are."""
    groups: tuple[str, ...] = ()
    """Columns of the store whose groups are scored too, such as: sex view age:0-40-60-80."""
    stores: tuple[Path, ...] = ()
    """Where --groups finds its columns; default: the stores that the run was made from."""
    lists: tuple[Path, ...] = ()
    """Published test lists to score what was held apart of, too; default: those of the stores."""
    out: Path | None = None
    """Where the differences of the runs are written, as JSON and, beside it, as a page."""

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise InputError(f"{self.resamples} resamples make no interval; 1000 do")
        if self.seed < 0:
            raise InputError(f"--seed is 0 or above, not {self.seed}")
        from radlearn.metrics.calibration import check_rule

        check_rule(self.rule)


@dataclass(frozen=True)
class PlanConfig:
    """Fit a learning curve to runs on few labels; say what more labels would give, and how surely.

    Example: radlearn plan-labels runs/f10 runs/f25 runs/f50 runs/f100 --out plan.json
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Finished runs that differ in --fraction and --seed alone; three fractions or more."""
    times: tuple[float, ...] = (2.0, 5.0)
    """How many times the labels of the largest run."""
    label: str | None = None
    """The label whose score counts; default: the mean over all."""
    split: Literal["val", "test"] = "test"
    """Which records are scored."""
    resamples: int = 1000
    """Resamples of patients and of the noise of training."""
    seed: int = 0
    """Seed of the resamples."""
    out: Path | None = None
    """Where the plan is written, as JSON and, beside it, as a page."""

    def __post_init__(self) -> None:
        if not self.times or min(self.times) <= 1 or max(self.times) > 1000:
            raise InputError("--times are above 1 and at most 1000, such as: --times 2 5")
        if self.resamples < 100:
            raise InputError(f"{self.resamples} resamples make no interval; 1000 do")
        if self.seed < 0:
            raise InputError(f"--seed is 0 or above, not {self.seed}")
