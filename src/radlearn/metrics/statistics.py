"""How sure a number is: the bootstrap over patients, DeLong's test, intervals and p-values.

Images of one patient resemble each other, so the unit that is drawn, or summed over, is the
patient, never the image. All intervals are 95 % percentile intervals of the bootstrap.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.special import ndtr

from radlearn.errors import InputError

CONFIDENCE = 0.95

BLOCK = 32
"""Resamples turned into floats at once, so that memory stays bounded."""


@dataclass(frozen=True)
class Resamples:
    """Bootstrap resamples of a list of records, drawn by patient.

    Attributes:
        counts: how often each resample holds each patient.
        patient: for each record the column of `counts` that is its patient's.
    """

    counts: UInt8[np.ndarray, "resamples patients"]
    patient: Int[np.ndarray, "records"]

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def patients(self) -> int:
        """How many there are."""
        return self.counts.shape[1]

    def totals(
        self, values: Float[np.ndarray, "records columns"]
    ) -> Float[np.ndarray, "resamples columns"]:
        """The sum of `values` over the records of each resample, each as often as it was drawn."""
        by_patient = np.zeros((self.patients, values.shape[1]))
        np.add.at(by_patient, self.patient, values)
        blocks = range(0, len(self), BLOCK)
        return np.concatenate(
            [self.counts[at : at + BLOCK].astype(np.float64) @ by_patient for at in blocks]
        )


def patient_rows(patients: Sequence[Hashable]) -> Int[np.ndarray, "records"]:
    """A number from 0 on for each record's patient, in order of first appearance."""
    rows: dict[Hashable, int] = {}
    return np.array([rows.setdefault(patient, len(rows)) for patient in patients], dtype=np.int64)


def bootstrap_patients(patients: Sequence[Hashable], n_resamples: int, seed: int) -> Resamples:
    """Draw as many patients as there are, with replacement, `n_resamples` times.

    The same patients in the same order with the same seed give the same resamples. A patient's
    count fits 8 bits: the chance of 256 draws of one of n patients is below 1e-500 for every n
    above 255, and it cannot happen below.

    Raises:
        InputError: no record, or no resample was asked for.
    """
    if not patients or n_resamples < 1:
        raise InputError(
            f"a bootstrap needs records and resamples; there are {len(patients)} records and "
            f"{n_resamples} resamples: ask for at least 1 of each"
        )
    patient = patient_rows(patients)
    n = int(patient.max()) + 1
    rng = np.random.default_rng(seed)
    counts = np.empty((n_resamples, n), dtype=np.uint8)
    for drawn in counts:
        drawn[:] = np.bincount(rng.integers(0, n, size=n), minlength=n)
    return Resamples(counts, patient)


def everything_once(patients: Sequence[Hashable]) -> Resamples:
    """One "resample" that is the sample itself, for point estimates by the same code."""
    patient = patient_rows(patients)
    n = int(patient.max()) + 1 if len(patient) else 0
    return Resamples(np.ones((1, n), dtype=np.uint8), patient)


class Interval(NamedTuple):
    """A value with its 95 % interval; NaN where it cannot be measured.

    Attributes:
        resamples: how many resamples the interval rests on.
        dropped: how many were left out, since the value was not defined in them.
    """

    value: float
    low: float
    high: float
    resamples: int
    dropped: int

    def as_json(self) -> dict[str, Any]:
        """A dict without NaN; `degenerate` says that no resample differed from any other.

        A perfect score, or a single patient, gives a degenerate interval: it has no width, which
        is not a proof of certainty.
        """
        return {
            "value": finite(self.value),
            "low": finite(self.low),
            "high": finite(self.high),
            "resamples": self.resamples,
            "dropped": self.dropped,
            "degenerate": bool(self.resamples and self.low == self.high),
        }


def finite(value: float) -> float | None:
    """`value` as JSON can hold it: None for NaN and infinities."""
    return float(value) if np.isfinite(value) else None


