"""What a user may ask of `radlearn prepare`, checked at the door."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from radlearn.datasets.options import LayoutOptions
from radlearn.errors import InputError
from radlearn.records.geometry import Fit
from radlearn.records.readers import Limits
from radlearn.records.splits import SplitConflicts

HoldOutWith = Literal["any", "mask", "labels", "report"]


def all_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class PrepareConfig:
    """The flags of `radlearn prepare`.

    Attributes:
        layout: how the source is laid out.
        source: its folder or file.
        store: the folder to make.
        size: side of the stored squares, pixels; needed where there are images.
        fit: "pad" keeps all of the picture and its shape, "crop" its middle, "stretch" all of it.
        bits: 8, or 16 for sources with more than 256 grey values.
        options: what a layout may be told.
        seed: of splits and order.
        val, test: shares of patients held apart; a published list is kept as it is, and only
            gets a val if it has none.
        hold_out_with: only patients with such a record are drawn into val and test, and the
            shares are of those.
        split_conflicts: what becomes of a patient whom a published list (or linked stores) puts
            in two splits.
        link: other stores. A patient who shares a picture with one of theirs (or an id hashed with
            the same key) is that patient: same hash, same split.
        key: file with the key that hashes patient ids, such as another store's patient.key;
            random without it.
        workers: processes that decode; 0 decodes in this one.
        max_bad: more files set aside than this make the command fail, after the store is made.
        max_pixels: of one image; more is refused.
    """

    layout: str
    source: Path
    store: Path
    size: int | None = None
    fit: Fit = "pad"
    bits: Literal[8, 16] = 8
    options: LayoutOptions = field(default_factory=LayoutOptions)
    seed: int = 0
    val: float = 0.1
    test: float = 0.2
    hold_out_with: HoldOutWith = "any"
    split_conflicts: SplitConflicts = "error"
    link: tuple[Path, ...] = ()
    key: Path | None = None
    workers: int = field(default_factory=all_cores)
    max_bad: int | None = None
    max_pixels: int = Limits().pixels

    def __post_init__(self) -> None:
        if self.size is not None and not 8 <= self.size <= 8192:
            raise InputError(f"--size {self.size}: choose a side of 8 to 8192 pixels")
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise InputError(
                f"--val {self.val} and --test {self.test} are shares of patients: each at least 0, "
                "together below 1"
            )
        if self.workers < 0 or self.max_pixels < 1 or (self.max_bad or 0) < 0:
            raise InputError("--workers and --max-bad are at least 0, --max-pixels at least 1")

    def settings(self) -> dict[str, Any]:
        """What decides the store's contents, for a restart to compare; JSON."""
        return {
            "layout": self.layout,
            "source": str(self.source.resolve()),
            "size": self.size,
            "fit": self.fit,
            "bits": self.bits,
            "options": {
                name: _plain(value) for name, value in asdict(self.options).items() if value
            },
            "seed": self.seed,
            "val": self.val,
            "test": self.test,
            "hold_out_with": self.hold_out_with,
            "split_conflicts": self.split_conflicts,
            "link": [str(path.resolve()) for path in self.link],
            "key": str(self.key.resolve()) if self.key else None,
            "max_pixels": self.max_pixels,
        }


def _plain(value: Any) -> Any:
    return (
        str(value)
        if isinstance(value, Path)
        else list(value)
        if isinstance(value, tuple)
        else value
    )
