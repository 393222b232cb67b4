"""The table of a grid of runs: scores over seeds, paired differences, and the page."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
from radlearn.recipe import AnyCell, Recipe
from radlearn.report.figures import Score
from radlearn.report.overview import grid_sections, overview_page
from radlearn.report.page import Section, Table

LEAST = 10
"""Positives, and negatives, that a label needs among the test records to count in the mean."""


class Scores(NamedTuple):
    """One row of the table: a cell's AUROC over its seeds, resample by resample.

    `point` is (columns,) and `resampled` (resamples, columns); the columns are the shown labels
    and then the mean over every label that is not too rare. `by_seed` is (seeds, columns).
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


def run_of(out: Path, cell: AnyCell) -> Path:
    """The folder of a cell's run."""
    return out / "runs" / cell.name


def _columns(recipe: Recipe, labels: Sequence[str]) -> list[int]:
    missing = [name for name in recipe.labels if name not in labels]
    if missing:
        raise InputError(f"no run predicts the label {missing[0]!r} that the recipe shows")
    return [list(labels).index(name) for name in recipe.labels]


def _with_mean(each: np.ndarray, shown: list[int], averaged: np.ndarray) -> np.ndarray:
    return np.concatenate([each[:, shown], each[:, averaged].mean(1, keepdims=True)], axis=1)


def _averaged(test: Predictions) -> np.ndarray:
    """Which labels the mean is over: a score of two positives would drown the others in noise."""
    rarer = np.minimum((test.truth == 1).sum(0), (test.truth == 0).sum(0))
    return rarer >= (LEAST if (rarer >= LEAST).any() else 1)


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
        run = run_of(out, cell)
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
    averaged = _averaged(first)
    rows = []
    for (init, tuner, fraction), seeds in found.items():
        points = [
            _with_mean(rankings(p.logit, p.truth, once).auroc, shown, averaged) for p in seeds
        ]
        boots = [
            _with_mean(rankings(p.logit, p.truth, drawn).auroc, shown, averaged) for p in seeds
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
        "Mean over seeds, with the 95 % interval of a bootstrap over test patients. The mean of "
        f"labels is over those with at least {LEAST} positives and negatives among the test "
        "records; the last column is its standard deviation between seeds.",
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


def markdown(table: Table) -> str:
    """A table as text that a page of Markdown takes."""
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, "", table.caption, ""])


def write_table(
    recipe: Recipe, out: Path, resamples: int, command: str, more: Sequence[Section] = ()
) -> None:
    """Write results.json, table.md and report.html of the cells finished so far.

    Args:
        command: what makes it all again.
        more: sections that follow the scores on the page.
    """
    rows = score_cells(recipe, out, resamples)
    columns = _columns_of(recipe)
    found = contrasts(rows, columns)
    write_json(
        out / "results.json",
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
    write_text(out / "table.md", f"{markdown(scores)}\n{markdown(differences)}")
    _page(recipe, out, rows, command, [_differences(differences), *more])


def _differences(table: Table) -> Section:
    return Section("Differences", table.caption, [replace(table, caption="")])


def _page(
    recipe: Recipe, out: Path, rows: Sequence[Scores], command: str, more: Sequence[Section]
) -> None:
    groups = {
        column: [
            Score(row.series, f"{100 * row.fraction:g} %", *row.interval(at)[:3]) for row in rows
        ]
        for at, column in enumerate(_columns_of(recipe))
    }
    seeds = sorted({len(row.by_seed) for row in rows})
    links = {f"backbone {name}": out / "backbones" / name for name in recipe.backbones}
    links |= {cell.name: run_of(out, cell) for cell in recipe.cells()}
    text = "Means over seeds; 95 % intervals by bootstrap over test patients."
    overview_page(
        out / "report.html",
        recipe.title,
        recipe.about,
        [
            *grid_sections(groups, "AUROC", text),
            *more,
        ],
        {name: run / "report.html" for name, run in links.items()},
        subtitle=f"{len(rows)} cells; seeds of each: {' or '.join(map(str, seeds))}.",
        command=command,
    )
