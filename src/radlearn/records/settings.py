"""What a user may ask of `radlearn prepare`, checked at the door."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from radlearn.cluster import On
from radlearn.datasets.options import LayoutOptions
from radlearn.errors import InputError
from radlearn.files import resolved, spelled
from radlearn.records.limits import LimitFlags
from radlearn.records.names import Fit
from radlearn.records.splits import SplitConflicts

HoldOutWith = Literal["any", "mask", "labels", "report"]


def all_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class PrepareConfig:
    """Make a store of radiographs, reports, labels and masks; decoded once, on all cores.

    Example: radlearn prepare nih /data/nih stores/nih --size 224
    """

    layout: Annotated[str, tyro.conf.Positional]
    """How the source is laid out: nih chexpert rsna covid siim mimic openi hannover lungs medpeft
    folder."""
    source: Annotated[Path, tyro.conf.Positional]
    """Its folder or file."""
    store: Annotated[Path, tyro.conf.Positional]
    """The folder to make; the same command goes on where it stopped."""
    size: int | None = None
    """Side of the stored squares, pixels; needed where there are images."""
    fit: Fit = "pad"
    """pad keeps all of the picture and its shape, crop its middle, stretch all of it."""
    bits: Literal[8, 16] = 8
    """16 for sources with more than 256 grey values."""
    options: Annotated[LayoutOptions, tyro.conf.OmitArgPrefixes] = field(
        default_factory=LayoutOptions
    )
    seed: int = 0
    """Of splits and order."""
    val: float = 0.1
    """Share of patients for validation; a published list is kept as it is."""
    test: float = 0.2
    """Share of patients held apart."""
    hold_out_with: HoldOutWith = "any"
    """Only patients with such a record are drawn into val and test."""
    split_conflicts: SplitConflicts = "error"
    """What becomes of a patient whom a published list puts in two splits."""
    link: tuple[Path, ...] = ()
    """Other stores: who shares a picture with one of theirs is that patient, in that split."""
    key: Path | None = None
    """File with the key that hashes patient ids; default: a new random one."""
    workers: int = field(default_factory=all_cores)
    """Processes that decode; 0: this one."""
    on: On = "here"
    """ray: files are decoded on all nodes of a Ray cluster, see docs/scale.md."""
    max_bad: int | None = None
    """More files set aside than this fail the command, after the store is made."""
    limits: Annotated[LimitFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=LimitFlags)

    def __post_init__(self) -> None:
        if self.size is not None and not 8 <= self.size <= 8192:
            raise InputError(f"--size {self.size}: choose a side of 8 to 8192 pixels")
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise InputError(
                f"--val {self.val} and --test {self.test} are shares of patients: each at least 0, "
                "together below 1"
            )
        if self.workers < 0 or (self.max_bad or 0) < 0:
            raise InputError("--workers and --max-bad are at least 0")

    def decoding(self) -> dict[str, Any]:
        """What decides how pictures are stored, for a restart to compare; JSON."""
        return {
            "layout": self.layout,
            "source": str(self.source.resolve()),
            "size": self.size,
            "fit": self.fit,
            "bits": self.bits,
            "options": {
                name: _plain(value) for name, value in asdict(self.options).items() if value
            },
            **asdict(self.limits),
        }

    def settings(self) -> dict[str, Any]:
        """All that decides the store's contents; JSON."""
        return {
            **self.decoding(),
            "seed": self.seed,
            "val": self.val,
            "test": self.test,
            "hold_out_with": self.hold_out_with,
            "split_conflicts": self.split_conflicts,
            "link": [spelled(resolved(path)) for path in self.link],
            "key": str(self.key.resolve()) if self.key else None,
        }


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a store keeps them: of each absolute path its last name, and a digest by which
    the same place is known again. Folders above may be called after people, or machines."""
    return {
        name: value if name == "link" else _without_place(value)  # by a link stores find each other
        for name, value in settings.items()
    }


def _without_place(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_place(one) for name, one in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        return f"{Path(value).name} ({hashlib.sha256(value.encode()).hexdigest()[:12]})"
    return value


def _plain(value: Any) -> Any:
    return (
        str(value)
        if isinstance(value, Path)
        else list(value)
        if isinstance(value, tuple)
        else value
    )
