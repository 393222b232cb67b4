"""A figure: one kind of work, measured in its forms, and what it is to be compared with."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from radlearn.bench.limits import Limits
from radlearn.bench.sizes import Sizes
from radlearn.engine.device import Compute

OURS, PLAIN = "ours", "plain"


@dataclass(frozen=True)
class Setting:
    """What figures are measured with.

    Attributes:
        here: device and precision of our form; the plain form is always in float32.
        plain: whether the plain form is measured too.
        folder: an empty one, for what a figure makes.
        now: the clock, seconds.
    """

    sizes: Sizes
    repeats: int
    plain: bool
    here: Compute
    folder: Path
    now: Callable[[], float] = time.perf_counter


@dataclass(frozen=True)
class Figure:
    """What was measured of one kind of work.

    Attributes:
        about: what the work is, in words.
        unit: what is counted, such as "images".
        count: units of one measurement.
        seconds: of each measurement, by form.
        operations: of a unit, multiplications and additions, by the published architecture; None
            where the work is none of matrix products.
        memory: bytes at the peak of a process that does nothing else, by form.
        facts: whatever else there is to say, by name.
        goal: how many times the plain form's rate ours should have.
        most_seconds: what a measurement of ours should take at most.
        least_share: what share of the bfloat16 matrix rate ours should reach.
    """

    name: str
    about: str
    unit: str
    count: int
    seconds: Mapping[str, list[float]]
    operations: float | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    goal: float | None = None
    most_seconds: float | None = None
    least_share: float | None = None

    def median(self, form: str = OURS) -> float:
        """Seconds of a measurement; NaN where the form was not measured."""
        found = self.seconds.get(form)
        return median(found) if found else math.nan

    def rate(self, form: str = OURS) -> float:
        """Units a second."""
        return self.count / self.median(form)

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.median(PLAIN) / self.median(OURS)

    @property
    def memory_share(self) -> float:
        """Our peak of memory as a share of the plain form's."""
        if not {OURS, PLAIN} <= self.memory.keys():
            return math.nan
        return self.memory[OURS] / self.memory[PLAIN]

    def share(self, limits: Limits, form: str = OURS) -> float:
        """Operations over time as a share of the rate of bfloat16 matrix products."""
        if self.operations is None:
            return math.nan
        return self.operations * self.rate(form) / limits.best

    def as_json(self, limits: Limits) -> dict[str, Any]:
        """Everything, derived numbers included; what is not known is null."""
        derived = {
            "median": {form: self.median(form) for form in self.seconds},
            "rate": {form: self.rate(form) for form in self.seconds},
            "share_of_limit": {form: _known(self.share(limits, form)) for form in self.seconds},
            "ratio": _known(self.ratio),
            "memory_share": _known(self.memory_share),
        }
        return asdict(self) | derived


Measure = Callable[[Setting], Figure]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
