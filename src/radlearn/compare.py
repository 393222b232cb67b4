"""`radlearn compare`: a recipe's stores, backbones and grid of runs, and the table they give."""

import gc
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from radlearn.cli import call
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.recipe import Cell, Recipe, arguments, read_recipe
from radlearn.table import run_of, write_table


@dataclass(frozen=True)
class CompareConfig:
    """Run a recipe's whole grid and write its table; the same command goes on where it stopped.

    Example: radlearn compare recipes/radiographs.toml --out runs/radiographs
    """

    recipe: Annotated[Path, tyro.conf.Positional]
    """A file of recipes/, or your own."""
    out: Path
    """Where stores, runs and the table go."""
    resamples: int = 2000
    """Bootstrap resamples of the test patients."""


def compare(config: CompareConfig) -> None:
    """Prepare, pretrain, fine-tune every cell, and write results.json, table.md, report.html.

    Raises:
        InputError: the recipe, or one of its runs, cannot be carried out.
    """
    recipe = read_recipe(config.recipe)
    command = f"radlearn compare {config.recipe} --out {config.out}"
    make_backbones(recipe, config.out)
    for seed in recipe.grid["seed"]:
        run_cells(recipe, config.out, [cell for cell in recipe.cells() if cell.seed == seed])
        write_table(recipe, config.out, config.resamples, command)
    show_table(config.out)


def make_backbones(recipe: Recipe, out: Path) -> None:
    """Prepare the stores and pretrain the backbones that are not there yet."""
    for name, values in recipe.stores.items():
        _prepare(out, name, values)
    for name, values in recipe.backbones.items():
        _pretrain(out, name, values)


def run_cells(recipe: Recipe, out: Path, cells: Sequence[Cell]) -> None:
    """Fine-tune the cells that are not finished yet."""
    for number, cell in enumerate(cells, start=1):
        if not (run_of(out, cell) / "results.json").exists():
            console.print(f"[{number}/{len(cells)}] {cell.name}", markup=False)
            _finetune(recipe, out, cell)


def show_table(out: Path) -> None:
    """Print the table and where its page is."""
    console.print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}", markup=False)
    console.print(f"page: {out / 'report.html'}")


def _store(out: Path, name: str) -> str:
    return str(out / "stores" / name)


def _start(command: str, given: Sequence[str]) -> None:
    console.print(f"radlearn {command} {shlex.join(given)}", style="dim", soft_wrap=True)
    if call(command, given) != 0:
        raise InputError(f"radlearn {command} set aside more files than --max-bad allows")
    gc.collect()


def _prepare(out: Path, name: str, values: dict[str, Any]) -> None:
    store = out / "stores" / name
    if (store / "store.json").exists():
        return
    values = dict(values)
    linked = [_store(out, other) for other in values.pop("link", [])]
    given = [values.pop("layout"), values.pop("source"), str(store), *arguments(values)]
    _start("prepare", [*given, *(["--link", *linked] if linked else [])])


def _pretrain(out: Path, name: str, values: dict[str, Any]) -> None:
    run = out / "backbones" / name
    if (run / "results.json").exists():
        return
    values = dict(values)
    stores = [_store(out, store) for store in values.pop("stores")]
    if "init" in values and (out / "backbones" / values["init"]).exists():
        values["init"] = out / "backbones" / values["init"]
    _start("pretrain", [*stores, "--run", str(run), *arguments(values)])


def _finetune(recipe: Recipe, out: Path, cell: Cell) -> None:
    values = recipe.flags(cell)
    stores = [_store(out, store) for store in values.pop("stores")]
    if cell.init != "scratch":
        values = {"init": out / "backbones" / cell.init} | values
        values.pop("model", None)
    _start("finetune", [*stores, "--run", str(run_of(out, cell)), *arguments(values)])
