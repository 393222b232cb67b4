"""What a fitted learning curve says, in numbers that JSON holds and in plain lines."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from radlearn.metrics.learning_curve import BackTest, Fitted, Runs
from radlearn.metrics.statistics import Interval, finite, percentile_interval

NEAR = 0.05
"""An interval reaches the bound when it leaves less than this share of what is missing now."""
AT_BOUND = 0.1
"""From this share on it is said that resamples end at the bound."""
PLACES = 60
"""Points of the curve that are drawn."""


def facts_of(
    runs: Runs, fitted: Fitted, test: BackTest | None, times: Sequence[float], sign: int
) -> dict[str, Any]:
    """All that is known of the curve.

    Args:
        times: multiples of the largest amount of labels to predict.
        sign: 1, or -1 where the runs' scores were turned round since less is better.

    Returns:
        "amounts" (labels, runs, score, spread between seeds), "curve" (a, b, c, unit of
        score = a - b (n / unit)^-c, "ceiling", the interval of a, and "at_bound", the
        share of resamples in which a is the best that there can be), "slope" (a doubling's worth
        by a straight line over log n), "misfit", "predictions" (times, labels, score, gain,
        "reaches_bound"), "back_test" or None, "drawn" (points of curve and band) and "notes",
        lines that say how far to trust it.
    """
    largest = int(fitted.amounts.labels[-1])
    predictions = [_prediction(fitted, runs, one, sign) for one in sorted(set(times))]
    curve = fitted.curve
    ceiling = percentile_interval(float(curve.a[0]), fitted.resampled.a)
    facts = {
        "amounts": _amounts(fitted, sign),
        "curve": {
            "a": sign * float(curve.a[0]),
            "b": sign * float(curve.b[0]),
            "c": float(curve.c[0]),
            "unit": curve.unit,
            "ceiling": _turned(ceiling, sign),
            "at_bound": float((fitted.resampled.a >= runs.bounds[1] - 1e-9).mean()),
        },
        "bounds": [finite(sign * bound) for bound in runs.bounds[::sign]],
        "slope": _turned(fitted.slope, sign),
        "misfit": fitted.misfit,
        "predictions": predictions,
        "back_test": _tested(test, sign),
        "drawn": _drawn(fitted, largest * max(times), sign),
    }
    return facts | {"notes": _notes(fitted, facts, abs(runs.bounds[1]))}


def _turned(one: Interval, sign: int) -> dict[str, Any]:
    if sign < 0:
        one = one._replace(value=-one.value, low=-one.high, high=-one.low)
    return one.as_json()


def _amounts(fitted: Fitted, sign: int) -> list[dict[str, Any]]:
    amounts = fitted.amounts
    return [
        {
            "labels": int(amounts.labels[at]),
            "runs": int(amounts.runs[at]),
            "score": _turned(
                percentile_interval(float(amounts.score[at]), fitted.scores[:, at]), sign
            ),
            "spread": float(amounts.spread[at]) if amounts.freedom else None,
        }
        for at in range(len(amounts.labels))
    ]


def _prediction(fitted: Fitted, runs: Runs, times: float, sign: int) -> dict[str, Any]:
    labels = float(fitted.amounts.labels[-1]) * times
    score = fitted.predict(labels)
    missing = runs.bounds[1] - float(fitted.amounts.score[-1])
    return {
        "times": times,
        "labels": round(labels),
        "score": _turned(score, sign),
        "gain": _turned(fitted.gain(labels), sign),
        "reaches_bound": bool(runs.bounds[1] - score.high <= NEAR * missing < np.inf),
    }


def _tested(test: BackTest | None, sign: int) -> dict[str, Any] | None:
    if test is None:
        return None
    return {
        "labels": test.labels,
        "predicted": _turned(test.predicted, sign),
        "scored": _turned(test.scored, sign),
        "error": _turned(test.error, sign),
        "within": bool(test.error.low <= 0 <= test.error.high),
    }


def _drawn(fitted: Fitted, furthest: float, sign: int) -> dict[str, list[float]]:
    labels = np.geomspace(float(fitted.amounts.labels[0]), furthest, PLACES)
    band = np.quantile(sign * fitted.resampled.at(labels), [0.025, 0.975], axis=0)
    return {
        "labels": labels.tolist(),
        "score": (sign * fitted.curve.at(labels)[0]).tolist(),
        "low": band[0].tolist(),
        "high": band[1].tolist(),
    }


def _notes(fitted: Fitted, facts: dict[str, Any], best: float) -> list[str]:
    notes = []
    amounts = fitted.amounts
    slope = facts["slope"]
    if fitted.slope.low <= 0:
        notes.append(
            "flat: the scores do not surely rise with the labels that there are (a doubling is "
            f"worth {slope['value']:+.4f}, {slope['low']:+.4f} to {slope['high']:+.4f}), so "
            "what is foretold rests on little"
        )
    for one in facts["predictions"]:
        where = f"{one['times']:g} times the labels"
        reached = float(amounts.score.max() - amounts.score.min())
        if one["reaches_bound"]:
            notes.append(
                f"not identified: at {where} the interval reaches {best:g}, the best that there "
                "can be; these runs do not say where the curve ends"
            )
        elif one["gain"]["high"] - one["gain"]["low"] > max(reached, 1e-3):
            notes.append(
                f"not identified: at {where} the gain's interval is wider than all that labels "
                f"have gained so far ({reached:.3f}); run more seeds, or score more patients"
            )
    if (share := facts["curve"]["at_bound"]) > AT_BOUND:
        notes.append(
            f"not identified: in {share:.0%} of the resamples the curve climbs to {best:g}, the "
            "best that there can be; where it ends is decided by that bound and not by the runs"
        )
    if not amounts.freedom:
        notes.append(
            "no amount has two seeds: the noise of training is not in the intervals"
            + (", but for what scatters about the curve" if fitted.misfit else "")
            + "; run two or three seeds of each"
        )
    test = facts["back_test"]
    if test is None:
        notes.append("not tested: a back-test needs four different numbers of labels")
    elif not test["within"]:
        notes.append(
            f"the back-test failed: fewer labels foretold {test['predicted']['value']:.3f} for "
            f"{test['labels']:,}, and it was {test['scored']['value']:.3f}; do not rely on this"
        )
    return notes
