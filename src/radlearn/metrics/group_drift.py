"""What the thresholds of validation, and the probabilities, do in a group and in all others."""

from typing import Any

import numpy as np
from jaxtyping import Int

from radlearn.metrics import calibration
from radlearn.metrics.classification import unmeasurable
from radlearn.metrics.measured import Measured, of_rows
from radlearn.metrics.statistics import Resamples, everything_once, finite, percentile_interval

SHARES = ("sensitivity", "specificity")


def drift(
    measured: Measured,
    rows: Int[np.ndarray, "rows"],
    rest: Int[np.ndarray, "others"],
    drawn: Resamples,
) -> dict[str, dict[str, Any]] | None:
    """For each column how its operating point and its calibration are in a group.

    Returns:
        None where the run has no thresholds. Else for each column "threshold", "sensitivity" and
        "specificity" (intervals), "sensitivity_gap" and "specificity_gap" (less those of the rest,
        on the same resamples), "ece", "brier", and "excess" (mean probability less the share of
        positives: above 0 the group is said to be sicker than it is). A column of one class has
        what can be measured; one without a threshold has no shares.
    """
    if measured.operating is None:
        return None
    return {
        name: _column(measured, at, rows, rest, drawn) for at, name in enumerate(measured.columns)
    }


def _column(
    measured: Measured, at: int, rows: np.ndarray, rest: np.ndarray, drawn: Resamples
) -> dict[str, Any]:
    assert measured.operating is not None
    truth, probability = measured.operating.truth[:, at], measured.operating.probability[:, at]
    threshold = float(measured.operating.threshold[at])
    inside, mine = of_rows(drawn, rows), (probability[rows], truth[rows])
    found: dict[str, Any] = {
        "threshold": finite(threshold),
        "reason": unmeasurable(truth[rows]),
        "ece": finite(calibration.expected_calibration_error(*mine)),
        "brier": calibration.brier(*mine, inside).as_json(),
        "excess": calibration.excess(*mine, inside).as_json(),
    }
    if not np.isfinite(threshold):
        return found
    own = calibration.shares_at(*mine, threshold, inside)
    other = calibration.shares_at(probability[rest], truth[rest], threshold, of_rows(drawn, rest))
    once = everything_once(measured.patients)
    now = calibration.shares_at(*mine, threshold, of_rows(once, rows))
    then = calibration.shares_at(probability[rest], truth[rest], threshold, of_rows(once, rest))
    for column, share in enumerate(SHARES):
        value = now[0, column]
        found[share] = percentile_interval(float(value), own[:, column]).as_json()
        away = own[:, column] - other[:, column]
        found[f"{share}_gap"] = percentile_interval(float(value - then[0, column]), away).as_json()
    return found
