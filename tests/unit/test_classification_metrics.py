"""AUROC and average precision against scikit-learn, with ties, weights and missing labels."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from radlearn.metrics.classification import (
    auroc,
    auroc_each,
    average_precision,
    mean_auroc,
    precision_recall_curve,
    rankings,
    roc_curve,
    unmeasurable,
)
from radlearn.metrics.statistics import Resamples, bootstrap_patients


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, truth with missing labels, patients of several records, counts."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.integers(0, draw(st.integers(1, 60)), size=(n, 2)) / 7 - 3
    truth = rng.choice([0.0, 1.0, np.nan], size=(n, 2), p=[0.5, 0.3, 0.2])
    patient = rng.integers(0, max(1, n // 2), size=n)
    counts = rng.integers(0, 4, size=(5, max(1, n // 2))).astype(np.uint8)
    return scores.astype(np.float32), truth, patient, counts


@given(cases())
@settings(max_examples=80, deadline=None)
def test_every_resample_has_the_scores_of_scikit_learn_with_sample_weights(
    case: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, truth, patient, counts = case
    found = rankings(scores, truth, Resamples(counts, patient))
    for resample in range(len(counts)):
        weight = counts[resample, patient].astype(float)
        for label in range(2):
            s, y = scores[:, label], truth[:, label]
            use = np.isfinite(y) & (weight > 0)
            got = found.auroc[resample, label], found.average_precision[resample, label]
            if len(np.unique(y[use])) < 2:
                assert np.isnan(got).all()
                continue
            assert got[0] == pytest.approx(
                roc_auc_score(y[use], s[use], sample_weight=weight[use]), abs=1e-12
            )
            assert got[1] == pytest.approx(
                average_precision_score(y[use], s[use], sample_weight=weight[use]), abs=1e-12
            )


def test_every_resample_is_scored_as_its_repeated_records() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=(60, 1)), rng.integers(0, 2, (60, 1)).astype(float)
    resamples = bootstrap_patients(list(range(60)), 150, seed=1)
    found = rankings(scores, truth, resamples).auroc[:, 0]
    for resample in (0, 31, 32, 149):
        drawn = np.repeat(np.arange(60), resamples.counts[resample])
        assert found[resample] == pytest.approx(roc_auc_score(truth[drawn, 0], scores[drawn, 0]))


def test_infinite_scores_rank_like_any_other() -> None:
    scores, truth = np.array([-np.inf, 0.0, np.inf, np.inf]), np.array([0.0, 1.0, 1.0, 0.0])
    assert auroc(scores, truth) == pytest.approx((1 + 0 + 1 + 0.5) / 4)


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        ([1.0, 1.0, np.nan], "one class only: all 2 labelled records are positive"),
        ([0.0, np.nan, np.nan], "one class only: all 1 labelled records are negative"),
        ([np.nan, np.nan, np.nan], "no record is labelled"),
    ],
)
def test_one_class_is_not_measurable_and_says_why(truth: list[float], reason: str) -> None:
    scores = np.array([0.1, 0.2, 0.3])
    assert np.isnan(auroc(scores, np.array(truth)))
    assert np.isnan(average_precision(scores, np.array(truth)))
    assert unmeasurable(np.array(truth)) == reason


def test_the_mean_is_over_the_labels_with_both_classes() -> None:
    scores = np.array([[0.1, 0.3, 0.0], [0.9, 0.2, 0.0], [0.5, 0.1, 0.0]])
    truth = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=float)
    assert auroc_each(scores, truth)[:2].tolist() == [1.0, 0.5]
    assert mean_auroc(scores, truth) == 0.75
    assert np.isnan(mean_auroc(scores[:, 2:], truth[:, 2:]))


def test_curves_are_thin_and_keep_the_area_under_them() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random(5000) < 0.1).astype(float)
    truth[:200] = np.nan
    scores = rng.normal(size=5000) + np.nan_to_num(truth)
    fpr, tpr = roc_curve(scores, truth)
    assert len(fpr) <= 200
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auroc(scores, truth), abs=5e-3)
    recall, precision = precision_recall_curve(scores, truth)
    assert len(recall) <= 200
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(np.nanmean(truth))
    assert (np.diff(recall) >= 0).all()


def test_a_thousand_resamples_of_nih_take_seconds() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random((20_000, 14)) < 0.3).astype(float)
    resamples = bootstrap_patients(rng.integers(0, 8000, 20_000).tolist(), 100, seed=0)
    start = time.process_time()
    rankings(rng.normal(size=truth.shape) + truth, truth, resamples)
    assert 10 * (time.process_time() - start) < 10
