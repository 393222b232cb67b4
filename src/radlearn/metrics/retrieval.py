"""Retrieval: at which place the right answer comes, against what chance would give.

One answer may be right for many queries and a query may have several right answers, since many
reports say the same. A query counts by its first right answer, and chance is computed for as many
right answers as it has.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from radlearn.metrics.statistics import BLOCK, Interval, Resamples, percentile_interval

CUTS = (1, 5, 10)
"""How many answers are looked at: recall at 1, 5 and 10."""


class Recall(NamedTuple):
    """Recall in one direction.

    Attributes:
        at: by number of answers, the share of queries with a right one among them.
        chance: the same of a random order.
        median: the place by which half the queries have met a right answer.
        chance_median: the same of a random order.
    """

    queries: int
    candidates: int
    at: dict[int, Interval]
    chance: dict[int, float]
    median: Interval
    chance_median: int


def first_right(
    scores: Float[np.ndarray, "queries candidates"], right: Bool[np.ndarray, "queries candidates"]
) -> Int[np.ndarray, " queries"]:
    """The place, from 1, of each query's first right candidate, best score first.

    A wrong candidate with the same score comes first, so that a score that says nothing earns
    nothing. Every query needs a right candidate.
    """
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + ((scores >= best) & ~right).sum(axis=1)


def by_chance(
    right: Int[np.ndarray, " queries"], candidates: int
) -> Float[np.ndarray, "queries places"]:
    """The chance that a random order has one of `right` candidates among its first 1, 2, ....

    1 - C(n - d, k) / C(n, k) for d right ones of n, at k = 1 to n.
    """
    places = np.arange(candidates)
    misses = np.clip((candidates - right[:, None] - places) / (candidates - places), 0, 1)
    return 1 - np.cumprod(misses, axis=1)


def recall(
    scores: Float[np.ndarray, "queries candidates"],
    right: Bool[np.ndarray, "queries candidates"],
    resamples: Resamples,
    cuts: Sequence[int] = CUTS,
) -> Recall:
    """Recall at each cut and the median place, with intervals over the queries' patients.

    The candidates stay the same in every resample: recall is of this list of candidates.
    """
    places = first_right(scores, right)
    counts, of_query = np.unique(right.sum(axis=1), return_inverse=True)
    chance = np.bincount(of_query) @ by_chance(counts, scores.shape[1]) / len(scores)
    hits = (places[:, None] <= np.array(cuts)).astype(np.float64)
    totals = resamples.totals(np.concatenate([hits, np.ones((len(hits), 1))], axis=1))
    shares = totals[:, :-1] / totals[:, -1:]
    return Recall(
        queries=len(scores),
        candidates=scores.shape[1],
        at={
            cut: percentile_interval(float(hits[:, i].mean()), shares[:, i])
            for i, cut in enumerate(cuts)
        },
        chance={cut: float(chance[min(cut, len(chance)) - 1]) for cut in cuts},
        median=percentile_interval(
            float(np.sort(places)[(len(places) - 1) // 2]), _medians(places, resamples)
        ),
        chance_median=int(np.argmax(chance >= 0.5)) + 1,
    )


def _medians(
    places: Int[np.ndarray, " queries"], resamples: Resamples
) -> Float[np.ndarray, " resamples"]:
    """The lower median of each resample."""
    order = np.argsort(places, kind="stable")
    found = []
    for start in range(0, len(resamples), BLOCK):
        drawn = resamples.counts[start : start + BLOCK, resamples.patient[order]]
        reached = drawn.cumsum(axis=1, dtype=np.int64)
        found.append(places[order][(2 * reached >= reached[:, -1:]).argmax(axis=1)])
    return np.concatenate(found).astype(np.float64)


class Agreement(NamedTuple):
    """How often the first answers share one label of the query.

    Attributes:
        queries: those that have the label.
        at: by number of answers, the share of them that have the label too.
        chance: the share of all candidates that have it.
    """

    label: str
    queries: int
    at: dict[int, Interval]
    chance: float


def agreement(
    scores: Float[np.ndarray, "records records"],
    labels: Float[np.ndarray, "records labels"],
    names: Sequence[str],
    resamples: Resamples,
    cuts: Sequence[int] = CUTS,
) -> list[Agreement]:
    """Precision by label: of queries with the label, among their best answers by other patients.

    Records of the query's own patient are no candidates, so that this tells nothing of exact
    matches; neither are those whose label is not known. A label without queries, or without
    candidates, is left out.

    Args:
        scores: of each record as a query (rows) with each as an answer.
        labels: 1, 0, and NaN where not known.
    """
    other = resamples.patient[:, None] != resamples.patient
    found = []
    for name, values in zip(names, labels.T, strict=True):
        known = ~np.isnan(values)
        queries = np.flatnonzero(values == 1)
        queries = queries[(other[queries] & known).any(axis=1)]
        if not len(queries):
            continue
        may = other[queries] & known
        kept = np.where(may, scores[queries], -np.inf)
        most = min(max(cuts), kept.shape[1])
        best = np.argsort(-kept, axis=1, kind="stable")[:, :most]
        good = np.where(np.take_along_axis(may, best, axis=1), values[best], np.nan)
        shares = np.stack([np.nanmean(good[:, :cut], axis=1) for cut in cuts], axis=1)
        chance = (may * np.nan_to_num(values)).sum(axis=1) / may.sum(axis=1)
        parts = np.zeros((len(scores), len(cuts) + 1))
        parts[queries] = np.concatenate([shares, np.ones((len(queries), 1))], axis=1)
        totals = resamples.totals(parts)
        with np.errstate(invalid="ignore"):
            drawn = totals[:, :-1] / totals[:, -1:]
        at = {
            cut: percentile_interval(float(shares[:, i].mean()), drawn[:, i])
            for i, cut in enumerate(cuts)
        }
        found.append(Agreement(name, len(queries), at, float(chance.mean())))
    return found
