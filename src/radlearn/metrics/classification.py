"""Ranking scores of labels, AUROC and average precision, for a sample and its resamples.

Truth is 0, 1 or NaN for *not labelled*; records without a label are left out of that label alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

from radlearn.metrics.statistics import Resamples, everything_once

CURVE_POINTS = 200


class Rankings(NamedTuple):
    """AUROC and average precision of every label in every resample; NaN where not defined."""

    auroc: Float[np.ndarray, "resamples labels"]
    average_precision: Float[np.ndarray, "resamples labels"]


@dataclass(frozen=True)
class _Sorted:
    """One label's records in the order of their scores, ready to be weighed by patient.

    Only the scores of positives matter as thresholds: between two of them neither metric has a
    term. So K rows, one a distinct score of a positive, ascending.
    """

    positives: csr_array
    """(K, patients): positives of each patient at threshold k."""
    negatives: csr_array
    """(K, patients): negatives of each patient below threshold k and not below k - 1."""
    ties: csr_array
    """(T, patients): negatives of each patient at exactly threshold tied[t]."""
    tied: Int[np.ndarray, "ties"]
    all_negatives: Float[np.ndarray, "patients"]


def _counts(rows: np.ndarray, patient: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows)), (rows, patient)), shape=shape)


def _sort(scores: np.ndarray, truth: np.ndarray, patient: np.ndarray, patients: int) -> _Sorted:
    positive, negative = truth == 1, truth == 0
    thresholds, at = np.unique(scores[positive], return_inverse=True)
    k = len(thresholds)
    not_below = np.searchsorted(thresholds, scores[negative], side="left")
    row = np.searchsorted(thresholds, scores[negative], side="right")
    who = patient[negative]
    tie, below = row > not_below, row < k
    tied, tie_row = np.unique(not_below[tie], return_inverse=True)
    return _Sorted(
        positives=_counts(at, patient[positive], (k, patients)),
        negatives=_counts(row[below], who[below], (k, patients)),
        ties=_counts(tie_row, who[tie], (len(tied), patients)),
        tied=tied,
        all_negatives=np.bincount(who, minlength=patients).astype(np.float64),
    )


def _rank(label: _Sorted, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision for each column of (patients, resamples) weights."""
    at = label.positives @ weights
    below = np.cumsum(label.negatives @ weights, axis=0)
    all_positives, all_negatives = at.sum(axis=0), label.all_negatives @ weights
    with np.errstate(divide="ignore", invalid="ignore"):
        won = np.einsum("kr,kr->r", at, below)
        won += 0.5 * np.einsum("kr,kr->r", at[label.tied], label.ties @ weights)
        auroc = won / (all_positives * all_negatives)
        # positives at or above each threshold: all, less those at lower ones
        found = np.cumsum(at, axis=0)
        np.subtract(all_positives + at, found, out=found)
        np.subtract(all_negatives, below, out=below)
        below += found
        precision = np.divide(found, below, out=found, where=below > 0)
        average_precision = np.einsum("kr,kr->r", at, precision) / all_positives
    # with positives alone average precision is 1 whatever the scores: no measurement either
    average_precision[all_negatives == 0] = np.nan
    return auroc, average_precision


def rankings(
    scores: Float[np.ndarray, "records labels"],
    truth: Float[np.ndarray, "records labels"],
    resamples: Resamples,
) -> Rankings:
    """AUROC and average precision of each label in each resample.

    AUROC counts ties between a positive and a negative as half. Average precision is
    scikit-learn's: the sum over thresholds of the gain in recall times the precision, without
    interpolation. Both are NaN where a resample holds one class of a label only.

    A label is sorted once. The resamples then are sparse products and cumulative sums, a block of
    resamples at a time: memory is a few times records x block, whatever the number of resamples.

    Args:
        scores: any real values that rank records; higher means positive. No NaN.
        truth: 0, 1, or NaN for not labelled.
    """
    patients = len(resamples.counts)
    labels = [
        _sort(scores[:, label], truth[:, label], resamples.patient, patients)
        for label in range(truth.shape[1])
    ]
    auroc = np.empty((len(resamples), len(labels)))
    average_precision = np.empty_like(auroc)
    for where, weights in resamples.blocks():
        for number, label in enumerate(labels):
            auroc[where, number], average_precision[where, number] = _rank(label, weights)
    return Rankings(auroc, average_precision)


