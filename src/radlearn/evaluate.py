"""`radlearn evaluate`: what a finished run's predictions are worth, and which run's are better."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from radlearn.errors import InputError
from radlearn.files import read_json, write_json
from radlearn.metrics import calibration
from radlearn.metrics.classification import (
    mean_over,
    precision_recall_curve,
    rankings,
    roc_curve,
    unmeasurable,
)
from radlearn.metrics.differences import difference, refuse_unless_same, score
from radlearn.metrics.predictions import (
    Predictions,
    finished_results,
    mistakes,
    of_split,
    predictions_of,
    read_predictions,
)
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
from radlearn.report.overview import overview_page
from radlearn.report.page import Section

__all__ = [
    "EvaluateConfig",
    "Predictions",
    "compare_runs",
    "evaluate",
    "evaluate_run",
    "finished_results",
    "mistakes",
    "predictions_of",
    "print_comparison",
    "print_evaluation",
]


@dataclass(frozen=True)
class EvaluateConfig:
    """Score finished runs, with 95 % intervals over patients; two or more: their differences.

    Example: radlearn evaluate runs/lora runs/full --out difference.json
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Finished runs, of fine-tuning or of translation."""
    split: Literal["val", "test"] = "test"
    """Which records are scored."""
    resamples: int = 1000
    """Bootstrap resamples, drawn by patient; of few patients' slices, by block of neighbours."""
    seed: int = 0
    """Seed of the resamples."""
    rule: str = "youden"
    """Operating point, chosen on validation: youden, f1 or sensitivity>=X."""
    labels: tuple[str, ...] = ()
    """Only these labels; default: all."""
    step: int | None = None
    """Of translations: the step whose scores count; default: the last."""
    out: Path | None = None
    """Where the differences of the runs are written, as JSON and, beside it, as a page."""

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise InputError(f"{self.resamples} resamples make no interval; 1000 do")
        if self.seed < 0:
            raise InputError(f"--seed is 0 or above, not {self.seed}")
        calibration.check_rule(self.rule)


def evaluate(config: EvaluateConfig) -> None:
    """Score and print each run, then the differences of each two.

    Raises:
        InputError: no run was given, or runs of two missions; see also `evaluate_run`,
            `compare_runs`, and their likes in `translation.evaluate`.
    """
    if not config.runs:
        raise InputError("no run was given; make one with: radlearn finetune")
    if config.out is not None and len(config.runs) < 2:
        raise InputError("--out is for the differences of runs; give two runs or more")
    if _are_translations(config.runs):
        from radlearn.translation.evaluate import evaluate_translations

        evaluate_translations(config)
        return
    if config.step is not None:
        raise InputError("--step is for translations; fine-tuned runs are scored at their best")
    evaluations = {run.resolve().name: evaluate_run(run, config) for run in config.runs}
    for evaluation in evaluations.values():
        print_evaluation(evaluation)
    if len(config.runs) > 1:
        comparison = compare_runs(config.runs, config)
        print_comparison(comparison)
        if config.out is not None:
            write_json(config.out, comparison)
            sections = [*side_by_side(evaluations), differences(comparison)]
            write_comparison(config, f"{comparison['records']:,} records", sections)


def _are_translations(runs: Sequence[Path]) -> bool:
    """Whether all runs are translations, or none is.

    Raises:
        InputError: some are.
    """
    translations = {run for run in runs if _mission(run) == "translation"}
    if translations and (others := [run for run in runs if run not in translations]):
        raise InputError(
            f"{others[0]} is no translation and {next(iter(translations))} is one; evaluate runs "
            "of one mission together"
        )
    return bool(translations)


def _mission(run: Path) -> str | None:
    path = run / "config.json"
    config = read_json(path, "a run") if path.exists() else None
    return config.get("mission") if isinstance(config, dict) else None


def write_comparison(config: EvaluateConfig, scored: str, sections: Sequence[Section]) -> None:
    """The page of runs side by side, beside `config.out`.

    Args:
        scored: what they were scored on, in words.
        sections: of the page.

    Raises:
        InputError: the page cannot be written.
    """
    assert config.out is not None
    overview_page(
        config.out.with_suffix(".html"),
        "Runs side by side",
        {"Scored on": f"{config.split}, {scored}"},
        sections,
        {run.resolve().name: run / "report.html" for run in config.runs},
        command=f"radlearn evaluate {' '.join(map(str, config.runs))} --out {config.out}",
    )


def evaluate_run(run: Path, config: EvaluateConfig) -> dict[str, Any]:
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
    results = finished_results(run)
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
        "format": 1,
        "run": run.resolve().name,
        "fingerprint": _fingerprint(results, config.split),
        "records": len(scored.ids),
        "patients": resamples.patients,
        "config": {key: asdict(config)[key] for key in ("split", "resamples", "seed", "rule")},
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


def _fingerprint(results: dict[str, Any], split: str) -> str | None:
    fingerprint: str | None = results.get("fingerprints", {}).get(split)
    return fingerprint


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


def compare_runs(runs: Sequence[Path], config: EvaluateConfig) -> dict[str, Any]:
    """Differences of AUROC between each two runs on the same records, second less first.

    Returns:
        "runs" (their names), "labels" (those that all runs have), counts, settings, and "pairs":
        for each two runs "first", "second", "labels" (name to difference with interval,
        p_bootstrap, p_delong and both after Holm) and "mean".

    Raises:
        InputError: fewer than two runs, one that is not finished, other records, another
            fingerprint or truth, or no label in common: with the reason.
    """
    if len(runs) < 2:
        raise InputError(f"a comparison needs two runs or more, not {len(runs)}")
    fingerprints = [_fingerprint(finished_results(run), config.split) for run in runs]
    predictions = [predictions_of(run, config.split, config.labels) for run in runs]
    labels = [n for n in predictions[0].labels if all(n in other.labels for other in predictions)]
    if not labels:
        raise InputError(f"runs {', '.join(map(str, runs))} have no label in common")
    predictions = [one.only(labels) for one in predictions]
    for run, other, fingerprint in zip(runs, predictions, fingerprints, strict=True):
        refuse_unless_same(runs[0], run, predictions[0], other)
        if fingerprint != fingerprints[0]:
            raise InputError(
                f"runs {runs[0]} and {run} cannot be compared: the fingerprints of their "
                f"{config.split} splits differ; score both on the same split"
            )
    resamples = bootstrap_patients(predictions[0].patients, config.resamples, config.seed)
    scored = [score(one, resamples) for one in predictions]
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    return {
        "format": 1,
        "runs": names,
        "labels": labels,
        "fingerprint": fingerprints[0],
        "records": len(predictions[0].ids),
        "patients": resamples.patients,
        "config": {key: asdict(config)[key] for key in ("split", "resamples", "seed")},
        "pairs": [
            {"first": names[i], "second": names[j]} | difference(scored[i], scored[j])
            for i, j in combinations(range(len(runs)), 2)
        ],
    }
