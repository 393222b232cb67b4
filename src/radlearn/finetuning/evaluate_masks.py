"""What a finished segmentation is worth, and which of two is better, on the same records."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from radlearn.evaluate import Kind
from radlearn.evaluation.heads import comparison_head, evaluation_head
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import write_json
from radlearn.metrics.finished import refuse_single
from radlearn.metrics.mask_scores import (
    difference_over,
    mask_scores_of,
    refuse_unless_same,
    score_over,
)
from radlearn.metrics.mask_tables import print_differences, print_masks
from radlearn.metrics.measured import Measured, measured_column
from radlearn.metrics.statistics import bootstrap_patients
from radlearn.report.page import Section
from radlearn.report.segmentation import differences_section, side_by_side

ELSEWHERE = "on"
"""Folder of a run for what it answered on other stores."""


def evaluate_segmentation(run: Path, config: EvaluateConfig) -> dict[str, Any]:
    """Score a finished segmentation and write `run/evaluation.json`.

    Returns:
        What was written: "classes" (name to "positives", "missed" ones drawn empty,
        "false_alarms", and "scores": measure to interval over patients), "mean" over the classes,
        "records", "patients", "fingerprint" of the split, and "config" with the seed.

    Raises:
        InputError: the run is not finished, or has no scores of the split.
    """
    scored = mask_scores_of(run, config.split)
    resamples = bootstrap_patients(scored.patients, config.resamples, config.seed)
    found = score_over(scored, resamples)
    there, drawn = scored.truth > 0, scored.predicted > 0
    evaluation = {
        **evaluation_head(run, config, len(scored.ids), resamples.patients),
        "task": "segmentation",
        "run": _name(run),
        "classes": {
            name: {
                "positives": int(there[:, at].sum()),
                "missed": int((there & ~drawn)[:, at].sum()),
                "false_alarms": int((~there & drawn)[:, at].sum()),
                "scores": {measure: rows[at] for measure, rows in found.items()},
            }
            for at, name in enumerate(scored.classes)
        },
        "mean": {"scores": {measure: rows[-1] for measure, rows in found.items()}},
    }
    write_json(run / "evaluation.json", evaluation)
    return evaluation


def compare_segmentations(runs: Sequence[Path], config: EvaluateConfig) -> dict[str, Any]:
    """Differences of every measure between each two runs, record by record, second less first.

    Returns:
        "runs" (their names), counts, settings, and "pairs": for each two runs "first", "second",
        "classes" (name to measure to what `difference_over` gives) and "mean".

    Raises:
        InputError: fewer than two runs, one that is not finished, other records, another
            fingerprint or truth: with the reason.
    """
    refuse_single(runs)
    scored = [mask_scores_of(run, config.split) for run in runs]
    for run, other in zip(runs, scored, strict=True):
        refuse_unless_same(runs[0], run, scored[0], other)
    resamples = bootstrap_patients(scored[0].patients, config.resamples, config.seed)
    head = comparison_head(runs, config, len(scored[0].ids), resamples.patients)
    names = head["runs"]
    pairs = []
    for i, j in combinations(range(len(runs)), 2):
        found = difference_over(scored[i], scored[j], resamples)
        classes = {
            name: {measure: rows[at] for measure, rows in found.items()}
            for at, name in enumerate(scored[0].classes)
        }
        mean = {measure: rows[-1] for measure, rows in found.items()}
        pairs.append({"first": names[i], "second": names[j], "classes": classes, "mean": mean})
    return {**head, "task": "segmentation", "pairs": pairs}


def measured(run: Path, config: EvaluateConfig) -> Measured:
    """The Dice of each class and record, for groups and learning curves."""
    scored = mask_scores_of(run, config.split)
    dice = dict(zip(scored.classes, scored.values["dice"].T, strict=True))
    return measured_column("Dice", scored.ids, scored.patients, dice)


def _name(run: Path) -> str:
    place = run.resolve()
    where = f"{place.parents[1].name} on " if place.parent.name == ELSEWHERE else ""
    return f"{where}{place.name}"


def _elsewhere(run: Path, store: Path, split: str) -> Path:
    from radlearn.finetuning.segmentation_elsewhere import answered_on  # it needs this module

    return answered_on(run, store, split)


def _scored(comparison: Mapping[str, Any]) -> str:
    return f"{comparison['records']:,} records of {comparison['patients']:,} patients"


def _sections(
    evaluations: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any]
) -> list[Section]:
    return [side_by_side(evaluations), differences_section(comparison)]


SEGMENTATIONS = Kind(
    score=evaluate_segmentation,
    show=print_masks,
    compare=compare_segmentations,
    show_differences=print_differences,
    scored=_scored,
    sections=_sections,
    refused={
        "labels": "--labels is not for segmentations, which are scored on all their classes",
        "rule": "--rule is for labels; a mask has no operating point",
        "step": "--step is for translations; fine-tuned runs are scored at their best",
    },
    measured=measured,
    elsewhere=_elsewhere,
)
