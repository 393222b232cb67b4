"""Scores of a grid of fine-tuned runs over seeds and patients, and their paired differences."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radlearn.engine.folder import FREE
from radlearn.errors import InputError
from radlearn.evaluate import kind_of
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import read_json
from radlearn.grids.recipe import AnyCell, Cell, Recipe
from radlearn.metrics.finished import finished_results
from radlearn.metrics.measured import Measured
from radlearn.metrics.statistics import (
    Interval,
    bootstrap_p,
    bootstrap_patients,
    everything_once,
    percentile_interval,
)

LEAST = 10
"""Positives, and negatives, that a label needs among the test records to count in the mean."""


class Scores(NamedTuple):
    """One row of the table: a cell's score over its seeds, resample by resample.

    `point` is (columns,) and `resampled` (resamples, columns); the columns are the shown labels
    and then the mean over every label that is not too rare. `by_seed` is (seeds, columns). Other
    tasks have classes for labels, or one column alone, and `metric` for AUROC; `higher` is better.
    """

    init: str
    tuner: str
    fraction: float
    point: np.ndarray
    resampled: np.ndarray
    by_seed: np.ndarray
    data: str = ""
    metric: str = "AUROC"
    higher: bool = True

    @property
    def series(self) -> str:
        return f"{self.init}, {self.tuner}"

    def interval(self, column: int) -> Interval:
        return percentile_interval(float(self.point[column]), self.resampled[:, column])


class Scored(NamedTuple):
    """What all cells of one data set are scored on."""

    records: int
    patients: int
    fingerprint: str


def run_of(out: Path, cell: AnyCell) -> Path:
    """The folder of a cell's run."""
    return out / "runs" / cell.name


