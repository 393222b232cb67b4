"""Scores of called classes against true ones, from the confusion of a sample and its resamples.

A truth of NaN is not known and is left out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from radlearn.metrics.statistics import Resamples

Places = Float[np.ndarray, "records"]
Drawn = Float[np.ndarray, "resamples"]
Confusion = Float[np.ndarray, "resamples classes classes"]


class ClassScores(NamedTuple):
    """Scores of classes that exclude each other; NaN where not defined.

    Attributes:
        accuracy: share that is called right.
        balanced_accuracy: the mean over classes of the share of a class that is called right.
        kappa: Cohen's, agreement beyond chance.
    """

    accuracy: Drawn
    balanced_accuracy: Drawn
    kappa: Drawn


class LevelScores(NamedTuple):
    """Scores of classes of a rising scale; NaN where not defined.

    Attributes:
        kappa: Cohen's, disagreement weighted by the square of its levels.
        mae: mean number of levels between what is called and what is true.
        accuracy: share that is called right.
        within_one: share that is called right or one level off.
    """

    kappa: Drawn
    mae: Drawn
    accuracy: Drawn
    within_one: Drawn


def confusion(truth: Places, called: Places, classes: int, resamples: Resamples) -> Confusion:
    """Records of each true class (rows) and called class (columns) in each resample."""
    known = np.isfinite(truth)
    cell = (truth[known] * classes + called[known]).astype(np.int64)
    cells = np.zeros((len(cell), classes * classes))
    cells[np.arange(len(cell)), cell] = 1
    found = Resamples(resamples.counts, resamples.patient[known]).totals(cells)
    return found.reshape(len(resamples), classes, classes)


def class_scores(counts: Confusion) -> ClassScores:
    """All scores; a resample that lacks a class of the first has no balanced accuracy."""
    off = 1 - np.eye(counts.shape[1])
    right, of_class = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        balanced = (right / of_class).mean(axis=1)
    return ClassScores(_mean(counts, 1 - off), balanced, _kappa(counts, off))


def level_scores(counts: Confusion) -> LevelScores:
    """All scores."""
    places = np.arange(counts.shape[1])
    distance = np.abs(places[:, None] - places).astype(np.float64)
    return LevelScores(
        _kappa(counts, distance**2),
        _mean(counts, distance),
        _mean(counts, (distance == 0).astype(np.float64)),
        _mean(counts, (distance <= 1).astype(np.float64)),
    )


def _mean(counts: Confusion, value: np.ndarray) -> Drawn:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (counts * value).sum(axis=(1, 2)) / counts.sum(axis=(1, 2))


def _kappa(counts: Confusion, weight: np.ndarray) -> Drawn:
    """1 - observed / expected disagreement (Cohen 1968); NaN where none is to be expected."""
    n = counts.sum(axis=(1, 2))
    expected = counts.sum(axis=2)[:, :, None] * counts.sum(axis=1)[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        by_chance = (expected * weight).sum(axis=(1, 2)) / n
        found = 1 - (counts * weight).sum(axis=(1, 2)) / by_chance
    return np.where(by_chance > 0, found, np.nan)
