"""A learning curve, score = a - b n^-c, fitted to runs on few labels and carried on to more.

Inverse power laws describe how scores grow with labelled examples (Cortes et al. 1994; Figueroa et
al. 2012). For each exponent c of a grid, a and b follow by weighted least squares under
b >= 0 (more labels never hurt) and a at most what the metric can be, which is exact and quick.

A resample draws the test patients, the same for all runs, and the noise of training: normal, with
the spread of runs that differ in their seed alone (each amount's own, drawn towards that of all
amounts, since two or three seeds tell little of a spread) and its own uncertainty (a scaled
chi-squared for the variance). From four amounts on, what scatters more about the curve than seeds
explain is added. The curve is fitted again to each resample; intervals are percentiles.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from radlearn.metrics.statistics import Interval, percentile_interval

EXPONENTS = np.geomspace(0.05, 2.0, 48)
"""From almost a straight line over log n to a curve that is over at once."""

FEWEST_AMOUNTS = 3
SHRUNK = 3.0
"""As many seeds more does the common spread count as, beside an amount's own."""


class Runs(NamedTuple):
    """What runs that differ in labels and seed alone scored; higher is better.

    Attributes:
        labels: labelled training records of each run.
        score: of each run.
        resampled: of each run on resamples of the test patients, the same for all.
        bounds: the least and the most that the score can be; may be infinite.
    """

    labels: Int[np.ndarray, "runs"]
    score: Float[np.ndarray, "runs"]
    resampled: Float[np.ndarray, "resamples runs"]
    bounds: tuple[float, float]

    def of(self, chosen: Bool[np.ndarray, "runs"]) -> "Runs":
        """Some of the runs."""
        return Runs(self.labels[chosen], self.score[chosen], self.resampled[:, chosen], self.bounds)


class Amounts(NamedTuple):
    """The runs of each amount of labels together, by rising amount.

    Attributes:
        spread: standard deviation between seeds of each amount; 0 where no amount has two.
        freedom: degrees of freedom of the common spread.
    """

    labels: Int[np.ndarray, "amounts"]
    runs: Int[np.ndarray, "amounts"]
    score: Float[np.ndarray, "amounts"]
    resampled: Float[np.ndarray, "resamples amounts"]
    spread: Float[np.ndarray, "amounts"]
    freedom: int


class Curves(NamedTuple):
    """score(n) = a - b (n / unit)^-c, one a resample."""

    a: Float[np.ndarray, "curves"]
    b: Float[np.ndarray, "curves"]
    c: Float[np.ndarray, "curves"]
    unit: float

    def at(self, labels: Sequence[float] | np.ndarray) -> Float[np.ndarray, "curves places"]:
        """The score with each number of labels."""
        x = (np.asarray(labels, np.float64) / self.unit)[None] ** -self.c[:, None]
        return self.a[:, None] - self.b[:, None] * x


class Fitted(NamedTuple):
    """The curve of the runs, and those of the resamples.

    Attributes:
        scores: of each amount in each resample, to which the resample's curve was fitted.
        misfit: standard deviation of the amounts' scores about the curve that seeds and patients
            do not explain.
        slope: change of the score as the labels double, by a straight line over log n.
    """

    amounts: Amounts
    curve: Curves
    resampled: Curves
    scores: Float[np.ndarray, "resamples amounts"]
    misfit: float
    slope: Interval

    def predict(self, labels: float) -> Interval:
        """The score with so many labels, with its interval."""
        return percentile_interval(
            float(self.curve.at([labels])[0, 0]), self.resampled.at([labels])[:, 0]
        )

    def gain(self, labels: float) -> Interval:
        """What so many labels are worth beside the most that there are now."""
        places = [float(self.amounts.labels[-1]), labels]
        return percentile_interval(
            float(np.diff(self.curve.at(places)[0])[0]), np.diff(self.resampled.at(places))[:, 0]
        )


def amounts_of(runs: Runs) -> Amounts:
    """Put the runs of one amount together."""
    labels, at = np.unique(runs.labels, return_inverse=True)
    count = np.bincount(at)
    mean = np.bincount(at, runs.score) / count
    square = np.bincount(at, (runs.score - mean[at]) ** 2)
    freedom = int((count - 1).sum())
    common = square.sum() / max(freedom, 1)
    variance = (SHRUNK * common + square) / (SHRUNK + count - 1) if freedom else 0 * square
    together = np.zeros((len(at), len(labels)))
    together[np.arange(len(at)), at] = 1 / count[at]
    return Amounts(labels, count, mean, runs.resampled @ together, np.sqrt(variance), freedom)


