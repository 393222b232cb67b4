"""`radlearn compare`: a recipe's stores, backbones and grid of runs, and the table they give."""

import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from radlearn.cluster import On, joined
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.files import read_json, writable, write_json
from radlearn.grids import table, table_translation
from radlearn.grids.on_ray import Far, room_there
from radlearn.grids.recipe import AnyCell, AnyRecipe, Cell, Recipe, TranslationRecipe, arguments
from radlearn.grids.recipe_files import find_recipe, read_recipe
from radlearn.grids.settings import CompareConfig
from radlearn.grids.side_by_side import FOREVER, Begin, Task, alone, room, run_tasks, start
from radlearn.grids.stand_ins import make_stand_in
from radlearn.grids.table import run_of


def compare(config: CompareConfig) -> int:
    """Prepare, pretrain, run every cell, and write results.json, table.md, report.html.

    Returns:
        0, or 1 where a cell failed.

    Raises:
        InputError: the recipe, or what all its runs stand on, cannot be carried out.
    """
    recipe = read_recipe(find_recipe(config.recipe), config.scale, config.only)
    failed: dict[str, str] = {}
    if not config.table_only:
        _take_place(recipe, config)
        with ExitStack() as stack:
            jobs, begin = _hands(recipe, config, stack)
            make_backbones(recipe, config.out, jobs, begin)
            # a cluster is kept busy; one machine shows a table as soon as there is one
            rounds = recipe.rounds() if begin is None else [recipe.cells()]
            for cells in rounds:
                failed |= run_cells(recipe, config.out, cells, jobs, begin)
                _write_table(recipe, config)
    left = [cell for cell in recipe.cells() if not _finished(config.out, cell)]
    if config.table_only or not recipe.cells():
        _write_table(recipe, config)
    if (config.out / "table.md").exists():
        show_table(config.out)
    for name, line in failed.items():
        console.print(f"{name} failed: {line}", markup=False)
    if others := len(left) - len(failed):
        console.print(
            f"{others} of {len(recipe.cells())} cells are not finished; another process works "
            "on them, or the same command goes on with them",
            markup=False,
        )
    return 1 if failed else 0


def _hands(recipe: AnyRecipe, config: CompareConfig, stack: ExitStack) -> tuple[int, Begin | None]:
    """How many runs at a time, and who begins them where it is not this machine."""
    if config.on == "here":
        return config.jobs or (1 if _costs(recipe) else room()), None
    if _costs(recipe):
        raise InputError(
            f"{config.recipe} measures what runs cost, and nodes differ: run it without --on ray"
        )
    stack.enter_context(joined())
    there = room_there()
    jobs = config.jobs or there.jobs
    console.print(f"on Ray: {jobs} runs at a time, {there.threads} cores each")
    return jobs, partial(Far, there)


def _take_place(recipe: AnyRecipe, config: CompareConfig) -> None:
    """Refuse a folder that holds the grid of another recipe, or of another scale."""
    writable(config.out)
    place, wanted = config.out / "recipe.json", {"title": recipe.title, "scale": config.scale}
    if place.exists() and (there := read_json(place, "a comparison")) != wanted:
        raise InputError(
            f"{config.out} holds the grid {there.get('title')!r}, not {recipe.title!r}; choose "
            "another --out folder"
        )
    write_json(place, wanted)


def _write_table(recipe: AnyRecipe, config: CompareConfig) -> None:
    command = f"radlearn compare {config.recipe} --out {config.out}"
    if config.scale != "paper":
        command += f" --scale {config.scale}"
    if isinstance(recipe, Recipe) and not recipe.cells():
        table.write_backbones(recipe, config.out)
    elif not any(_finished(config.out, cell) for cell in recipe.cells()):
        if config.table_only:
            raise InputError(
                f"no cell of {config.recipe} is finished in {config.out}; run it without "
                "--table-only first"
            )
    elif isinstance(recipe, TranslationRecipe):
        table_translation.write_table(recipe, config.out, config.resamples, command)
    else:
        table.write_table(recipe, config.out, config.resamples, command)


