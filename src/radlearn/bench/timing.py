"""Time taken in turn: one form, then the other, so that what slows the machine slows both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from radlearn.bench.figure import OURS, PLAIN, Setting
from radlearn.bench.limits import wait
from radlearn.engine.cost import peak_memory
from radlearn.engine.device import Compute
from radlearn.engine.folder import RunFolder
from radlearn.engine.loop import FitConfig, Phase, fit
from radlearn.records.batches import Batch

WARM = 1
"""Measurements that do not count: the first does what is done once."""
NEVER = 10**9


class Clock:
    """Seconds of each measurement, by form."""

    def __init__(self, device: torch.device, now: Callable[[], float]) -> None:
        self.device = device
        self.now = now
        self.seconds: dict[str, list[float]] = {}

    def measure(self, form: str, work: Callable[[], object]) -> None:
        began = self.now()
        work()
        self.add(form, began)

    def add(self, form: str, began: float) -> None:
        wait(self.device)
        self.seconds.setdefault(form, []).append(self.now() - began)

    def counted(self, warm: int = WARM) -> dict[str, list[float]]:
        """Without the first, which do not count."""
        return {form: found[warm:] for form, found in self.seconds.items()}


def in_turn(
    forms: Mapping[str, Callable[[], object]], setting: Setting, warm: int = WARM
) -> dict[str, list[float]]:
    """Seconds of each form, measured one after the other `setting.repeats` times.

    Args:
        warm: how many more there are before, which do not count.
    """
    clock = Clock(setting.here.device, setting.now)
    for _ in range(setting.repeats + warm):
        for form, work in forms.items():
            clock.measure(form, work)
    return clock.counted(warm)


@dataclass(frozen=True)
class Training:
    """A mission's training as its run does it.

    Attributes:
        batch: what every step sees; made beforehand, as a loader does.
        after: see `fit`.
    """

    nets: Mapping[str, nn.Module]
    phases: Sequence[Phase]
    batch: Batch
    clip: float | None = None
    after: Callable[[], None] | None = None
    lr: float = 1e-4


@dataclass
class Trained:
    """What was measured of training.

    Attributes:
        seconds: of a step, by form.
        memory: bytes at the peak so far, after the last step of ours.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: int = 0


def training_steps(
    training: Training, setting: Setting, plain: Callable[[], object] | None = None
) -> Trained:
    """Train by `engine.loop.fit` itself, a step of the plain form before every step of ours.

    A step is all of the loop but the making of its batch: moving it, seeding, forward, backward,
    the gradients' norm, the update.
    """
    device, found = setting.here.device, Trained()
    clock = Clock(device, setting.now)
    began = 0.0

    def make(step: int) -> Batch:
        nonlocal began
        if plain is not None:
            clock.measure(PLAIN, plain)
        began = clock.now()
        return training.batch

    def after() -> None:
        if training.after is not None:
            training.after()
        clock.add(OURS, began)
        found.memory = peak_memory(device)

    run = RunFolder.begin(_fresh(setting.folder), "bench", {})
    try:
        fit(
            training.nets,
            training.phases,
            make,
            run=run,
            config=FitConfig(
                setting.repeats + WARM,
                clip=training.clip,
                log_every=NEVER,
                evaluate_every=NEVER,
                save_every=NEVER,
            ),
            compute=setting.here,
            schedule=lambda step: training.lr,
            after=after,
        )
    finally:
        run.close()
    found.seconds = clock.counted()
    return found


def plain_compute(here: Compute) -> Compute:
    """The same device in float32."""
    return Compute(here.device, bfloat16=False)


def _fresh(folder: Path) -> Path:
    return folder / f"run-{len(list(folder.iterdir())):03d}"
