"""`radlearn compare`: a recipe's stores, backbones and grid of runs, and the table they give."""

import gc
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from radlearn.cli import call
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.evaluate import Predictions, finished_results, predictions_of
from radlearn.files import write_json, write_text
from radlearn.metrics.classification import rankings
from radlearn.metrics.statistics import (
    Interval,
    bootstrap_p,
    bootstrap_patients,
    everything_once,
    percentile_interval,
)
from radlearn.recipe import Cell, Recipe, arguments, read_recipe
from radlearn.report.figures import Score
from radlearn.report.overview import grid_sections, overview_page
from radlearn.report.page import Section, Table


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


class Scores(NamedTuple):
    """One row of the table: a cell's AUROC over its seeds, resample by resample.

    `point` is (columns,) and `resampled` (resamples, columns); the columns are the shown labels
    and then the mean over every label that can be measured. `by_seed` is (seeds, columns).
    """

    init: str
    tuner: str
    fraction: float
    point: np.ndarray
    resampled: np.ndarray
    by_seed: np.ndarray

    @property
    def series(self) -> str:
        return f"{self.init}, {self.tuner}"

    def interval(self, column: int) -> Interval:
        return percentile_interval(float(self.point[column]), self.resampled[:, column])


def compare(config: CompareConfig) -> None:
    """Prepare, pretrain, fine-tune every cell, and write results.json, table.md, report.html."""
    recipe = read_recipe(config.recipe)
    for name, values in recipe.stores.items():
        _prepare(config.out, name, values)
    for name, values in recipe.backbones.items():
        _pretrain(config.out, name, values)
    cells = recipe.cells()
    for number, cell in enumerate(cells, start=1):
        if not (_run(config.out, cell) / "results.json").exists():
            console.print(f"[{number}/{len(cells)}] {cell.name}")
            _finetune(config.out, recipe, cell)
        if number == len(cells) or cells[number].seed != cell.seed:
            write_comparison(recipe, config)
    console.print(f"\n{(config.out / 'table.md').read_text(encoding='utf-8')}")
    console.print(f"page: {config.out / 'report.html'}")


def _run(out: Path, cell: Cell) -> Path:
    return out / "runs" / cell.name


def _store(out: Path, name: str) -> str:
    return str(out / "stores" / name)


def _start(command: str, given: Sequence[str]) -> None:
    console.print(f"radlearn {command} {shlex.join(given)}", style="dim", soft_wrap=True)
    call(command, given)
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


def _finetune(out: Path, recipe: Recipe, cell: Cell) -> None:
    values = recipe.flags(cell)
    stores = [_store(out, store) for store in values.pop("stores")]
    if cell.init != "scratch":
        values = {"init": out / "backbones" / cell.init} | values
        values.pop("model", None)
    _start("finetune", [*stores, "--run", str(_run(out, cell)), *arguments(values)])


def _columns(recipe: Recipe, labels: Sequence[str]) -> list[int]:
    missing = [name for name in recipe.labels if name not in labels]
    if missing:
        raise InputError(f"no run predicts the label {missing[0]!r} that the recipe shows")
    return [list(labels).index(name) for name in recipe.labels]


def _with_mean(each: np.ndarray, shown: list[int], measured: np.ndarray) -> np.ndarray:
    return np.concatenate([each[:, shown], each[:, measured].mean(1, keepdims=True)], axis=1)


def score_cells(recipe: Recipe, out: Path, resamples: int) -> list[Scores]:
    """The table's rows, of the cells that are finished.

    The same resamples of the test patients serve every row, so that differences are paired. A
    row's score is the mean over its seeds.

    Raises:
        InputError: two runs were scored on other records.
    """
    found: dict[tuple[str, str, float], list[Predictions]] = {}
    fingerprints = set()
    for cell in recipe.cells():
        run = _run(out, cell)
        if (run / "results.json").exists():
            key = (cell.init, cell.tuner, cell.fraction)
            found.setdefault(key, []).append(predictions_of(run, "test"))
            fingerprints.add(finished_results(run)["fingerprints"]["test"])
    if len(fingerprints) > 1:
        raise InputError(f"the runs in {out} were scored on different splits; use one folder each")
    first = next(iter(found.values()))[0]
    shown = _columns(recipe, first.labels)
    drawn = bootstrap_patients(first.patients, resamples, seed=0)
    once = everything_once(first.patients)
    measured = np.isfinite(rankings(first.logit, first.truth, once).auroc[0])
    rows = []
    for (init, tuner, fraction), seeds in found.items():
        points = [
            _with_mean(rankings(p.logit, p.truth, once).auroc, shown, measured) for p in seeds
        ]
        boots = [
            _with_mean(rankings(p.logit, p.truth, drawn).auroc, shown, measured) for p in seeds
        ]
        by_seed = np.concatenate(points)
        rows.append(Scores(init, tuner, fraction, by_seed.mean(0), np.mean(boots, axis=0), by_seed))
    return rows


