"""The bootstrap over patients and DeLong's test, against brute force and known truths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from radlearn.errors import InputError
from radlearn.metrics.classification import rankings
from radlearn.metrics.statistics import (
    bootstrap_p,
    bootstrap_patients,
    delong,
    delong_p,
    holm,
    percentile_interval,
)


def components(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components from the definition, all pairs one by one."""
    x, y = scores[positive][:, None], scores[~positive][None, :]
    wins = (x > y) + 0.5 * (x == y)
    return wins.mean(axis=1), wins.mean(axis=0)


@given(st.integers(0, 2**32), st.integers(2, 20), st.integers(2, 20), st.integers(2, 40))
@settings(max_examples=100, deadline=None)
def test_delong_is_its_definition_with_ties(seed: int, n: int, m: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(n + m) < n)
    scores = rng.integers(0, values, size=(2, n + m)).astype(float)
    v10, v01 = (np.stack(v) for v in zip(*(components(s, positive) for s in scores), strict=True))
    found = delong(scores, positive)
    np.testing.assert_allclose(found.auroc, v10.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(v10) / n + np.cov(v01) / m, atol=1e-12)


def simulated(
    rng: np.random.Generator, patients: int, images: int, spread: float = 0.0
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Two scores, truth and patients; `spread` is the part of the score that patients share."""
    sick = np.repeat(rng.random(patients) < 0.4, images)
    shared = np.repeat(rng.normal(size=patients), images) * spread
    own = rng.normal(size=(2, patients * images)) + rng.normal(size=patients * images)
    return own + shared + 1.5 * sick, sick, np.repeat(np.arange(patients), images).tolist()


@pytest.mark.parametrize("images", [1, 4])
def test_delong_agrees_with_the_bootstrap_over_patients(images: int) -> None:
    scores, sick, patients = simulated(np.random.default_rng(1), 300, images, spread=2.0)
    truth = np.repeat(sick[:, None].astype(float), 2, axis=1)
    drawn = rankings(scores.T, truth, bootstrap_patients(patients, 2000, seed=0)).auroc
    found = delong(scores, sick, patients)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx(drawn.std(axis=0), rel=0.08)
    variance = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
    assert np.sqrt(variance) == pytest.approx((drawn[:, 1] - drawn[:, 0]).std(), rel=0.08)


def test_patients_of_several_images_widen_intervals() -> None:
    scores, sick, patients = simulated(np.random.default_rng(2), 60, 5, spread=2.0)
    truth = sick[:, None].astype(float)

    def width(units: list[int]) -> float:
        drawn = rankings(scores[:1].T, truth, bootstrap_patients(units, 500, seed=0)).auroc[:, 0]
        interval = percentile_interval(0.5, drawn)
        return interval.high - interval.low

    assert width(patients) > 1.5 * width(list(range(len(patients))))
    as_images, as_patients = delong(scores, sick), delong(scores, sick, patients)
    assert as_patients.covariance[0, 0] > 2 * as_images.covariance[0, 0]


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    true, covered = norm.cdf(1.2 / np.sqrt(2)), 0
    for _ in range(120):
        truth = (np.arange(160) < 60).astype(float)[:, None]
        scores = rng.normal(size=(160, 1)) + 1.2 * truth
        resamples = bootstrap_patients(range(160), 200, seed=int(rng.integers(1 << 30)))
        interval = percentile_interval(true, rankings(scores, truth, resamples).auroc[:, 0])
        covered += interval.low <= true <= interval.high
    assert 0.90 <= covered / 120 <= 0.99


def test_p_values_of_equally_good_scores_are_uniform() -> None:
    rng = np.random.default_rng(6)
    by_delong, by_bootstrap = [], []
    for _ in range(120):
        scores, sick, patients = simulated(rng, 80, 2, spread=1.0)
        by_delong.append(delong_p(scores[0], scores[1], sick, patients))
        truth = np.repeat(sick[:, None].astype(float), 2, axis=1)
        resamples = bootstrap_patients(patients, 120, seed=int(rng.integers(1 << 30)))
        drawn = rankings(scores.T, truth, resamples).auroc
        by_bootstrap.append(bootstrap_p(drawn[:, 1] - drawn[:, 0]))
    for p in (np.array(by_delong), np.array(by_bootstrap)):
        assert (p < 0.05).mean() <= 0.1
        assert 0.4 < np.median(p) < 0.6


def test_a_clear_difference_is_found() -> None:
    rng = np.random.default_rng(7)
    sick = rng.random(400) < 0.5
    good, bad = rng.normal(size=400) + 2 * sick, rng.normal(size=400)
    assert delong_p(bad, good, sick) < 1e-6


def test_scores_that_rank_alike_have_p_one() -> None:
    rng = np.random.default_rng(8)
    sick, scores = rng.random(50) < 0.5, rng.normal(size=50)
    assert delong_p(scores, 3 * scores + 1, sick) == 1
    assert bootstrap_p(np.zeros(100)) == 1


def test_what_cannot_be_estimated_is_nan() -> None:
    sick = np.array([True, False, False])
    scores = np.array([0.9, 0.1, 0.7])
    assert np.isnan(delong(scores[None], sick).covariance).all()
    assert np.isnan(delong(scores[None], np.ones(3, dtype=bool)).auroc).all()
    assert np.isnan(delong_p(scores, -scores, sick))
    assert np.isnan(bootstrap_p(np.array([np.nan])))


def test_the_bootstrap_draws_patients_by_its_seed() -> None:
    patients = ["a", "b", "a", "c"]
    one, again, other = (bootstrap_patients(patients, 50, seed) for seed in (1, 1, 2))
    assert (one.counts.sum(axis=1) == 3).all()
    assert one.patient.tolist() == [0, 1, 0, 2]
    assert (one.counts == again.counts).all()
    assert (one.counts != other.counts).any()
    assert one.counts.mean() == pytest.approx(1)


def test_totals_are_sums_over_the_drawn_records() -> None:
    rng = np.random.default_rng(9)
    values, patients = rng.normal(size=(30, 2)), rng.integers(0, 8, 30).tolist()
    resamples = bootstrap_patients(patients, 70, seed=3)
    weights = resamples.counts[:, resamples.patient].astype(float)
    np.testing.assert_allclose(resamples.totals(values), weights @ values)


def test_dropped_resamples_are_counted() -> None:
    interval = percentile_interval(0.5, np.array([0.4, np.nan, 0.6, np.nan]))
    assert (interval.resamples, interval.dropped) == (2, 2)
    nothing = percentile_interval(np.nan, np.array([np.nan])).as_json()
    assert nothing["value"] is nothing["low"] is None
    assert percentile_interval(1.0, np.ones(9)).as_json()["degenerate"] is True


def test_holm_is_the_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.5, float("nan"), 0.9])
    assert adjusted[0] == adjusted[2] == 1.0
    assert np.isnan(adjusted[1])


@pytest.mark.parametrize(("patients", "resamples"), [([], 10), (["a"], 0)])
def test_nothing_to_draw_is_an_input_error(patients: list[str], resamples: int) -> None:
    with pytest.raises(InputError, match="bootstrap needs"):
        bootstrap_patients(patients, resamples, seed=0)
