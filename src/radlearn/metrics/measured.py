"""What any choice of a run's records scores, whatever the run's task: groups and curves use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from radlearn.metrics.classification import rankings, unmeasurable
from radlearn.metrics.predictions import Predictions
from radlearn.metrics.statistics import Resamples

MEAN = "mean"
"""The name of the mean over a run's columns, where it has more than one."""

Rows = Int[np.ndarray, "rows"]


class Operating(NamedTuple):
    """Probabilities and the thresholds that validation chose, NaN where it gave none.

    Truth is 0, 1, or NaN for not labelled.
    """

    truth: Float[np.ndarray, "records columns"]
    probability: Float[np.ndarray, "records columns"]
    threshold: Float[np.ndarray, "columns"]


@dataclass(frozen=True, eq=False)
class Measured:
    """A run's answers on one split, ready to be scored on any of its records.

    Attributes:
        metric: what the score is called: AUROC, Dice, kappa, ...
        columns: what has a score of its own: labels, classes, or one thing alone.
        ids, patients: of the records.
        score: from positions of records, resamples whose `patient` has an entry for each of these
            positions, and numbers of columns, to a score a resample and column; NaN where it is
            not defined.
        reason: for positions of records why each column cannot be scored, None where it can.
        bounds: the least and the most that the score can be.
        higher: whether more is better.
        truth: 0, 1, or NaN for not labelled, a column each; None where there are no two classes.
            A permutation leaves each group its share of positives, and a class of few patients is
            not tested.
        operating: where there are thresholds.
    """

    metric: str
    columns: tuple[str, ...]
    ids: Sequence[str]
    patients: Sequence[str]
    score: Callable[[Rows, Resamples, Sequence[int]], Float[np.ndarray, "resamples columns"]]
    reason: Callable[[Rows], list[str | None]]
    bounds: tuple[float, float]
    higher: bool = True
    truth: Float[np.ndarray, "records columns"] | None = None
    operating: Operating | None = None


def measured_labels(
    scored: Predictions, threshold: Float[np.ndarray, "labels"] | None = None
) -> Measured:
    """AUROC of each label of `scored`; with thresholds also what these do."""

    def score(rows: Rows, resamples: Resamples, at: Sequence[int]) -> np.ndarray:
        chosen = np.ix_(rows, np.array(at, np.int64))
        return rankings(scored.logit[chosen], scored.truth[chosen], resamples).auroc

    def reason(rows: Rows) -> list[str | None]:
        return [unmeasurable(truth) for truth in scored.truth[rows].T]

    return Measured(
        "AUROC",
        scored.labels,
        scored.ids,
        scored.patients,
        score,
        reason,
        (0.0, 1.0),
        truth=scored.truth,
        operating=None
        if threshold is None
        else Operating(scored.truth, scored.probability, threshold),
    )


def measured_column(
    metric: str,
    ids: Sequence[str],
    patients: Sequence[str],
    values: Mapping[str, Float[np.ndarray, "records"]],
    bounds: tuple[float, float] = (0.0, 1.0),
    higher: bool = True,
) -> Measured:
    """A score that is the mean over records of a score each, such as Dice.

    Args:
        values: of each column, a number a record, NaN where a record has none.
    """
    columns = np.stack([np.asarray(of, np.float64) for of in values.values()], axis=1)
    there = np.isfinite(columns).astype(np.float64)
    filled = np.nan_to_num(columns)

    def score(rows: Rows, resamples: Resamples, at: Sequence[int]) -> np.ndarray:
        chosen = np.ix_(rows, np.array(at, np.int64))
        with np.errstate(divide="ignore", invalid="ignore"):
            return resamples.totals(filled[chosen]) / resamples.totals(there[chosen])

    def reason(rows: Rows) -> list[str | None]:
        return [None if some else "no record has a score" for some in there[rows].any(axis=0)]

    return Measured(metric, tuple(values), ids, patients, score, reason, bounds, higher)


def of_rows(resamples: Resamples, rows: Rows) -> Resamples:
    """The same resamples for some of the records."""
    return Resamples(resamples.counts, resamples.patient[rows])
