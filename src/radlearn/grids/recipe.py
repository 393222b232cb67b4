"""A recipe: one experiment as one readable file, whose values are the commands' own flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any, TypeVar

Values = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of a grid of fine-tuning.

    Attributes:
        init: the name of a backbone, or "scratch".
        data: the name of what is learnt from, in grids over more than one; else empty.
    """

    init: str
    tuner: str
    fraction: float
    seed: int
    data: str = ""

    @property
    def setting(self) -> str:
        """The cell without its seed: what is named in a recipe's table of cells."""
        parts = (self.init, self.data, self.tuner, percent(self.fraction))
        return "-".join(part for part in parts if part)

    @property
    def name(self) -> str:
        return f"{self.setting}-seed{self.seed}"

    @property
    def parts(self) -> tuple[str, ...]:
        """The cell's value on each axis, as a name."""
        return (self.init, self.data, self.tuner, percent(self.fraction), f"seed{self.seed}")


@dataclass(frozen=True)
class Reported:
    """A number of the paper.

    Attributes:
        where: which cells it stands beside: values of init, data, tuner, fraction.
        auroc: the mean over labels.
        split: what it was measured on.
        note: what has to be said of it.
    """

    where: Mapping[str, Any]
    auroc: float
    split: str
    note: str = ""

    def belongs_to(self, row: Any) -> bool:
        """Whether it stands beside this row, which has the attributes of `Cell`."""
        return all(getattr(row, axis) == value for axis, value in self.where.items())


@dataclass(frozen=True)
class Recipe:
    """An experiment: stores to prepare, backbones to get, a grid of fine-tuning runs.

    Attributes:
        about: paper, cost, expected score, source and split, as the file says them.
        stores: flags of `radlearn prepare` by the store's name, in order.
        backbones: flags of `radlearn pretrain` by name, where `stores` and `init` name earlier
            entries; or `file` and flags of `radlearn import`.
        finetune: flags that every cell shares.
        tuners, fractions, inits, data: flags that a value of an axis adds to these, by its name.
        exact: flags that one cell adds, by `Cell.setting`.
        scaled: the same tables once more, of the scale that was asked for: they have the last word.
        grid: the values of init ("scratch" for none), tuner, fraction, seed and, maybe, data.
        labels: labels whose scores the table shows beside their mean.
        reported: the paper's numbers.
        finding: the paper's finding, in a sentence.
        only: values of axes; cells with other values of these axes are left out.
        elsewhere: stores that every run of segmentation is scored on as well, unchanged.
        costs: whether the table says what each row costs; every run then has its own process.
        against: the tuner that the others are compared with; all with each other where empty.
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
    inits: Mapping[str, Values] = field(default_factory=dict)
    data: Mapping[str, Values] = field(default_factory=dict)
    exact: Mapping[str, Values] = field(default_factory=dict)
    scaled: Mapping[str, Any] = field(default_factory=dict)
    reported: tuple[Reported, ...] = ()
    finding: str = ""
    only: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    costs: bool = False
    against: str = ""

    def cells(self) -> list[Cell]:
        """Every run, all of the first seed before any of the second."""
        data = self.grid.get("data", [""])
        axes = [self.grid.get(name, []) for name in ("seed", "fraction", "tuner", "init")]
        cells = [
            Cell(init, tuner, fraction, seed, name)
            for seed, fraction, name, tuner, init in product(*axes[:2], data, *axes[2:])
        ]
        return kept(cells, self.only)

    def rounds(self) -> list[list[Cell]]:
        """The cells in their order, by what is worth a table: a seed."""
        return [list(cells) for _, cells in groupby(self.cells(), lambda cell: cell.seed)]

    def flags(self, cell: Cell) -> Values:
        """What `radlearn finetune` is told for a cell, but for places."""
        tables: Values = {
            **self.finetune,
            "inits": self.inits,
            "data": self.data,
            "tuners": self.tuners,
            "fractions": self.fractions,
            "cells": self.exact,
        }
        names = {
            "inits": cell.init,
            "data": cell.data,
            "tuners": cell.tuner,
            "fractions": f"{cell.fraction:g}",
            "cells": cell.setting,
        }
        given = {"tuner": cell.tuner, "fraction": cell.fraction, "seed": cell.seed}
        return given | layered(tables, names) | layered(self.scaled, names)


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

    @property
    def parts(self) -> tuple[str, ...]:
        """The cell's value on each axis, as a name."""
        return (self.mode, self.level, self.store, f"seed{self.seed}")


@dataclass(frozen=True)
class TranslationRecipe:
    """An experiment: stores of pairs that each hold a patient apart, a grid of translation runs.

    Attributes:
        about: paper, cost, expected score, source and split, as the file says them.
        stores: flags of `radlearn prepare mri-pairs` by the store's name, in order.
        translate: flags that every cell shares.
        modes: flags a mode by its name adds to these; `mode` among them where it is not the name.
        levels: flags of a misalignment by its name.
        scaled: the same tables once more, of the scale that was asked for: they have the last word.
        grid: the values of mode, level, store and seed.
        finding: the paper's finding, in a sentence.
        only: values of axes; cells with other values of these axes are left out.
    """

    title: str
    about: Mapping[str, str]
    stores: Mapping[str, Values]
    translate: Values
    modes: Mapping[str, Values]
    levels: Mapping[str, Values]
    grid: Mapping[str, list[Any]]
    scaled: Mapping[str, Any] = field(default_factory=dict)
    finding: str = ""
    only: tuple[str, ...] = ()

    def cells(self) -> list[TranslationCell]:
        """Every run: all modes and levels on one store before any on the next, seed after seed."""
        axes = (self.grid[name] for name in ("seed", "store", "level", "mode"))
        cells = [
            TranslationCell(mode, level, store, seed) for seed, store, level, mode in product(*axes)
        ]
        return kept(cells, self.only)

    def rounds(self) -> list[list[TranslationCell]]:
        """The cells in their order, by what is worth a table: a store with a seed."""
        by = groupby(self.cells(), lambda cell: (cell.seed, cell.store))
        return [list(cells) for _, cells in by]

    def flags(self, cell: TranslationCell) -> Values:
        """What `radlearn translate` is told for a cell, but for places."""
        tables: Values = {**self.translate, "modes": self.modes, "levels": self.levels}
        names = {"modes": cell.mode, "levels": cell.level}
        given = {"mode": cell.mode, "seed": cell.seed}
        return given | layered(tables, names) | layered(self.scaled, names)


AnyCell = Cell | TranslationCell
AnyRecipe = Recipe | TranslationRecipe
C = TypeVar("C", Cell, TranslationCell)


def percent(fraction: float) -> str:
    """A share of labels as cells are named by it: 1%, 10%, 100%."""
    return f"{100 * fraction:g}%"


def layered(tables: Mapping[str, Any], names: Mapping[str, str]) -> Values:
    """Flags that all share, and over them those that each of `names` has in its table."""
    chosen = {name: value for name, value in tables.items() if name not in names}
    for table, name in names.items():
        chosen |= tables.get(table, {}).get(name, {})
    return chosen


def kept(cells: Sequence[C], only: Sequence[str]) -> list[C]:
    """The cells whose value is named in `only`, on each axis of which a value is named there."""
    named = [set(only) & {cell.parts[at] for cell in cells} for at in range(_axes(cells))]
    return [
        cell
        for cell in cells
        if all(not names or part in names for part, names in zip(cell.parts, named, strict=True))
    ]


def _axes(cells: Sequence[AnyCell]) -> int:
    return len(cells[0].parts) if cells else 0


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
