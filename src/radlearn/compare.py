"""`radlearn compare`: a recipe's stores, backbones and grid of runs, and the table they give."""

import gc
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from filelock import FileLock, Timeout

from radlearn import table, table_translation
from radlearn.cli import call
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.files import writable
from radlearn.recipe import (
    AnyCell,
    Cell,
    Recipe,
    TranslationCell,
    TranslationRecipe,
    arguments,
    read_recipe,
)
from radlearn.table import run_of

FOREVER = -1.0


@dataclass(frozen=True)
class CompareConfig:
    """Run a recipe's whole grid and write its table; the same command goes on where it stopped.

    Several may work on one folder at once: each takes the cells that no other is working on.

    Example: radlearn compare recipes/radiographs.toml --out runs/radiographs
    """

    recipe: Annotated[Path, tyro.conf.Positional]
    """A file of recipes/, or your own."""
    out: Path
    """Where stores, runs and the table go."""
    resamples: int = 2000
    """Bootstrap resamples of the test patients, or of their slices."""
    table_only: bool = False
    """Write the table of the cells finished so far, and train nothing."""


def compare(config: CompareConfig) -> None:
    """Prepare, pretrain, run every cell, and write results.json, table.md, report.html.

    Raises:
        InputError: the recipe, or one of its runs, cannot be carried out.
    """
    recipe = read_recipe(config.recipe)
    if not config.table_only:
        writable(config.out)
        make_backbones(recipe, config.out)
        for cells in recipe.rounds():
            run_cells(recipe, config.out, cells)
            _write_table(recipe, config)
    left = [cell for cell in recipe.cells() if not _finished(config.out, cell)]
    if config.table_only:
        _write_table(recipe, config)
    if (config.out / "table.md").exists():
        show_table(config.out)
    if left:
        console.print(
            f"{len(left)} of {len(recipe.cells())} cells are not finished; another process works "
            "on them, or the same command goes on with them",
            markup=False,
        )


def _write_table(recipe: Recipe | TranslationRecipe, config: CompareConfig) -> None:
    finished = any(_finished(config.out, cell) for cell in recipe.cells())
    if not finished:
        if config.table_only:
            raise InputError(
                f"no cell of {config.recipe} is finished in {config.out}; run it without "
                "--table-only first"
            )
        return
    command = f"radlearn compare {config.recipe} --out {config.out}"
    if isinstance(recipe, TranslationRecipe):
        table_translation.write_table(recipe, config.out, config.resamples, command)
    else:
        table.write_table(recipe, config.out, config.resamples, command)


def make_backbones(recipe: Recipe | TranslationRecipe, out: Path) -> None:
    """Prepare the stores and pretrain the backbones that are not there yet."""
    for name, values in recipe.stores.items():
        with _alone(out, f"store-{name}", FOREVER):
            if not (out / "stores" / name / "store.json").exists():
                if isinstance(recipe, TranslationRecipe):
                    _prepare_pairs(out, name, values)
                else:
                    _prepare(out, name, values)
    for name, values in recipe.backbones.items() if isinstance(recipe, Recipe) else ():
        with _alone(out, f"backbone-{name}", FOREVER):
            if not (out / "backbones" / name / "results.json").exists():
                _pretrain(out, name, values)


def run_cells(recipe: Recipe | TranslationRecipe, out: Path, cells: Sequence[AnyCell]) -> None:
    """Run the cells that are not finished yet, but for those that another process is working on."""
    for number, cell in enumerate(cells, start=1):
        with _alone(out, f"cell-{cell.name}", 0) as alone:
            if _finished(out, cell):
                continue
            busy = "" if alone else ": another process works on it"
            console.print(f"[{number}/{len(cells)}] {cell.name}{busy}", markup=False)
            if alone:
                _run(recipe, out, cell)


def show_table(out: Path) -> None:
    """Print the table and where its page is."""
    console.print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}", markup=False)
    console.print(f"page: {out / 'report.html'}")


def _finished(out: Path, cell: AnyCell) -> bool:
    return (run_of(out, cell) / "results.json").exists()


@contextmanager
def _alone(out: Path, name: str, seconds: float) -> Iterator[bool]:
    """Whether no other comparison has `name` in its hands; it has not until this one leaves it."""
    place = out / ".locks"
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / f"{name}.lock")
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _store(out: Path, name: str) -> str:
    return str(out / "stores" / name)


def _start(command: str, given: Sequence[str]) -> None:
    console.print(f"radlearn {command} {shlex.join(given)}", style="dim", soft_wrap=True)
    if call(command, given) != 0:
        raise InputError(f"radlearn {command} set aside more files than --max-bad allows")
    gc.collect()


def _prepare(out: Path, name: str, values: dict[str, Any]) -> None:
    values = dict(values)
    linked = [_store(out, other) for other in values.pop("link", [])]
    given = [values.pop("layout"), values.pop("source"), _store(out, name), *arguments(values)]
    _start("prepare", [*given, *(["--link", *linked] if linked else [])])


def _prepare_pairs(out: Path, name: str, values: dict[str, Any]) -> None:
    values = dict(values)
    folder = values.pop("folder")
    _start("prepare mri-pairs", [folder, _store(out, name), *arguments(values)])


def _pretrain(out: Path, name: str, values: dict[str, Any]) -> None:
    values = dict(values)
    stores = [_store(out, store) for store in values.pop("stores")]
    if "init" in values and (out / "backbones" / values["init"]).exists():
        values["init"] = out / "backbones" / values["init"]
    run = out / "backbones" / name
    _start("pretrain", [*stores, "--run", str(run), *arguments(values)])


def _run(recipe: Recipe | TranslationRecipe, out: Path, cell: AnyCell) -> None:
    if isinstance(recipe, TranslationRecipe):
        assert isinstance(cell, TranslationCell)
        _translate(recipe, out, cell)
    else:
        assert isinstance(cell, Cell)
        _finetune(recipe, out, cell)


def _finetune(recipe: Recipe, out: Path, cell: Cell) -> None:
    values = recipe.flags(cell)
    stores = [_store(out, store) for store in values.pop("stores")]
    if cell.init != "scratch":
        values = {"init": out / "backbones" / cell.init} | values
        values.pop("model", None)
    _start("finetune", [*stores, "--run", str(run_of(out, cell)), *arguments(values)])


def _translate(recipe: TranslationRecipe, out: Path, cell: TranslationCell) -> None:
    values = arguments(recipe.flags(cell))
    _start("translate", [_store(out, cell.store), "--run", str(run_of(out, cell)), *values])
