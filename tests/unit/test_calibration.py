"""Calibration and operating points, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, f1_score

from radlearn.errors import InputError
from radlearn.metrics.calibration import (
    apply_threshold,
    brier,
    choose_threshold,
    expected_calibration_error,
    reliability,
)
from radlearn.metrics.statistics import bootstrap_patients


def drawn(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.random(n).astype(np.float32)
    return probability, (rng.random(n) < probability).astype(float)


def test_reliability_is_scikit_learns() -> None:
    probability, truth = drawn(0)
    found = reliability(probability, truth, bins=10)
    observed, predicted = calibration_curve(truth, probability, n_bins=10)
    np.testing.assert_allclose(found.observed, observed)
    np.testing.assert_allclose(found.predicted, predicted)
    assert found.count.sum() == 300


def test_certain_and_wrong_is_the_worst_and_true_probabilities_are_near_zero() -> None:
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    assert expected_calibration_error(*drawn(1, 20_000)) < 0.02
    assert np.isnan(expected_calibration_error(np.array([0.5]), np.array([np.nan])))


def test_records_without_a_label_count_nowhere() -> None:
    probability, truth = drawn(2)
    more, gaps = np.append(probability, [0.3, 0.9]), np.append(truth, [np.nan, np.nan])
    assert expected_calibration_error(more, gaps) == expected_calibration_error(probability, truth)
    assert choose_threshold(more, gaps, "youden") == choose_threshold(probability, truth, "youden")
    everyone = bootstrap_patients(range(302), 200, seed=0)
    assert brier(more, gaps, everyone).value == pytest.approx(brier_score_loss(truth, probability))
    point = apply_threshold(more, gaps, 0.5, everyone)
    assert point.ppv.value == pytest.approx(truth[probability >= 0.5].mean())


def test_the_interval_of_brier_is_that_of_a_mean() -> None:
    probability, truth = drawn(3, 2000)
    found = brier(probability, truth, bootstrap_patients(range(2000), 1000, seed=0))
    error = 1.96 * ((probability - truth) ** 2).std() / np.sqrt(2000)
    assert found.high - found.value == pytest.approx(error, rel=0.15)
    assert found.value - found.low == pytest.approx(error, rel=0.15)


@given(st.integers(0, 2**32), st.integers(2, 30), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_no_threshold_does_better_by_the_rule(seed: int, n: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    probability = rng.integers(0, values + 1, n) / values
    truth = rng.integers(0, 2, n).astype(float)
    if len(np.unique(truth)) < 2:
        assert np.isnan(choose_threshold(probability, truth, "f1"))
        return

    def sensitivity(threshold: float) -> float:
        return float((probability >= threshold)[truth == 1].mean())

    def youden(threshold: float) -> float:
        return sensitivity(threshold) - float((probability >= threshold)[truth == 0].mean())

    def f1(threshold: float) -> float:
        return float(f1_score(truth, probability >= threshold, zero_division=0))

    candidates = np.unique(probability)
    chosen = choose_threshold(probability, truth, "youden")
    assert youden(chosen) == pytest.approx(max(map(youden, candidates)))
    chosen = choose_threshold(probability, truth, "f1")
    assert f1(chosen) == pytest.approx(max(map(f1, candidates)))
    chosen = choose_threshold(probability, truth, "sensitivity>=0.8")
    assert sensitivity(chosen) >= 0.8
    assert all(sensitivity(higher) < 0.8 for higher in candidates[candidates > chosen][1:])


def test_a_threshold_lies_between_probabilities() -> None:
    probability, truth = np.array([0.1, 0.2, 0.6, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])
    assert choose_threshold(probability, truth, "youden") == pytest.approx(0.4)
    assert choose_threshold(probability, truth, "sensitivity>=0.5") == pytest.approx(0.7)


def test_an_operating_point_by_hand() -> None:
    probability = np.array([0.9, 0.8, 0.3, 0.7, 0.2, 0.1])
    truth = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    point = apply_threshold(probability, truth, 0.5, bootstrap_patients(range(6), 300, seed=0))
    values = [share.value for share in point]
    assert values == pytest.approx([2 / 3] * 4)
    assert all(0 <= share.low < share.value < share.high <= 1 for share in point)


def test_a_share_of_nothing_is_nan() -> None:
    resamples = bootstrap_patients(range(2), 20, seed=0)
    point = apply_threshold(np.array([0.1, 0.2]), np.array([0.0, 0.0]), 0.5, resamples)
    assert np.isnan(point.sensitivity.value)
    assert np.isnan(point.ppv.value)
    assert point.specificity.value == 1


@pytest.mark.parametrize(
    "rule", ["", "best", "sensitivity", "sensitivity>=x", "sensitivity>=0", "sensitivity>=1.1"]
)
def test_an_unknown_rule_is_an_input_error(rule: str) -> None:
    with pytest.raises(InputError, match="no rule"):
        choose_threshold(np.array([0.1, 0.2]), np.array([0.0, 1.0]), rule)
