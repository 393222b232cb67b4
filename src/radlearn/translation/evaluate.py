"""What a finished translation is worth, and which of two is better, on the same slices."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from radlearn.errors import InputError
from radlearn.evaluate import Kind
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import write_json
from radlearn.metrics.finished import fingerprint_of, names_of, one_fingerprint, refuse_single
from radlearn.metrics.slice_scores import SCORES, SliceScores, slice_scores_of
from radlearn.metrics.slice_tables import print_differences, print_translation
from radlearn.metrics.slices import describe, difference_over, score_over
from radlearn.metrics.statistics import finite, holm
from radlearn.report.page import Section
from radlearn.report.translation_comparison import differences, side_by_side

SETTINGS = ("split", "resamples", "seed")


def evaluate_translation(run: Path, config: EvaluateConfig) -> dict[str, Any]:
    """Score a finished translation and write `run/evaluation.json`.

    The score of a patient is the mean over its slices with foreground, that of the run the mean
    over its patients. `metrics.slices` says how the intervals come about.

    Returns:
        What was written: "step" that was scored, "slices" with foreground and "empty" ones
        without, "patients", "fingerprint" of the split, "scores" (each of `SCORES` to what
        `score_over` returns), "intervals" (what was drawn, in a sentence), and "config".

    Raises:
        InputError: the run is not finished, or has no scores of the split or step.
    """
    scored = slice_scores_of(run, config.split, config.step)
    scores = {
        name: score_over(_one_seed(scored, name), config.resamples, config.seed) for name in SCORES
    }
    evaluation = {
        "format": 1,
        "mission": "translation",
        "run": run.resolve().name,
        "step": scored.step,
        "fingerprint": fingerprint_of(run, config.split),
        "slices": len(scored.ids),
        "empty": scored.empty,
        "patients": len(set(scored.patients)),
        "config": {key: asdict(config)[key] for key in SETTINGS},
        "scores": scores,
        "intervals": describe(*scores.values()),
    }
    write_json(run / "evaluation.json", evaluation)
    return evaluation


def compare_translations(runs: Sequence[Path], config: EvaluateConfig) -> dict[str, Any]:
    """Differences of every score between each two runs, slice by slice, second less first.

    Returns:
        "runs" (their names), counts, settings, and "pairs": for each two runs "first", "second",
        "intervals" (a sentence) and "scores" (name to what `difference_over` returns; "p_holm" is
        adjusted over the scores in "overall", over the patients in "patients").

    Raises:
        InputError: fewer than two runs, one that is not finished, other slices or steps, or
            another fingerprint: with the reason.
    """
    refuse_single(runs)
    scored = [slice_scores_of(run, config.split, config.step) for run in runs]
    for run, other in zip(runs, scored, strict=True):
        _refuse_unless_same(runs[0], run, scored[0], other)
    fingerprint = one_fingerprint(runs, config.split)
    names = names_of(runs)
    return {
        "format": 1,
        "mission": "translation",
        "runs": names,
        "fingerprint": fingerprint,
        "steps": [one.step for one in scored],
        "slices": len(scored[0].ids),
        "patients": len(set(scored[0].patients)),
        "config": {key: asdict(config)[key] for key in SETTINGS},
        "pairs": [
            {"first": names[i], "second": names[j]} | _difference(scored[i], scored[j], config)
            for i, j in combinations(range(len(runs)), 2)
        ],
    }


def _difference(one: SliceScores, other: SliceScores, config: EvaluateConfig) -> dict[str, Any]:
    scores = {
        name: difference_over(
            _one_seed(one, name), _one_seed(other, name), config.resamples, config.seed
        )
        for name in SCORES
    }
    _adjust([found["overall"] for found in scores.values()])
    for found in scores.values():
        _adjust(list(found["patients"].values()))
    return {"scores": scores, "intervals": describe(*scores.values())}


def _adjust(family: Sequence[dict[str, Any]]) -> None:
    """Holm's adjustment of a family of p-values, beside them."""
    p_values = [float("nan") if one["p"] is None else one["p"] for one in family]
    for one, p in zip(family, holm(p_values), strict=True):
        one["p_holm"] = finite(p)


def _one_seed(scored: SliceScores, name: str) -> dict[str, np.ndarray]:
    return {patient: values[None] for patient, values in scored.by_patient(name).items()}


def _refuse_unless_same(first: Path, second: Path, a: SliceScores, b: SliceScores) -> None:
    """Raise `InputError` with the reason unless both scored the same slices and targets."""
    both = f"runs {first} and {second} cannot be compared"
    left, right = (set(zip(one.ids, one.slices, strict=True)) for one in (a, b))
    if left != right:
        raise InputError(
            f"{both}: {len(left - right)} slices are in the first alone and {len(right - left)} in "
            "the second alone; score both on the same split of the same store"
        )
    groups = [list(zip(one.ids, one.slices, one.patients, strict=True)) for one in (a, b)]
    if groups[0] != groups[1]:
        raise InputError(
            f"{both}: their stores group the slices into different patients; use one store"
        )
    if not np.allclose(a.foreground, b.foreground, atol=1e-6):
        raise InputError(
            f"{both}: their targets differ, by the share of foreground; prepare both alike"
        )


def _scored(comparison: Mapping[str, Any]) -> str:
    return f"{comparison['slices']:,} slices of {comparison['patients']:,} patients"


def _sections(
    evaluations: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any]
) -> list[Section]:
    return [side_by_side(evaluations), *differences(comparison)]


TRANSLATIONS = Kind(
    score=evaluate_translation,
    show=print_translation,
    compare=compare_translations,
    show_differences=print_differences,
    scored=_scored,
    sections=_sections,
    refused={"labels": "--labels is for fine-tuned runs; translations are scored on all measures"},
)
