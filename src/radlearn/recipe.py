"""A recipe: one experiment as one readable file, whose values are the commands' own flags."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from radlearn.errors import InputError

Values = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    init: str
    tuner: str
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.init}-{self.tuner}-{100 * self.fraction:g}%-seed{self.seed}"


@dataclass(frozen=True)
class Recipe:
    """An experiment: stores to prepare, backbones to pretrain, a grid of fine-tuning runs.

    Attributes:
        about: paper, cost, expected score and source, as the file says them.
        stores: flags of `radlearn prepare` by the store's name, in order.
        backbones: flags of `radlearn pretrain` by name; `stores` and `init` name earlier entries.
        finetune: flags that every cell shares.
        tuners: flags a tuner by its name adds to these.
        fractions: flags that a label fraction adds, by its number as text.
        grid: the values of init ("scratch" for none), tuner, fraction and seed.
        labels: labels whose scores the table shows beside their mean.
    """

    title: str
    about: Mapping[str, str]
    stores: Mapping[str, Values]
    backbones: Mapping[str, Values]
    finetune: Values
    tuners: Mapping[str, Values]
    grid: Mapping[str, list[Any]]
    fractions: Mapping[str, Values] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """Every run, all of the first seed before any of the second."""
        axes = (self.grid[name] for name in ("seed", "fraction", "tuner", "init"))
        return [Cell(init, tuner, fraction, seed) for seed, fraction, tuner, init in product(*axes)]

    def flags(self, cell: Cell) -> Values:
        """What `radlearn finetune` is told for a cell, but for places."""
        chosen: Values = dict(self.finetune)
        for more in (self.tuners[cell.tuner], self.fractions.get(f"{cell.fraction:g}", {})):
            chosen.update(more)
        return {
            "tuner": cell.tuner,
            "fraction": cell.fraction,
            "seed": cell.seed,
        } | chosen


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; `${NAME}` in a value is the environment variable NAME.

    Raises:
        InputError: the file is missing, is not TOML, lacks a part or names an unknown variable.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(_with_variables(text, path))
    except OSError as error:
        raise InputError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"the recipe {path} is not TOML: {error}") from None
    try:
        finetune = dict(values["finetune"])
        recipe = Recipe(
            title=values["title"],
            about=values["about"],
            stores=values["stores"],
            backbones=values.get("backbones", {}),
            tuners=finetune.pop("tuners"),
            fractions=finetune.pop("fractions", {}),
            finetune=finetune,
            grid=values["grid"],
            labels=tuple(values.get("show", ())),
        )
        for cell in recipe.cells():
            recipe.flags(cell)
            if cell.init != "scratch" and cell.init not in recipe.backbones:
                raise InputError(f"the recipe {path} has no backbone named {cell.init!r}")
    except (KeyError, TypeError) as error:
        raise InputError(f"the recipe {path} lacks {error}; see recipes/ for whole ones") from None
    return recipe


def arguments(values: Mapping[str, Any]) -> list[str]:
    """Values as the flags of a command line, in their order."""
    given: list[str] = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, list | tuple):
            given += [flag, *map(str, value)]
        else:
            given += [flag, str(value)]
    return given


def _with_variables(text: str, path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(f"the recipe {path} reads ${name}; set it to the folder of the data")
        return os.environ[name].replace("\\", "/")

    return re.sub(r"\$\{(\w+)\}", value, text)
