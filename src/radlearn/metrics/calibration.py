"""Whether probabilities mean what they say, and the threshold that turns them into an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from radlearn.errors import InputError
from radlearn.metrics.statistics import Interval, Resamples, percentile_interval

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """The occupied bins of a reliability plot: mean probability, share of positives, records."""

    predicted: Float[np.ndarray, "bins"]
    observed: Float[np.ndarray, "bins"]
    count: Int[np.ndarray, "bins"]


def reliability(
    probability: Float[np.ndarray, "records"],
    truth: Float[np.ndarray, "records"],
    bins: int = BINS,
) -> Reliability:
    """Bin the labelled records into `bins` equal widths of [0, 1], the last one closed above.

    Bin i holds i/bins <= p < (i + 1)/bins; empty bins are left out.
    """
    labelled = np.isfinite(truth)
    p, y = probability[labelled].astype(np.float64), truth[labelled].astype(np.float64)
    at = np.minimum((p * bins).astype(np.int64), bins - 1)
    count = np.bincount(at, minlength=bins)
    some = count > 0
    predicted = np.bincount(at, p, minlength=bins)[some] / count[some]
    observed = np.bincount(at, y, minlength=bins)[some] / count[some]
    return Reliability(predicted, observed, count[some])


def expected_calibration_error(
    probability: Float[np.ndarray, "records"],
    truth: Float[np.ndarray, "records"],
    bins: int = BINS,
) -> float:
    """The mean over records of |mean probability - share of positives| of the record's bin.

    Bins as in `reliability` (Naeini et al. 2015; for the positive class, not the top class).
    Biased upwards when records are few. In [0, 1]; NaN when no record is labelled.
    """
    found = reliability(probability, truth, bins)
    if not len(found.count):
        return float("nan")
    return float(np.average(np.abs(found.predicted - found.observed), weights=found.count))


def brier(
    probability: Float[np.ndarray, "records"],
    truth: Float[np.ndarray, "records"],
    resamples: Resamples,
) -> Interval:
    """The mean squared difference of probability and truth (Brier 1950), in [0, 1]."""
    labelled = np.isfinite(truth)
    error = np.where(labelled, probability - np.where(labelled, truth, 0), 0).astype(np.float64)
    return _shares([error**2], [labelled], resamples)[0]


def excess(
    probability: Float[np.ndarray, "records"],
    truth: Float[np.ndarray, "records"],
    resamples: Resamples,
) -> Interval:
    """The mean probability less the share of positives, over the labelled records; 0 is right."""
    labelled = np.isfinite(truth)
    away = np.where(labelled, probability - np.where(labelled, truth, 0), 0).astype(np.float64)
    return _shares([away], [labelled], resamples)[0]


def _shares(
    parts: Sequence[np.ndarray], wholes: Sequence[np.ndarray], resamples: Resamples
) -> list[Interval]:
    """Ratios of sums over records, with intervals; NaN where a whole is 0."""
    columns = np.stack([*parts, *wholes], axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.divide(*np.split(columns.sum(axis=0), 2))
        resampled = np.divide(*np.split(resamples.totals(columns), 2, axis=1))
    return [percentile_interval(float(v), r) for v, r in zip(value, resampled.T, strict=True)]


def _youden(found: np.ndarray, false: np.ndarray) -> int:
    return int(np.argmax(found / found[-1] - false / false[-1]))


def _f1(found: np.ndarray, false: np.ndarray) -> int:
    return int(np.argmax(2 * found / (found[-1] + found + false)))


def _sensitivity(least: float) -> Callable[[np.ndarray, np.ndarray], int]:
    return lambda found, _: int(np.argmax(found >= least * found[-1] - 1e-9))


def _rule(rule: str) -> Callable[[np.ndarray, np.ndarray], int]:
    """Pick a threshold from true and false positives at thresholds that fall."""
    if rule == "youden":
        return _youden
    if rule == "f1":
        return _f1
    name, _, number = rule.partition(">=")
    try:
        least = float(number) if name.strip() == "sensitivity" else float("nan")
    except ValueError:
        least = float("nan")
    if not 0 < least <= 1:
        raise InputError(
            f"no rule {rule!r} for an operating point; use youden, f1 or sensitivity>=X with X "
            "above 0 and at most 1, as in sensitivity>=0.9"
        )
    return _sensitivity(least)


def check_rule(rule: str) -> None:
    """Raise `InputError` unless `rule` is one that `choose_threshold` knows."""
    _rule(rule)


def choose_threshold(
    probability: Float[np.ndarray, "records"], truth: Float[np.ndarray, "records"], rule: str
) -> float:
    """The operating point on these (validation) records: positive is `probability >= threshold`.

    Rules: "youden" has the largest sensitivity + specificity - 1, "f1" the largest F1,
    "sensitivity>=X" the largest threshold that keeps the sensitivity at X or above. Of equals the
    highest threshold is taken. The threshold lies halfway to the next lower probability, so that
    rounding on another device does not turn an answer over.

    Returns:
        The threshold, NaN when the label has one class only.

    Raises:
        InputError: there is no such rule.
    """
    pick = _rule(rule)
    labelled = np.isfinite(truth)
    values, at = np.unique(-probability[labelled].astype(np.float64), return_inverse=True)
    values, positive = -values, truth[labelled] == 1
    if positive.all() or not positive.any():
        return float("nan")
    best = pick(np.cumsum(np.bincount(at, positive)), np.cumsum(np.bincount(at, ~positive)))
    if best + 1 == len(values):
        return float(values[best])
    halfway = (values[best] + values[best + 1]) / 2
    return float(halfway if halfway > values[best + 1] else values[best])


class OperatingPoint(NamedTuple):
    """What a threshold does on records that it was not chosen on."""

    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval


def apply_threshold(
    probability: Float[np.ndarray, "records"],
    truth: Float[np.ndarray, "records"],
    threshold: float,
    resamples: Resamples,
) -> OperatingPoint:
    """Sensitivity, specificity and predictive values at a given threshold, by patient bootstrap.

    The intervals are for this threshold: that another validation set would have given another one
    is not in them. A share of nothing (no positive answer, say) is NaN.
    """
    answer = probability.astype(np.float64) >= threshold
    positive, negative = truth == 1, truth == 0

    known = positive | negative
    wholes = [positive, negative, answer & known, ~answer & known]
    parts = [answer & positive, ~answer & negative, answer & positive, ~answer & negative]
    return OperatingPoint(*_shares(parts, wholes, resamples))


def shares_at(
    probability: Float[np.ndarray, "records"],
    truth: Float[np.ndarray, "records"],
    threshold: float,
    resamples: Resamples,
) -> Float[np.ndarray, "resamples 2"]:
    """Sensitivity and specificity at a threshold in each resample, NaN where one is not defined."""
    answer = probability.astype(np.float64) >= threshold
    positive, negative = truth == 1, truth == 0
    columns = np.stack([answer & positive, ~answer & negative, positive, negative], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(*np.split(resamples.totals(columns.astype(np.float64)), 2, axis=1))
