"""Scores of classes, levels and numbers against scikit-learn and scipy, and their resamples."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    mean_absolute_error,
    r2_score,
)

from radlearn.errors import InputError
from radlearn.files import write_json
from radlearn.metrics.confusion import class_scores, confusion, level_scores
from radlearn.metrics.statistics import Resamples, bootstrap_patients, everything_once
from radlearn.metrics.targets import answers_of, differences_of, intervals_of, scores_of
from radlearn.metrics.values import r_squared, value_scores

seeds = st.integers(0, 2**32)


def places(seed: int, n: int = 40, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth, called = rng.integers(0, classes, (2, n)).astype(np.float64)
    truth[:classes] = np.arange(classes)
    return truth, np.where(rng.random(n) < 0.5, truth, called)


@given(seeds)
def test_classes_and_levels_as_scikit_learn_scores_them(seed: int) -> None:
    truth, called = places(seed)
    counts = confusion(truth, called, 4, everything_once(range(40)))
    classes, levels = class_scores(counts), level_scores(counts)
    assert classes.accuracy[0] == pytest.approx((truth == called).mean())
    assert classes.balanced_accuracy[0] == pytest.approx(balanced_accuracy_score(truth, called))
    assert classes.kappa[0] == pytest.approx(cohen_kappa_score(truth, called))
    weighted = cohen_kappa_score(truth, called, weights="quadratic")
    assert levels.kappa[0] == pytest.approx(weighted)
    assert levels.mae[0] == pytest.approx(mean_absolute_error(truth, called))
    assert levels.within_one[0] == pytest.approx((np.abs(truth - called) <= 1).mean())


@given(seeds)
def test_numbers_as_scikit_learn_and_scipy_score_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(20, 60, 30).astype(np.float64)
    predicted = np.round(truth + rng.normal(0, 15, 30))
    found = value_scores(truth, predicted, everything_once(range(30)))
    assert found.mae[0] == pytest.approx(mean_absolute_error(truth, predicted))
    assert found.rmse[0] == pytest.approx(np.sqrt(np.mean((truth - predicted) ** 2)))
    assert found.r2[0] == pytest.approx(r2_score(truth, predicted))
    assert found.spearman[0] == pytest.approx(spearmanr(truth, predicted).statistic)
    assert found.bias[0] == pytest.approx((predicted - truth).mean())


@given(seeds)
def test_a_resample_scores_as_its_records_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, 6, 25).tolist()
    truth, predicted = rng.normal(size=25), rng.normal(size=25).round(1)
    resamples = bootstrap_patients(patients, 3, seed % 1000)
    drawn = value_scores(truth, predicted, resamples)
    for at, counts in enumerate(resamples.counts):
        rows = np.repeat(np.arange(25), counts[resamples.patient])
        once = value_scores(truth[rows], predicted[rows], everything_once(range(len(rows))))
        for own, other in zip(drawn, once, strict=True):
            assert own[at] == pytest.approx(other[0], nan_ok=True, abs=1e-9)


def test_what_is_not_known_is_left_out_and_one_value_has_no_r2() -> None:
    truth, predicted = np.array([1.0, np.nan, 3.0]), np.array([2.0, 9.0, 3.0])
    found = value_scores(truth, predicted, everything_once(range(3)))
    assert found.mae[0] == 0.5
    assert np.isnan(r_squared(np.array([5.0, 5.0]), np.array([4.0, 6.0])))
    nothing = value_scores(np.array([np.nan]), np.array([1.0]), everything_once(range(1)))
    assert np.isnan([*nothing]).all()


def test_a_single_class_has_no_kappa_and_no_error_is_raised() -> None:
    once = everything_once(range(4))
    counts = confusion(np.zeros(4), np.zeros(4), 3, once)
    assert class_scores(counts).accuracy[0] == 1
    assert np.isnan(class_scores(counts).kappa[0])
    assert np.isnan(level_scores(counts).kappa[0])


def predictions(run: Path, task: str, off: int = 0) -> Path:
    """A finished run of 12 records of 6 patients."""
    run.mkdir()
    write_json(run / "results.json", {"finished": True})
    about = {"split": ["test"] * 12, "id": [f"r{i:02}" for i in range(12)],
             "patient": [f"p{i // 2}" for i in range(12)]}  # fmt: skip
    if task == "continuous":
        said = {"truth": [float(i) for i in range(11)] + [None],
                "predicted": [float(i + off) for i in range(12)]}  # fmt: skip
    else:
        names = ["low", "mid", "high"]
        said = {"class": [names[i % 3] for i in range(11)] + [None],
                "called": [names[(i + (off if i < 4 else 0)) % 3] for i in range(12)]}  # fmt: skip
        said |= {f"probability:{name}": [1 / 3] * 12 for name in names}
    pl.DataFrame(about | said, strict=False).write_parquet(run / "predictions.parquet")
    return run


@pytest.mark.parametrize("task", ["single-label", "ordinal", "continuous"])
def test_a_run_is_scored_and_compared(tmp_path: Path, task: str) -> None:
    good = answers_of(predictions(tmp_path / "good", task), task, "test")
    bad = answers_of(predictions(tmp_path / "bad", task, off=1), task, "test")
    resamples = bootstrap_patients(good.patients, 200, 0)
    best = intervals_of(good, resamples)
    name = {"single-label": "accuracy", "ordinal": "kappa", "continuous": "r2"}[task]
    assert best[name]["value"] == 1
    found = intervals_of(bad, resamples)[name]
    assert found["low"] <= found["value"] <= found["high"]
    difference = differences_of(good, bad, resamples)[name]
    assert difference["difference"]["value"] < 0
    assert difference["p_bootstrap"] <= difference["p_bootstrap_holm"]
    if task == "single-label":
        kept = Resamples(resamples.counts, resamples.patient)
        assert np.isfinite(scores_of(good, kept)["balanced_accuracy"]).any()


def test_a_run_of_something_else_is_refused(tmp_path: Path) -> None:
    run = predictions(tmp_path / "run", "continuous")
    with pytest.raises(InputError, match="no column class"):
        answers_of(run, "ordinal", "test")
    with pytest.raises(InputError, match="no val predictions"):
        answers_of(run, "continuous", "val")
