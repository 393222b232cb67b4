"""`radlearn evaluate`: what a finished run's predictions are worth, and which run's are better."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from radlearn.errors import InputError
from radlearn.files import write_json
from radlearn.metrics import calibration
from radlearn.metrics.classification import (
    mean_over,
    precision_recall_curve,
    rankings,
    roc_curve,
    unmeasurable,
)
from radlearn.metrics.differences import difference, refuse_unless_same
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
    """Finished fine-tuning runs."""
    split: Literal["val", "test"] = "test"
    """Which records are scored."""
    resamples: int = 1000
    """Bootstrap resamples, drawn by patient."""
    seed: int = 0
    """Seed of the resamples."""
    rule: str = "youden"
    """Operating point, chosen on validation: youden, f1 or sensitivity>=X."""
    labels: tuple[str, ...] = ()
    """Only these labels; default: all."""
    out: Path | None = None
    """Where the differences of the runs are written, as JSON."""

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise InputError(f"{self.resamples} resamples make no interval; 1000 do")
        if self.seed < 0:
            raise InputError(f"--seed is 0 or above, not {self.seed}")
        calibration.check_rule(self.rule)


def evaluate(config: EvaluateConfig) -> None:
    """Score and print each run, then the differences of each two.

    Raises:
        InputError: no run was given; see also `evaluate_run` and `compare_runs`.
    """
    if not config.runs:
        raise InputError("no run was given; make one with: radlearn finetune")
    if config.out is not None and len(config.runs) < 2:
        raise InputError("--out is for the differences of runs; give two runs or more")
    for run in config.runs:
        print_evaluation(evaluate_run(run, config))
    if len(config.runs) > 1:
        comparison = compare_runs(config.runs, config)
        print_comparison(comparison)
        if config.out is not None:
            write_json(config.out, comparison)


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
        "patients": len(resamples.counts),
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
    scored = [predictions_of(run, config.split, config.labels) for run in runs]
    labels = [name for name in scored[0].labels if all(name in s.labels for s in scored)]
    if not labels:
        raise InputError(f"runs {', '.join(map(str, runs))} have no label in common")
    scored = [predictions.only(labels) for predictions in scored]
    for run, predictions, fingerprint in zip(runs, scored, fingerprints, strict=True):
        refuse_unless_same(runs[0], run, scored[0], predictions)
        if fingerprint != fingerprints[0]:
            raise InputError(
                f"runs {runs[0]} and {run} cannot be compared: the fingerprints of their "
                f"{config.split} splits differ; score both on the same split"
            )
    resamples = bootstrap_patients(scored[0].patients, config.resamples, config.seed)
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    return {
        "format": 1,
        "runs": names,
        "labels": labels,
        "fingerprint": fingerprints[0],
        "records": len(scored[0].ids),
        "patients": len(resamples.counts),
        "config": {key: asdict(config)[key] for key in ("split", "resamples", "seed")},
        "pairs": [
            {"first": names[i], "second": names[j]} | difference(scored[i], scored[j], resamples)
            for i, j in combinations(range(len(runs)), 2)
        ],
    }


def _text(interval: dict[str, Any], sign: str = "") -> str:
    """An interval for a table's cell; a star where it has no width."""
    if interval["value"] is None:
        return "–"
    value = f"{interval['value']:{sign}.3f}"
    if interval["low"] is None:
        return value
    star = "*" if interval["degenerate"] else ""
    return f"{value} [{interval['low']:{sign}.3f}, {interval['high']:{sign}.3f}]{star}"


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def print_evaluation(evaluation: dict[str, Any], console: Console | None = None) -> None:
    """Print the scores of `evaluate_run` as a table, a row a label."""
    console = console or Console()
    config = evaluation["config"]
    table = Table(
        title=f"{evaluation['run']}: {evaluation['records']} {config['split']} records of "
        f"{evaluation['patients']} patients",
        caption=f"95 % intervals over patients, {config['resamples']} resamples, seed "
        f"{config['seed']}; operating point by {config['rule']} on validation; "
        "* no resample differs",
    )
    for name in ("label", "positive", "AUROC", "average precision", "ECE", "Brier"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for name in ("sensitivity", "specificity"):
        table.add_column(name, justify="right")
    for label, scores in evaluation["labels"].items():
        point = scores["operating_point"]
        table.add_row(
            label,
            f"{scores['positives']}/{scores['records']}",
            _text(scores["auroc"]),
            _text(scores["average_precision"]),
            "–" if scores["ece"] is None else f"{scores['ece']:.3f}",
            _text(scores["brier"]).split(" ")[0],
            *(
                _text(point[name]) if name in point else "–"
                for name in ("sensitivity", "specificity")
            ),
        )
    mean = evaluation["mean"]
    table.add_section()
    table.add_row(
        f"mean of {len(mean['labels'])}", "", _text(mean["auroc"]), _text(mean["average_precision"])
    )
    console.print(table)
    for label, scores in evaluation["labels"].items():
        if scores["reason"] is not None:
            console.print(f"{label}: not measurable, {scores['reason']}", markup=False)


def print_comparison(comparison: dict[str, Any], console: Console | None = None) -> None:
    """Print the differences of `compare_runs`, a table a pair."""
    console = console or Console()
    for pair in comparison["pairs"]:
        table = Table(
            title=f"AUROC of {pair['second']} less {pair['first']}",
            caption=f"the same {comparison['records']} records of {comparison['patients']} "
            "patients; p of the paired bootstrap and of DeLong's test, Holm over labels",
        )
        for name in ("label", "difference", "p bootstrap", "Holm", "p DeLong", "Holm"):
            table.add_column(name, justify="left" if name == "label" else "right")
        keys = ("p_bootstrap", "p_bootstrap_holm", "p_delong", "p_delong_holm")
        for label, found in pair["labels"].items():
            table.add_row(label, _text(found["difference"], "+"), *(_p(found[k]) for k in keys))
        mean = pair["mean"]
        table.add_section()
        table.add_row(
            f"mean of {len(mean['labels'])}",
            _text(mean["difference"], "+"),
            _p(mean["p_bootstrap"]),
        )
        console.print(table)
