"""The settings of `compare` and `demo`, apart from what trains."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from radlearn.cluster import On
from radlearn.errors import InputError

Scale = Literal["paper", "tiny"]


@dataclass(frozen=True)
class CompareConfig:
    """Run a recipe's whole grid and write its table; the same command goes on where it stopped.

    Several may work on one folder at once: each takes the cells that no other is working on.

    Example: radlearn compare medpeft --scale tiny --out runs/medpeft
    Example: radlearn compare recipes/radiographs.toml --out runs/radiographs
    """

    recipe: Annotated[str, tyro.conf.Positional]
    """The name of a recipe that comes with radlearn, or the file of your own."""
    out: Path
    """Where stores, runs and the table go."""
    scale: Scale = "paper"
    """tiny: the same grid with small models and images and few steps, on what data there is."""
    only: tuple[str, ...] = ()
    """Only the cells of these values of the grid, such as: nih lora 1%."""
    jobs: int | None = None
    """Runs side by side; default: as many as have room, 1 on a GPU or where costs are measured."""
    on: On = "here"
    """ray: runs go to the nodes of a Ray cluster, see docs/scale.md."""
    resamples: int = 2000
    """Bootstrap resamples of the test patients, or of their slices."""
    table_only: bool = False
    """Write the table of the cells finished so far, and train nothing."""

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"--jobs {self.jobs}: give 1 or more")
        if self.resamples < 1:
            raise InputError(f"{self.resamples} resamples make no interval; 2000 do")


@dataclass(frozen=True)
class DemoConfig:
    """Draw phantoms; prepare, pretrain, fine-tune three ways, translate, evaluate and predict.

    Example: radlearn demo --out demo
    """

    out: Path = Path("demo")
    """Where everything goes; the same command goes on where it stopped."""
    seed: int = 0
