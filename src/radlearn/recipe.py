"""A recipe: one experiment as one readable file, whose values are the commands' own flags."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from typing import Any

from radlearn.errors import InputError

Values = dict[str, Any]

SAFE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_+.-]*[A-Za-z0-9_+-])?")
"""Names that are folders on every file system."""


@dataclass(frozen=True)
class Cell:
    """One run of a grid of fine-tuning."""

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

    def rounds(self) -> list[list[Cell]]:
        """The cells in their order, by what is worth a table: a seed."""
        return [list(cells) for _, cells in groupby(self.cells(), lambda cell: cell.seed)]

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


@dataclass(frozen=True)
class TranslationCell:
    """One run of a grid of translation.

    Attributes:
        level: the name of a misalignment.
        store: the name of a store, after the patient whom it holds apart.
    """

    mode: str
    level: str
    store: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.level}-{self.store}-seed{self.seed}"


@dataclass(frozen=True)
class TranslationRecipe:
    """An experiment: stores of pairs that each hold a patient apart, a grid of translation runs.

    Attributes:
        about: paper, cost, expected score and source, as the file says them.
        stores: flags of `radlearn prepare mri-pairs` by the store's name, in order.
        translate: flags that every cell shares.
        modes: flags a mode by its name adds to these.
        levels: flags of a misalignment by its name.
        grid: the values of mode, level, store and seed.
    """

    title: str
    about: Mapping[str, str]
    stores: Mapping[str, Values]
    translate: Values
    modes: Mapping[str, Values]
    levels: Mapping[str, Values]
    grid: Mapping[str, list[Any]]

    def cells(self) -> list[TranslationCell]:
        """Every run: all modes and levels on one store before any on the next, seed after seed."""
        axes = (self.grid[name] for name in ("seed", "store", "level", "mode"))
        return [
            TranslationCell(mode, level, store, seed) for seed, store, level, mode in product(*axes)
        ]

    def rounds(self) -> list[list[TranslationCell]]:
        """The cells in their order, by what is worth a table: a store with a seed."""
        by = groupby(self.cells(), lambda cell: (cell.seed, cell.store))
        return [list(cells) for _, cells in by]

    def flags(self, cell: TranslationCell) -> Values:
        """What `radlearn translate` is told for a cell, but for places."""
        more = self.modes[cell.mode] | self.levels[cell.level]
        return {"mode": cell.mode, "seed": cell.seed} | self.translate | more


AnyCell = Cell | TranslationCell


def read_recipe(path: Path) -> Recipe | TranslationRecipe:
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
        return (_translation if "translate" in values else _finetuning)(values, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the recipe {path} lacks {error}; see recipes/ for whole ones") from None


def _finetuning(values: Values, path: Path) -> Recipe:
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
    return recipe


def _translation(values: Values, path: Path) -> TranslationRecipe:
    translate = dict(values["translate"])
    recipe = TranslationRecipe(
        title=values["title"],
        about=values["about"],
        stores={name: values["prepare"] | own for name, own in values["stores"].items()},
        modes=translate.pop("modes"),
        levels=translate.pop("levels"),
        translate=translate,
        grid=values["grid"],
    )
    known = {"mode": recipe.modes, "level": recipe.levels, "store": recipe.stores}
    for axis, names in known.items():
        for name in recipe.grid[axis]:
            if name not in names:
                raise InputError(
                    f"the recipe {path} has no {axis} named {name!r}; it has {', '.join(names)}"
                )
            if not SAFE.fullmatch(name):
                raise InputError(
                    f"the recipe {path} has a {axis} named {name!r}, which cannot be a folder "
                    "everywhere; use letters, digits, _ + - and . inside"
                )
    cells = recipe.cells()
    if not cells or len({cell.name.lower() for cell in cells}) < len(cells):
        raise InputError(f"the grid of the recipe {path} has no cell, or one cell twice")
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