def fit_curve(runs: Runs, seed: int = 0) -> Fitted:
    """Fit the curve to the runs and to their resamples; at least `FEWEST_AMOUNTS` amounts."""
    amounts = amounts_of(runs)
    resamples, count = amounts.resampled.shape
    rng = np.random.default_rng(seed)
    training = amounts.spread**2 / amounts.runs
    # what all amounts share moves the curve as a whole, and leaves its shape
    alone = amounts.resampled - amounts.resampled.mean(axis=1, keepdims=True)
    variance = training + alone.var(axis=0)
    variance = np.maximum(variance, max(1e-4 * variance.mean(), 1e-12))
    misfit = _misfit(amounts, variance, runs.bounds)
    weight = 1 / (variance + misfit**2)
    curve = _least_squares(amounts.score[None], amounts.labels, weight, runs.bounds)
    unsure = np.ones(resamples)
    if amounts.freedom:
        unsure = amounts.freedom / np.asarray(rng.chisquare(amounts.freedom, resamples))
    noise = np.sqrt(training[None] * unsure[:, None] + misfit**2)
    scores = amounts.resampled + noise * rng.normal(size=(resamples, count))
    return Fitted(
        amounts,
        curve,
        _least_squares(scores, amounts.labels, weight, runs.bounds),
        scores,
        misfit,
        percentile_interval(
            float(_slope(amounts.score[None], amounts.labels, weight)[0]),
            _slope(scores, amounts.labels, weight),
        ),
    )


class BackTest(NamedTuple):
    """The largest amount as the smaller ones foretell it, and as it was.

    `error` is the prediction less the score, on the same resamples.
    """

    labels: int
    predicted: Interval
    scored: Interval
    error: Interval


def back_test(runs: Runs, seed: int = 0) -> BackTest | None:
    """Predict the largest amount from the others; None with fewer than four amounts."""
    labels = np.unique(runs.labels)
    if len(labels) <= FEWEST_AMOUNTS:
        return None
    less = fit_curve(runs.of(runs.labels < labels[-1]), seed)
    predicted = less.predict(float(labels[-1]))
    whole = amounts_of(runs)
    scored = float(whole.score[-1])
    noise = np.random.default_rng(seed + 1).normal(size=len(whole.resampled))
    drawn = whole.resampled[:, -1] + noise * whole.spread[-1] / np.sqrt(whole.runs[-1])
    away = less.resampled.at([float(labels[-1])])[:, 0] - drawn
    return BackTest(
        int(labels[-1]),
        predicted,
        percentile_interval(scored, drawn),
        percentile_interval(predicted.value - scored, away),
    )


def _least_squares(
    scores: Float[np.ndarray, "curves amounts"],
    labels: Int[np.ndarray, "amounts"],
    weight: Float[np.ndarray, "amounts"],
    bounds: tuple[float, float],
) -> Curves:
    """The best curve for each row of scores."""
    unit = float(labels[-1])
    x = (labels / unit)[None] ** -EXPONENTS[:, None]
    weight = weight / weight.sum()
    middle = (scores @ weight)[:, None]
    away, most = scores - middle, bounds[1] - middle
    mean_x, mean_xx = x @ weight, np.square(x) @ weight
    mean_xy = (away * weight) @ x.T
    slope = np.minimum(mean_xy / (mean_xx - mean_x**2), 0)
    top = -slope * mean_x
    # beyond what the metric can be: end there, and let the slope follow
    held = np.minimum((mean_xy - most * mean_x) / mean_xx, 0) if np.isfinite(bounds[1]) else slope
    slope, top = np.where(top > most, held, slope), np.minimum(top, most)
    loss = top**2 + 2 * slope * (top * mean_x - mean_xy) + slope**2 * mean_xx
    best = loss.argmin(axis=1)
    rows = np.arange(len(scores))
    return Curves(top[rows, best] + middle[:, 0], -slope[rows, best], EXPONENTS[best], unit)


def _slope(scores: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted least squares of the score over log2 of the labels."""
    x = np.log2(labels)
    x = x - x @ weight / weight.sum()
    slope: np.ndarray = scores @ (weight * x) / (weight @ x**2)
    return slope


def _misfit(amounts: Amounts, variance: np.ndarray, bounds: tuple[float, float]) -> float:
    """By moments: what the residuals are beyond their expectation, all parameters fitted."""
    weight = 1 / variance
    curve = _least_squares(amounts.score[None], amounts.labels, weight, bounds)
    spare = len(amounts.labels) - (3 if curve.b[0] > 0 else 1)  # a flat line has its height alone
    if not spare:
        return 0.0
    residual = amounts.score - curve.at(amounts.labels)[0]
    beyond = float(weight @ residual**2) - spare
    return float(np.sqrt(max(beyond, 0) / weight.sum() * len(weight) / spare))
