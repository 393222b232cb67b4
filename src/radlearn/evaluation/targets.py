"""Scores of runs that learned one class, one level of a scale, or a number a picture."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from radlearn.evaluate import Kind
from radlearn.evaluation.heads import comparison_head, evaluation_head
from radlearn.evaluation.labels import measured as measured_labels
from radlearn.evaluation.labels import score_labels
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import write_json
from radlearn.metrics.confusion import confusion
from radlearn.metrics.differences import refuse_unless_same
from radlearn.metrics.finished import refuse_single
from radlearn.metrics.measured import Measured, Rows
from radlearn.metrics.statistics import Resamples, bootstrap_patients, everything_once
from radlearn.metrics.target_tables import print_target_differences, print_targets
from radlearn.metrics.targets import (
    MEASURES,
    Answers,
    answers_of,
    differences_of,
    intervals_of,
    scores_of,
)
from radlearn.report.finetuning_targets import differences_section, side_by_side

MOST_POINTS = 1000
"""Of a plot of predicted against true numbers."""


def score_targets(run: Path, config: EvaluateConfig, task: str) -> dict[str, Any]:
    """Score a finished run and write `run/evaluation.json`.

    Returns:
        What was written: "task", "scores" (name to interval over patients), "records",
        "patients", "fingerprint" of the split, "config" with the seed, and of classes their names
        and "confusion" (rows are true), of numbers "points" of (true, predicted). Of classes that
        exclude each other also all that labels have: see `score_labels`.

    Raises:
        InputError: the run is not finished, or has no predictions of the split.
    """
    answers = answers_of(run, task, config.split)
    resamples = bootstrap_patients(answers.patients, config.resamples, config.seed)
    found = evaluation_head(run, config, len(answers.ids), resamples.patients)
    if task == "single-label":
        found = score_labels(run, config)
    found |= {"task": task, "scores": intervals_of(answers, resamples)}
    if answers.classes:
        once = everything_once(answers.patients)
        counts = confusion(answers.truth, answers.said, len(answers.classes), once)[0]
        found |= {"classes": list(answers.classes), "confusion": counts.astype(int).tolist()}
    else:
        found["points"] = _points(answers)
    write_json(run / "evaluation.json", found)
    return found


def compare_targets(runs: Sequence[Path], config: EvaluateConfig, task: str) -> dict[str, Any]:
    """Differences of every score between each two runs on the same records, second less first.

    Returns:
        "task", "runs" (their names), counts, settings, and "pairs": for each two runs "first",
        "second" and "scores" (name to "values", "difference" with interval, p-values).

    Raises:
        InputError: fewer than two runs, one that is not finished, other records, another
            fingerprint or truth: with the reason.
    """
    refuse_single(runs)
    answers = [answers_of(run, task, config.split) for run in runs]
    for run, other in zip(runs, answers, strict=True):
        refuse_unless_same(runs[0], run, answers[0].as_predictions(), other.as_predictions())
    resamples = bootstrap_patients(answers[0].patients, config.resamples, config.seed)
    head = comparison_head(runs, config, len(answers[0].ids), resamples.patients)
    names = head["runs"]
    return {
        **head,
        "task": task,
        "pairs": [
            {
                "first": names[i],
                "second": names[j],
                "scores": differences_of(answers[i], answers[j], resamples),
            }
            for i, j in combinations(range(len(runs)), 2)
        ],
    }


def measured(run: Path, config: EvaluateConfig, task: str, name: str) -> Measured:
    """One score of `MEASURES` on any of the run's records, for groups and learning curves."""
    answers = answers_of(run, task, config.split)

    def score(rows: Rows, resamples: Resamples, at: Sequence[int]) -> np.ndarray:
        return scores_of(_of(answers, rows), resamples)[name][:, None].repeat(len(at), axis=1)

    def reason(rows: Rows) -> list[str | None]:
        some = _of(answers, rows)
        once = scores_of(some, everything_once(some.patients))[name] if len(rows) else [np.nan]
        return [None if np.isfinite(once[0]) else "too few records or one value only"]

    measure = MEASURES[task][name]
    bounds = (-1.0, 1.0) if measure.higher else (0.0, float("inf"))
    column = (name,) if answers.classes else (task,)
    return Measured(
        measure.title, column, answers.ids, answers.patients, score, reason, bounds,
        bool(measure.higher),
    )  # fmt: skip


def _of(answers: Answers, rows: Rows) -> Answers:
    return answers._replace(
        ids=[answers.ids[at] for at in rows],
        patients=[answers.patients[at] for at in rows],
        truth=answers.truth[rows],
        said=answers.said[rows],
    )


def _points(answers: Answers) -> list[list[float]]:
    """(true, predicted) of at most `MOST_POINTS` records, spread over the true numbers."""
    known = np.flatnonzero(np.isfinite(answers.truth))
    order = known[np.argsort(answers.truth[known], kind="stable")]
    count = min(len(order), MOST_POINTS)
    kept = order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]
    return np.stack([answers.truth[kept], answers.said[kept]], axis=1).tolist()


def _sections(
    evaluations: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any]
) -> list[Any]:
    return [side_by_side(evaluations), differences_section(comparison)]


def _kind(task: str, measure: Callable[[Path, EvaluateConfig], Measured]) -> Kind:
    refused = {"step": "--step is for translations; fine-tuned runs are scored at their best"}
    if task != "single-label":
        refused |= {
            "labels": f"--labels is not for {task} runs, which learned one thing",
            "rule": f"--rule is for labels; {task} runs have no operating point",
        }
    return Kind(
        score=partial(score_targets, task=task),
        show=print_targets,
        compare=partial(compare_targets, task=task),
        show_differences=print_target_differences,
        scored=lambda comparison: f"{comparison['records']:,} records",
        sections=_sections,
        refused=refused,
        measured=measure,
    )


CLASSES = _kind("single-label", measured_labels)
LEVELS = _kind("ordinal", partial(measured, task="ordinal", name="kappa"))
NUMBERS = _kind("continuous", partial(measured, task="continuous", name="mae"))