def auroc_each(
    scores: Float[np.ndarray, "records labels"], truth: Float[np.ndarray, "records labels"]
) -> Float[np.ndarray, "labels"]:
    """The AUROC of each label on the records as they are; NaN where it has one class only."""
    return rankings(scores, truth, everything_once(range(len(truth)))).auroc[0]


def auroc(scores: Float[np.ndarray, "records"], truth: Float[np.ndarray, "records"]) -> float:
    """The AUROC of one label, ties counted half; NaN where `unmeasurable` gives a reason."""
    return float(auroc_each(scores[:, None], truth[:, None])[0])


def average_precision(
    scores: Float[np.ndarray, "records"], truth: Float[np.ndarray, "records"]
) -> float:
    """Average precision of one label; NaN where `unmeasurable` gives a reason."""
    once = everything_once(range(len(truth)))
    return float(rankings(scores[:, None], truth[:, None], once).average_precision[0, 0])


def mean_auroc(
    scores: Float[np.ndarray, "records labels"], truth: Float[np.ndarray, "records labels"]
) -> float:
    """The mean AUROC over the labels that have both classes; NaN when none has."""
    each = auroc_each(scores, truth)
    return float(mean_over(each[None], np.isfinite(each))[0])


def mean_over(
    values: Float[np.ndarray, "resamples labels"], measured: Bool[np.ndarray, "labels"]
) -> Float[np.ndarray, "resamples"]:
    """The mean over the labels that are measured in the sample itself.

    NaN for a resample that lacks one of them, since a mean over other labels is another quantity;
    NaN throughout when none is measured.
    """
    if not measured.any():
        return np.full(len(values), np.nan)
    return values[:, measured].mean(axis=1)


def unmeasurable(truth: Float[np.ndarray, "records"]) -> str | None:
    """Why a label cannot be ranked, or None when it can."""
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if positives and negatives:
        return None
    if positives:
        return f"one class only: all {positives} labelled records are positive"
    if negatives:
        return f"one class only: all {negatives} labelled records are negative"
    return "no record is labelled"


def _steps(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each distinct threshold, from the highest down."""
    labelled = np.isfinite(truth)
    _, at = np.unique(-scores[labelled], return_inverse=True)
    positive = truth[labelled] == 1
    return np.cumsum(np.bincount(at, positive)), np.cumsum(np.bincount(at, ~positive))


def _thin(along: np.ndarray) -> np.ndarray:
    """At most `CURVE_POINTS` positions, even over a rising parameter, both ends kept."""
    if len(along) <= CURVE_POINTS:
        return np.arange(len(along))
    return np.unique(
        np.searchsorted(along, np.linspace(along[0], along[-1], CURVE_POINTS)).clip(
            0, len(along) - 1
        )
    )


def roc_curve(
    scores: Float[np.ndarray, "records"], truth: Float[np.ndarray, "records"]
) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """False and true positive rates from (0, 0) to (1, 1), thinned to at most 200 points.

    The label must have both classes.
    """
    found, false = _steps(scores, truth)
    tpr = np.concatenate([[0.0], found / found[-1]])
    fpr = np.concatenate([[0.0], false / false[-1]])
    keep = _thin(tpr + fpr)
    return fpr[keep], tpr[keep]


def precision_recall_curve(
    scores: Float[np.ndarray, "records"], truth: Float[np.ndarray, "records"]
) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
    """Recall and precision from the highest threshold down, thinned to at most 200 points.

    The label must have both classes.
    """
    found, false = _steps(scores, truth)
    recall, precision = found / found[-1], found / (found + false)
    keep = _thin(recall + false / false[-1])
    return recall[keep], precision[keep]