def percentile_interval(value: float, resampled: Float[np.ndarray, "resamples"]) -> Interval:
    """The 2.5 % and 97.5 % quantiles of the resampled values, NaN values left out and counted."""
    kept = resampled[np.isfinite(resampled)]
    dropped = len(resampled) - len(kept)
    if not np.isfinite(value) or not len(kept):
        return Interval(float(value), np.nan, np.nan, 0, len(resampled))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high), len(kept), dropped)


def bootstrap_p(differences: Float[np.ndarray, "resamples"]) -> float:
    """Two-sided p-value of "no difference" from paired bootstrap differences.

    Twice the smaller share of differences at or beyond zero, one added to both counts (so never
    0), at most 1: min(1, 2 (1 + min(#{d <= 0}, #{d >= 0})) / (1 + #d)). NaN values are left out;
    NaN when none is left.
    """
    kept = differences[np.isfinite(differences)]
    if not len(kept):
        return float("nan")
    beyond = min(int((kept <= 0).sum()), int((kept >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(kept)))


class DeLong(NamedTuple):
    """AUROCs of scores on the same records, and the covariance of these AUROCs."""

    auroc: Float[np.ndarray, "models"]
    covariance: Float[np.ndarray, "models models"]


def _midranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 in each row, equal scores sharing the mean of their ranks."""
    ranks = np.empty(scores.shape)
    for row, values in enumerate(scores):
        _, at, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks[row] = (np.cumsum(count) - (count - 1) / 2)[at]
    return ranks


def delong(
    scores: Float[np.ndarray, "models records"],
    positive: Bool[np.ndarray, "records"],
    patients: Sequence[Hashable] | None = None,
) -> DeLong:
    """The AUROCs and their covariance without resampling, in O(n log n).

    DeLong, DeLong and Clarke-Pearson (1988) by the midranks of Sun and Xu (2014), with the
    components of one patient's records summed first, as Obuchowski (1997) does for clustered
    data. Without `patients`, or with one record a patient, it is DeLong's estimate exactly.
    NaN covariance with fewer than two patients that have positives, or negatives; NaN AUROCs
    without positives, or negatives.
    """
    models, n = len(scores), int(positive.sum())
    m = positive.size - n
    if n == 0 or m == 0:
        return DeLong(np.full(models, np.nan), np.full((models, models), np.nan))
    ranks = _midranks(scores)
    of_positive = (ranks[:, positive] - _midranks(scores[:, positive])) / m
    of_negative = 1 - (ranks[:, ~positive] - _midranks(scores[:, ~positive])) / n
    auroc = of_positive.mean(axis=1)

    rows = patient_rows(patients) if patients is not None else np.arange(positive.size)
    count = int(rows.max()) + 1
    parts = np.zeros((2, count, models))
    np.add.at(parts[0], rows[positive], (of_positive - auroc[:, None]).T / n)
    np.add.at(parts[1], rows[~positive], (of_negative - auroc[:, None]).T / m)
    with_positive = len(np.unique(rows[positive]))
    with_negative = len(np.unique(rows[~positive]))
    if with_positive < 2 or with_negative < 2:
        return DeLong(auroc, np.full((models, models), np.nan))
    shared = parts[0].T @ parts[1] * count / (count - 1)
    covariance = (
        parts[0].T @ parts[0] * with_positive / (with_positive - 1)
        + parts[1].T @ parts[1] * with_negative / (with_negative - 1)
        + shared
        + shared.T
    )
    return DeLong(auroc, covariance)


def delong_p(
    first: Float[np.ndarray, "records"],
    second: Float[np.ndarray, "records"],
    positive: Bool[np.ndarray, "records"],
    patients: Sequence[Hashable] | None = None,
) -> float:
    """Two-sided p-value of "both scores have the same AUROC" on the same records.

    1 when both rank alike; NaN where the variance of a difference cannot be estimated.
    """
    auroc, covariance = delong(np.stack([first, second]), positive, patients)
    difference = auroc[1] - auroc[0]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if difference == 0:
        return 1.0
    if not variance > 1e-15:
        return float("nan")
    return float(2 * ndtr(-abs(difference) / np.sqrt(variance)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment of a family of p-values; NaN stays NaN and counts not."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()