def make_backbones(recipe: AnyRecipe, out: Path, jobs: int = 1, begin: Begin | None = None) -> None:
    """Prepare the stores and get the backbones that are not there yet; see `run_tasks`.

    Raises:
        InputError: one of them cannot be made.
    """
    for name, values in recipe.stores.items():
        with alone(out, f"store-{name}", FOREVER):
            if not (out / "stores" / name / "store.json").exists():
                if isinstance(recipe, TranslationRecipe):
                    _prepare_pairs(out, name, values)
                else:
                    _prepare(out, name, values, "here" if begin is None else "ray")
    if not isinstance(recipe, Recipe):
        return
    waiting = dict(recipe.backbones)
    while waiting:
        ready = {n: v for n, v in waiting.items() if v.get("init") not in waiting}
        if not ready:
            raise InputError(f"the backbones {', '.join(waiting)} start from each other")
        for name in [name for name, values in ready.items() if "file" in values]:
            with alone(out, f"backbone-{name}", FOREVER):
                _import(out, name, ready[name])
            del waiting[name], ready[name]
        tasks = [_pretraining(out, name, values) for name, values in ready.items()]
        _pretrain(tasks, out, jobs, begin)
        for name in ready:
            del waiting[name]


def run_cells(
    recipe: AnyRecipe,
    out: Path,
    cells: Sequence[AnyCell],
    jobs: int = 1,
    begin: Begin | None = None,
) -> dict[str, str]:
    """Run the cells that are not finished yet, but for those that another process is working on.

    Returns:
        What went wrong, in a line, by the name of the cell.
    """
    tasks = [_task(recipe, out, cell) for cell in cells]
    return run_tasks(tasks, out, jobs, _costs(recipe), begin)


def _costs(recipe: AnyRecipe) -> bool:
    """Whether runs are measured: nothing else is to work beside them, or in their process."""
    return isinstance(recipe, Recipe) and recipe.costs


def show_table(out: Path) -> None:
    """Print the table and where its page is."""
    console.print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}", markup=False)
    if (page := out / "report.html").exists():
        console.print(f"page: {page}")


def _finished(out: Path, cell: AnyCell) -> bool:
    return (run_of(out, cell) / "results.json").exists()


def _store(out: Path, name: str) -> str:
    return str(out / "stores" / name)


def _prepare(out: Path, name: str, values: dict[str, Any], on: On) -> None:
    values = dict(values)
    linked = [_store(out, other) for other in values.pop("link", [])]
    if "stand_in" in values:
        source = out / "stand_ins" / name
        make_stand_in(values.pop("stand_in"), source)
        values["source"] = str(source)
    given = [values.pop("layout"), values.pop("source"), _store(out, name), *arguments(values)]
    given += ["--link", *linked] if linked else []
    start("prepare", [*given, *(["--on", on] if on != "here" else [])])


def _prepare_pairs(out: Path, name: str, values: dict[str, Any]) -> None:
    values = dict(values)
    folder = values.pop("folder")
    start("prepare mri-pairs", [folder, _store(out, name), *arguments(values)])


def _import(out: Path, name: str, values: dict[str, Any]) -> None:
    folder, part = out / "backbones" / name, out / "backbones" / f".{name}.part"
    if folder.exists():
        return
    shutil.rmtree(part, ignore_errors=True)
    flags = {key: value for key, value in values.items() if key != "file"}
    start("import", [values["file"], "--out", str(part), *arguments(flags)])
    part.rename(folder)


def _pretraining(out: Path, name: str, values: dict[str, Any]) -> Task:
    values = dict(values)
    stores = [_store(out, store) for store in values.pop("stores")]
    if "init" in values and (out / "backbones" / values["init"]).exists():
        values["init"] = out / "backbones" / values["init"]
    run = out / "backbones" / name
    given = (*stores, "--run", str(run), *arguments(values))
    return Task(f"backbone-{name}", f"backbone-{name}", "pretrain", given, run)


def _pretrain(tasks: Sequence[Task], out: Path, jobs: int, begin: Begin | None) -> None:
    """See that all backbones are there; one that another process makes is waited for."""
    while left := [task for task in tasks if not task.finished]:
        failed = run_tasks(left, out, min(jobs, len(left)), begin=begin)
        for name, line in failed.items():
            raise InputError(f"{name} could not be made: {line}")
        for task in left:
            with alone(out, task.lock, FOREVER):
                pass


def _task(recipe: AnyRecipe, out: Path, cell: AnyCell) -> Task:
    run = run_of(out, cell)
    if isinstance(recipe, TranslationRecipe):
        assert not isinstance(cell, Cell)
        command, stores, values = "translate", [cell.store], recipe.flags(cell)
    else:
        assert isinstance(cell, Cell)
        values = recipe.flags(cell)
        command, stores = "finetune", values.pop("stores")
        if cell.init != "scratch":
            values = {"init": out / "backbones" / cell.init} | values
            values.pop("model", None)
    given = (*_stores(out, stores), "--run", str(run), *arguments(values))
    return Task(cell.name, f"cell-{cell.name}", command, given, run)


def _stores(out: Path, names: Iterable[str]) -> list[str]:
    return [_store(out, name) for name in names]