class Contrast(NamedTuple):
    """A paired difference of two rows in one column of the table."""

    first: str
    second: str
    fraction: float
    column: str
    difference: Interval
    p: float


def contrasts(rows: Sequence[Scores], columns: Sequence[str]) -> list[Contrast]:
    """Differences of two rows that differ in one thing alone: the tuner, or the start."""
    found = []
    for second, first in combinations(rows, 2):
        other_tuner, other_init = second.tuner != first.tuner, second.init != first.init
        if first.fraction != second.fraction or other_tuner == other_init:
            continue
        for at, column in enumerate(columns):
            draws = second.resampled[:, at] - first.resampled[:, at]
            interval = percentile_interval(float(second.point[at] - first.point[at]), draws)
            p = bootstrap_p(draws)
            found.append(Contrast(first.series, second.series, first.fraction, column, interval, p))
    return found


def _shown(interval: Interval, signed: bool = False) -> str:
    form = "{:+.3f} ({:+.3f} to {:+.3f})" if signed else "{:.3f} ({:.3f} to {:.3f})"
    return form.format(interval.value, interval.low, interval.high)


def _columns_of(recipe: Recipe) -> list[str]:
    return [*recipe.labels, "mean of labels"]


def _tables(recipe: Recipe, rows: Sequence[Scores]) -> tuple[Table, Table]:
    columns = _columns_of(recipe)
    cells = []
    for row in rows:
        shown = [_shown(row.interval(at)) for at in range(len(columns))]
        spread = f"{row.by_seed[:, -1].std(ddof=1):.3f}" if len(row.by_seed) > 1 else "–"
        cells.append((row.init, row.tuner, f"{100 * row.fraction:g} %", *shown, spread))
    scores = Table(
        "AUROC on patients held apart",
        ("start", "tuner", "labels used", *columns, "sd over seeds"),
        cells,
        "Mean over seeds, with the 95 % interval of a bootstrap over test patients; the last "
        "column is the standard deviation of the mean over labels between seeds.",
    )
    differences = Table(
        "Differences in AUROC",
        ("first", "second", "labels used", "score", "second - first", "p"),
        [
            (
                c.first,
                c.second,
                f"{100 * c.fraction:g} %",
                c.column,
                _shown(c.difference, signed=True),
                f"{c.p:.3f}",
            )
            for c in contrasts(rows, columns)
        ],
        "Paired on the same resampled patients; two-sided p of that bootstrap, not corrected for "
        "the number of comparisons.",
    )
    return scores, differences


def _markdown(table: Table) -> str:
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, "", table.caption, ""])


def write_comparison(recipe: Recipe, config: CompareConfig) -> None:
    """Write the table of the cells finished so far as JSON, Markdown and a page."""
    rows = score_cells(recipe, config.out, config.resamples)
    columns = _columns_of(recipe)
    found = contrasts(rows, columns)
    write_json(
        config.out / "results.json",
        {
            "title": recipe.title,
            "columns": columns,
            "rows": [
                {
                    "init": row.init,
                    "tuner": row.tuner,
                    "fraction": row.fraction,
                    "by_seed": row.by_seed.tolist(),
                    "auroc": [row.interval(at).as_json() for at in range(len(columns))],
                }
                for row in rows
            ],
            "differences": [c._asdict() | {"difference": c.difference.as_json()} for c in found],
        },
    )
    scores, differences = _tables(recipe, rows)
    write_text(config.out / "table.md", f"{_markdown(scores)}\n{_markdown(differences)}")
    _page(recipe, config, rows, differences)


def _page(
    recipe: Recipe, config: CompareConfig, rows: Sequence[Scores], differences: Table
) -> None:
    groups = {
        f"{column}, {tuner}": [
            Score(row.init, f"{100 * row.fraction:g} %", *row.interval(at)[:3])
            for row in rows
            if row.tuner == tuner
        ]
        for at, column in enumerate(_columns_of(recipe))
        for tuner in dict.fromkeys(row.tuner for row in rows)
    }
    seeds = sorted({len(row.by_seed) for row in rows})
    links = {f"backbone {name}": config.out / "backbones" / name for name in recipe.backbones}
    links |= {cell.name: _run(config.out, cell) for cell in recipe.cells()}
    text = "Means over seeds; 95 % intervals by bootstrap over test patients."
    overview_page(
        config.out / "report.html",
        recipe.title,
        recipe.about,
        [
            *grid_sections(groups, "AUROC", text),
            Section("Differences", differences.caption, [differences]),
        ],
        {name: run / "report.html" for name, run in links.items()},
        subtitle=f"{len(rows)} cells of {' or '.join(map(str, seeds))} seeds each.",
        command=f"radlearn compare {config.recipe} --out {config.out}",
    )
