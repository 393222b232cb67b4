"""Scores of labels: AUROC, average precision, calibration, operating points, and differences."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from radlearn.errors import InputError
from radlearn.evaluate import Kind
from radlearn.evaluation.heads import comparison_head, evaluation_head
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import write_json
from radlearn.metrics import calibration
from radlearn.metrics.classification import (
    mean_over,
    precision_recall_curve,
    rankings,
    roc_curve,
    unmeasurable,
)
from radlearn.metrics.differences import difference, refuse_unless_same, score
from radlearn.metrics.finished import refuse_single
from radlearn.metrics.measured import Measured, measured_labels
from radlearn.metrics.predictions import Predictions, of_split, predictions_of, read_predictions
from radlearn.metrics.statistics import (
    Interval,
    Resamples,
    bootstrap_patients,
    everything_once,
    finite,
    percentile_interval,
)
from radlearn.metrics.tables import print_comparison, print_evaluation
from radlearn.report.comparison import differences, side_by_side
from radlearn.report.page import Section


def score_labels(run: Path, config: EvaluateConfig) -> dict[str, Any]:
    """Score a finished run and write `run/evaluation.json`.

    AUROC and average precision rank by the logit, which does not saturate; calibration and
    operating points use the probability. Intervals are 95 % percentile intervals of the bootstrap
    over patients. The mean is over the labels that have both classes, and its resamples are those
    in which all of these have both. What cannot be measured is None, with a reason.

    Returns:
        What was written: "labels" (name to scores), "mean", "curves" (name to points), "records",
        "patients", "fingerprint" of the split, and "config" with the seed.

    Raises:
        InputError: the run is not finished, or has no predictions for the split or a label.
    """
    scored = predictions_of(run, config.split, config.labels)
    val = of_split(read_predictions(run), "val").only(scored.labels)
    resamples = bootstrap_patients(scored.patients, config.resamples, config.seed)
    once = rankings(scored.logit, scored.truth, everything_once(scored.patients))
    drawn = rankings(scored.logit, scored.truth, resamples)
    aurocs = _intervals(once.auroc[0], drawn.auroc)
    precisions = _intervals(once.average_precision[0], drawn.average_precision)
    labels = {
        name: {
            **_counts(scored, at),
            "reason": unmeasurable(scored.truth[:, at]),
            "auroc": aurocs[at].as_json(),
            "average_precision": precisions[at].as_json(),
            **_calibration(scored, at, resamples),
            "operating_point": _operating_point(at, val, scored, resamples, config),
        }
        for at, name in enumerate(scored.labels)
    }
    evaluation = {
        **evaluation_head(run, config, len(scored.ids), resamples.patients, "rule"),
        "labels": labels,
        "mean": {
            "labels": [name for name in scored.labels if labels[name]["reason"] is None],
            "auroc": aurocs[-1].as_json(),
            "average_precision": precisions[-1].as_json(),
        },
        "curves": {name: _curves(scored, at) for at, name in enumerate(scored.labels)},
    }
    write_json(run / "evaluation.json", evaluation)
    return evaluation


def _intervals(point: np.ndarray, resampled: np.ndarray) -> list[Interval]:
    """Each label's interval, and last that of the mean over the labels that can be measured."""
    measured = np.isfinite(point)
    points = [*point, mean_over(point[None], measured)[0]]
    columns = [*resampled.T, mean_over(resampled, measured)]
    return [
        percentile_interval(float(value), column)
        for value, column in zip(points, columns, strict=True)
    ]


def _counts(scored: Predictions, label: int) -> dict[str, int]:
    truth = scored.truth[:, label]
    known = np.isfinite(truth)
    return {
        "records": int(known.sum()),
        "patients": len({p for p, there in zip(scored.patients, known, strict=True) if there}),
        "positives": int((truth == 1).sum()),
    }


def _calibration(scored: Predictions, label: int, resamples: Resamples) -> dict[str, Any]:
    probability, truth = scored.probability[:, label], scored.truth[:, label]
    return {
        "ece": finite(calibration.expected_calibration_error(probability, truth)),
        "brier": calibration.brier(probability, truth, resamples).as_json(),
    }


