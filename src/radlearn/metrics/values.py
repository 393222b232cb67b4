"""Scores of predicted numbers against true ones, for a sample and its resamples.

A truth of NaN is not known and is left out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from radlearn.metrics.statistics import Resamples, everything_once

Numbers = Float[np.ndarray, "records"]
Drawn = Float[np.ndarray, "resamples"]


class ValueScores(NamedTuple):
    """Scores of each resample; errors in the unit of the target, NaN where not defined.

    Attributes:
        mae, rmse: mean absolute error, and root of the mean squared one.
        bias: mean of predicted less true.
        r2: share of the variance that is explained; 0 for the mean, below 0 for worse.
        spearman: correlation of ranks, ties sharing their mean rank.
    """

    mae: Drawn
    rmse: Drawn
    bias: Drawn
    r2: Drawn
    spearman: Drawn


def value_scores(truth: Numbers, predicted: Numbers, resamples: Resamples) -> ValueScores:
    """All scores in each resample."""
    known = np.isfinite(truth)
    truth, predicted = truth[known], predicted[known]
    resamples = Resamples(resamples.counts, resamples.patient[known])
    error, centred = predicted - truth, truth - (truth.mean() if len(truth) else 0.0)
    columns = np.stack([np.ones(len(truth)), np.abs(error), error**2, error, centred, centred**2])
    with np.errstate(divide="ignore", invalid="ignore"):
        n, absolute, squared, signed, first, second = resamples.totals(columns.T).T
        spread = second - first**2 / n
        r2 = np.where(spread > 1e-12 * np.maximum(second, 1e-300), 1 - squared / spread, np.nan)
        mae, rmse, bias = absolute / n, np.sqrt(squared / n), signed / n
    return ValueScores(mae, rmse, bias, r2, _spearman(truth, predicted, resamples))


def r_squared(truth: Numbers, predicted: Numbers) -> float:
    """R² of the records as they are; NaN where the truth has one value only."""
    return float(value_scores(truth, predicted, everything_once(range(len(truth)))).r2[0])


def _spearman(truth: Numbers, predicted: Numbers, resamples: Resamples) -> Drawn:
    """Pearson's correlation of midranks, each record taken as often as its patient was drawn."""
    if len(truth) < 2:
        return np.full(len(resamples), np.nan)
    places = [np.unique(values, return_inverse=True)[1] for values in (truth, predicted)]
    found = np.full(len(resamples), np.nan)
    for at, counts in enumerate(resamples.counts):
        weight = counts[resamples.patient].astype(np.float64)
        x, y = (_centred_ranks(place, weight) for place in places)
        spread = np.sqrt((weight @ x**2) * (weight @ y**2))
        if spread > 0:
            found[at] = (weight * x) @ y / spread
    return found


def _centred_ranks(place: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Midranks less their mean, of values by their place among the distinct ones."""
    together = np.bincount(place, weight)
    middle = np.cumsum(together) - together / 2
    return middle[place] - weight.sum() / 2