def refuse_other_settings(run: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a run that was trained with settings that are not the recipe's.

    Raises:
        InputError: it was.
    """
    config = read_json(run / "config.json", "a run")
    for name, value in wanted.items():
        if name not in FREE and config.get(name) != value:
            raise InputError(
                f"{run} was trained with {name} = {config.get(name)!r}, and the recipe says "
                f"{value!r}; choose another --out folder, or move this run away"
            )


def _columns(recipe: Recipe, labels: Sequence[str]) -> list[int]:
    missing = [name for name in recipe.labels if name not in labels]
    if missing:
        raise InputError(f"no run predicts the label {missing[0]!r} that the recipe shows")
    return [list(labels).index(name) for name in recipe.labels]


def _with_mean(each: np.ndarray, shown: list[int], averaged: np.ndarray) -> np.ndarray:
    return np.concatenate([each[:, shown], each[:, averaged].mean(1, keepdims=True)], axis=1)


def _averaged(test: Measured) -> np.ndarray:
    """Which labels the mean is over: a score of two positives would drown the others in noise."""
    if test.truth is None:
        return np.ones(len(test.columns), bool)
    rarer = np.minimum((test.truth == 1).sum(0), (test.truth == 0).sum(0))
    return rarer >= (LEAST if (rarer >= LEAST).any() else 1)


Runs = Mapping[tuple[str, str, float], Sequence[Measured]]


def _finished(recipe: Recipe, out: Path) -> tuple[Mapping[str, Runs], dict[str, str]]:
    """What finished cells answered by data set and row; fingerprints by data set."""
    found: dict[str, dict[tuple[str, str, float], list[Measured]]] = {}
    fingerprints: dict[str, str] = {}
    for cell in recipe.cells():
        run = run_of(out, cell)
        if not (run / "results.json").exists():
            continue
        refuse_other_settings(run, _wanted(recipe, cell))
        _, kind = kind_of([run])
        answered = {_data(recipe, cell): run}
        for name in recipe.elsewhere:
            if kind.elsewhere is None:
                raise InputError(f"{run} cannot be scored elsewhere: only segmentations can")
            answered[f"on {name}"] = kind.elsewhere(run, out / "stores" / name, "test")
        for data, place in answered.items():
            mine = finished_results(place)["fingerprints"].get("test")
            if mine is None:
                raise InputError(f"{run} has no test records; its store needs some to be compared")
            if fingerprints.setdefault(data, mine) != mine:
                raise InputError(
                    f"the runs in {out} were scored on different splits: {cell.name} on "
                    f"{mine[:12]}, others on {fingerprints[data][:12]}; use one folder each"
                )
            if kind.measured is None:
                raise InputError(f"{run} is of a kind that a table has no scores of")
            rows = found.setdefault(data, {})
            rows.setdefault((cell.init, cell.tuner, cell.fraction), []).append(
                kind.measured(place, EvaluateConfig((place,)))
            )
    return found, fingerprints


def _data(recipe: Recipe, cell: Cell) -> str:
    """What a cell's own test records are called in the table."""
    return cell.data or ("held apart" if recipe.elsewhere else "")


def _wanted(recipe: Recipe, cell: Cell) -> dict[str, Any]:
    flags = recipe.flags(cell)
    left = {"stores"} if cell.init == "scratch" else {"stores", "model"}
    return {name: value for name, value in flags.items() if name not in left}


def score_cells(recipe: Recipe, out: Path, resamples: int) -> list[Scores]:
    """The table's rows, of the cells that are finished.

    The same resamples of the test patients serve every row of a data set, so that differences are
    paired. A row's score is the mean over its seeds; of S seeds a resample draws S - 1 (S draws
    would have (S - 1) / S of the variance), each row on its own.

    Raises:
        InputError: two runs of a data set were scored on other records, or trained otherwise than
            the recipe says.
    """
    found, _ = _finished(recipe, out)
    rows = [row for data, runs in found.items() for row in _rows(recipe, data, runs, resamples)]
    order = [
        (cell.init, cell.tuner, cell.fraction, data)
        for where in ("", *recipe.elsewhere)
        for cell in recipe.cells()
        for data in [f"on {where}" if where else _data(recipe, cell)]
    ]
    return sorted(rows, key=lambda row: order.index((row.init, row.tuner, row.fraction, row.data)))


def _rows(recipe: Recipe, data: str, runs: Runs, resamples: int) -> list[Scores]:
    first = next(iter(runs.values()))[0]
    columns, everyone = _columns(recipe, first.columns), np.arange(len(first.ids))
    drawn = bootstrap_patients(first.patients, resamples, seed=0)
    once = everything_once(first.patients)
    averaged = _averaged(first)
    rows = []
    for number, ((init, tuner, fraction), seeds) in enumerate(runs.items()):
        points, boots = (
            [
                _with_mean(one.score(everyone, which, range(len(one.columns))), columns, averaged)
                for one in seeds
            ]
            for which in (once, drawn)
        )
        by_seed = np.concatenate(points)
        resampled = _over_seeds(np.stack(boots), number)
        mean = by_seed.mean(0)
        of = (data, first.metric, first.higher)
        rows.append(Scores(init, tuner, fraction, mean, resampled, by_seed, *of))
    return rows


def _over_seeds(boots: np.ndarray, number: int) -> np.ndarray:
    """(seeds, resamples, columns) to (resamples, columns): each resample's mean of drawn seeds."""
    seeds, resamples, _ = boots.shape
    if seeds == 1:
        return boots[0]
    picked = np.random.default_rng((0, number)).integers(0, seeds, (seeds - 1, resamples))
    return boots[picked, np.arange(resamples)].mean(0)


def scored_on(recipe: Recipe, out: Path) -> dict[str, Scored]:
    """What was scored, by data set."""
    found, fingerprints = _finished(recipe, out)
    sets = {}
    for data, runs in found.items():
        first = next(iter(runs.values()))[0]
        sets[data] = Scored(len(first.patients), len(set(first.patients)), fingerprints[data])
    return sets


class Contrast(NamedTuple):
    """A paired difference of two rows in one column of the table."""

    first: str
    second: str
    fraction: float
    column: str
    difference: Interval
    p: float
    data: str = ""


def contrasts(rows: Sequence[Scores], columns: Sequence[str]) -> list[Contrast]:
    """Differences of two rows that differ in one thing alone: the tuner, or the start."""
    found = []
    for second, first in combinations(rows, 2):
        other_tuner, other_init = second.tuner != first.tuner, second.init != first.init
        alike = (first.fraction, first.data) == (second.fraction, second.data)
        if not alike or other_tuner == other_init:
            continue
        for at, column in enumerate(columns):
            draws = second.resampled[:, at] - first.resampled[:, at]
            interval = percentile_interval(float(second.point[at] - first.point[at]), draws)
            p = bootstrap_p(draws)
            found.append(
                Contrast(
                    first.series, second.series, first.fraction, column, interval, p, first.data
                )
            )
    return found
