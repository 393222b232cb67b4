"""Scores of runs that learned one class, one level of a scale, or a number a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from radlearn.errors import InputError
from radlearn.metrics.confusion import class_scores, confusion, level_scores
from radlearn.metrics.finished import finished_results, read_predicted
from radlearn.metrics.predictions import Predictions
from radlearn.metrics.statistics import (
    Resamples,
    bootstrap_p,
    everything_once,
    finite,
    holm,
    percentile_interval,
)
from radlearn.metrics.values import value_scores

Scores = Mapping[str, Float[np.ndarray, "resamples"]]


class Measure(NamedTuple):
    """What a score is called, its digits, and whether more of it is better (None: neither)."""

    title: str
    form: str
    higher: bool | None


MEASURES: dict[str, dict[str, Measure]] = {
    "single-label": {
        "accuracy": Measure("Accuracy", ".3f", True),
        "balanced_accuracy": Measure("Balanced accuracy", ".3f", True),
        "kappa": Measure("Cohen's kappa", ".3f", True),
    },
    "ordinal": {
        "kappa": Measure("Quadratic kappa", ".3f", True),
        "mae": Measure("Mean error, levels", ".3f", False),
        "accuracy": Measure("Accuracy", ".3f", True),
        "within_one": Measure("Within one level", ".3f", True),
    },
    "continuous": {
        "mae": Measure("Mean absolute error", ".4g", False),
        "rmse": Measure("Root mean squared error", ".4g", False),
        "bias": Measure("Predicted less true", ".4g", None),
        "r2": Measure("R²", ".3f", True),
        "spearman": Measure("Spearman's correlation", ".3f", True),
    },
}


class Answers(NamedTuple):
    """What a run said of one split's records, in the order of their ids.

    Attributes:
        classes: of tasks that have them.
        truth, said: numbers, or places among the classes; truth is NaN where it is not known.
    """

    task: str
    ids: list[str]
    patients: list[str]
    classes: tuple[str, ...]
    truth: Float[np.ndarray, "records"]
    said: Float[np.ndarray, "records"]

    def as_predictions(self) -> Predictions:
        """For `refuse_unless_same`, which compares records and truth."""
        nothing = np.zeros((len(self.ids), 1))
        name = "the class" if self.classes else "the number"
        return Predictions(self.ids, self.patients, (name,), self.truth[:, None], nothing, nothing)


def answers_of(run: Path, task: str, split: str) -> Answers:
    """A finished run's answers on a split.

    Raises:
        InputError: the run is not finished, or its predictions are none of this task.
    """
    finished_results(run)
    classed = task != "continuous"
    names = ("class", "called") if classed else ("truth", "predicted")
    wanted = ("split", "id", "patient", *names)
    table = read_predicted(run, wanted, () if classed else names, "fine-tune")
    rows = table.filter(pl.col("split") == split).sort("id")
    if not rows.height:
        there = ", ".join(sorted(str(name) for name in table["split"].unique()))
        raise InputError(f"run {run} has no {split} predictions; it has: {there or 'none'}")
    of_class = [name for name in table.columns if name.startswith("probability:")]
    classes = tuple(name.removeprefix("probability:") for name in of_class)
    truth, said = (_places(rows[n], classes) if classed else _values(rows[n]) for n in names)
    if not np.isfinite(said).all():
        raise InputError(f"{run / 'predictions.parquet'} lacks answers; fine-tune again")
    ids, patients = rows["id"].to_list(), rows["patient"].to_list()
    return Answers(task, ids, patients, classes, truth, said)


def scores_of(answers: Answers, resamples: Resamples) -> Scores:
    """Each score of the task's `MEASURES` in each resample."""
    if answers.task == "continuous":
        return value_scores(answers.truth, answers.said, resamples)._asdict()
    counts = confusion(answers.truth, answers.said, len(answers.classes), resamples)
    if answers.task == "ordinal":
        return level_scores(counts)._asdict()
    kept = np.isin(np.arange(len(answers.classes)), answers.truth)  # classes that the sample has
    found = class_scores(counts)._asdict()
    if kept.any() and not kept.all():
        found["balanced_accuracy"] = _recall(counts)[:, kept].mean(axis=1)
    return found


def intervals_of(answers: Answers, resamples: Resamples) -> dict[str, dict[str, Any]]:
    """Each score with its 95 % interval, as JSON."""
    once, drawn = (
        scores_of(answers, everything_once(answers.patients)),
        scores_of(answers, resamples),
    )
    return {name: percentile_interval(float(once[name][0]), drawn[name]).as_json() for name in once}


def differences_of(one: Answers, other: Answers, resamples: Resamples) -> dict[str, Any]:
    """Scores of `other` less those of `one` on the same resamples; Holm's adjustment over them."""
    once = [scores_of(answers, everything_once(answers.patients)) for answers in (one, other)]
    drawn = [scores_of(answers, resamples) for answers in (one, other)]
    difference = {name: drawn[1][name] - drawn[0][name] for name in drawn[0]}
    p = {name: bootstrap_p(values) for name, values in difference.items()}
    adjusted = dict(zip(p, holm(list(p.values())), strict=True))
    return {
        name: {
            "values": [finite(float(scores[name][0])) for scores in once],
            "difference": percentile_interval(
                float(once[1][name][0] - once[0][name][0]), values
            ).as_json(),
            "p_bootstrap": finite(p[name]),
            "p_bootstrap_holm": finite(adjusted[name]),
        }
        for name, values in difference.items()
    }


def _recall(counts: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.diagonal(counts, axis1=1, axis2=2) / counts.sum(axis=2)


def _places(column: pl.Series, classes: tuple[str, ...]) -> np.ndarray:
    place = {name: at for at, name in enumerate(classes)}
    return np.array([place.get(value, np.nan) for value in column.to_list()], np.float64)


def _values(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).to_numpy().astype(np.float64)