def _operating_point(
    label: int, val: Predictions, scored: Predictions, resamples: Resamples, config: EvaluateConfig
) -> dict[str, Any]:
    """The threshold chosen on `val` and what it does on `scored`."""
    about = {"rule": config.rule, "chosen_on": "val", "scored_on": config.split}
    probability, truth = val.probability[:, label], val.truth[:, label]
    reason = unmeasurable(truth)
    if reason is not None:
        return about | {"threshold": None, "reason": f"validation: {reason}"}
    threshold = calibration.choose_threshold(probability, truth, config.rule)
    shares = calibration.apply_threshold(
        scored.probability[:, label], scored.truth[:, label], threshold, resamples
    )
    named = {name: share.as_json() for name, share in shares._asdict().items()}
    return about | {"threshold": threshold, "reason": None} | named


def _curves(scored: Predictions, label: int) -> dict[str, Any]:
    """Points to draw, at most 200 a curve; a label of one class has the reliability plot alone."""
    logit, truth = scored.logit[:, label], scored.truth[:, label]
    bins = calibration.reliability(scored.probability[:, label], truth)
    curves = {"reliability": {name: values.tolist() for name, values in asdict(bins).items()}}
    if unmeasurable(truth) is None:
        fpr, tpr = roc_curve(logit, truth)
        recall, precision = precision_recall_curve(logit, truth)
        curves["roc"] = {"fpr": fpr.tolist(), "tpr": tpr.tolist()}
        curves["precision_recall"] = {"recall": recall.tolist(), "precision": precision.tolist()}
    return curves


def compare_labels(runs: Sequence[Path], config: EvaluateConfig) -> dict[str, Any]:
    """Differences of AUROC between each two runs on the same records, second less first.

    Returns:
        "runs" (their names), "labels" (those that all runs have), counts, settings, and "pairs":
        for each two runs "first", "second", "labels" (name to difference with interval,
        p_bootstrap, p_delong and both after Holm) and "mean".

    Raises:
        InputError: fewer than two runs, one that is not finished, other records, another
            fingerprint or truth, or no label in common: with the reason.
    """
    refuse_single(runs)
    predictions = [predictions_of(run, config.split, config.labels) for run in runs]
    labels = [n for n in predictions[0].labels if all(n in other.labels for other in predictions)]
    if not labels:
        raise InputError(f"runs {', '.join(map(str, runs))} have no label in common")
    predictions = [one.only(labels) for one in predictions]
    for run, other in zip(runs, predictions, strict=True):
        refuse_unless_same(runs[0], run, predictions[0], other)
    resamples = bootstrap_patients(predictions[0].patients, config.resamples, config.seed)
    head = comparison_head(runs, config, len(predictions[0].ids), resamples.patients)
    scored, names = [score(one, resamples) for one in predictions], head["runs"]
    return {
        **head,
        "labels": labels,
        "pairs": [
            {"first": names[i], "second": names[j]} | difference(scored[i], scored[j])
            for i, j in combinations(range(len(runs)), 2)
        ],
    }


def measured(run: Path, config: EvaluateConfig) -> Measured:
    """AUROC of each label, and the thresholds that `config.rule` chooses on validation.

    Raises:
        InputError: see `score_labels`.
    """
    scored = predictions_of(run, config.split, config.labels)
    val = of_split(read_predictions(run), "val").only(scored.labels)
    return measured_labels(
        scored,
        np.array(
            [
                calibration.choose_threshold(probability, truth, config.rule)
                if unmeasurable(truth) is None
                else np.nan
                for probability, truth in zip(val.probability.T, val.truth.T, strict=True)
            ]
        ),
    )


def _sections(
    evaluations: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any]
) -> list[Section]:
    return [*side_by_side(evaluations), differences(comparison)]


LABELS = Kind(
    score=score_labels,
    show=print_evaluation,
    compare=compare_labels,
    show_differences=print_comparison,
    scored=lambda comparison: f"{comparison['records']:,} records",
    sections=_sections,
    refused={"step": "--step is for translations; fine-tuned runs are scored at their best"},
    measured=measured,
)
