"""What a finished translation is worth, and which of two is better, on the same slices."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from radlearn.errors import InputError
from radlearn.evaluate import EvaluateConfig, write_comparison
from radlearn.files import write_json
from radlearn.metrics.predictions import finished_results
from radlearn.metrics.slice_scores import SCORES, SliceScores, slice_scores_of
from radlearn.metrics.slice_tables import print_differences, print_translation
from radlearn.metrics.slices import describe, difference_over, score_over
from radlearn.metrics.statistics import finite, holm
from radlearn.report.translation_comparison import differences, side_by_side

SETTINGS = ("split", "resamples", "seed")


def evaluate_translations(config: EvaluateConfig) -> None:
    """Score and print each run of `config`, then the differences of each two.

    Raises:
        InputError: a setting that translations do not have; see also `evaluate_translation` and
            `compare_translations`.
    """
    if config.labels:
        raise InputError("--labels is for fine-tuned runs; translations are scored on all measures")
    evaluations = {run.resolve().name: evaluate_translation(run, config) for run in config.runs}
    for evaluation in evaluations.values():
        print_translation(evaluation)
    if len(config.runs) > 1:
        comparison = compare_translations(config.runs, config)
        print_differences(comparison)
        if config.out is not None:
            write_json(config.out, comparison)
            what = f"{comparison['slices']:,} slices of {comparison['patients']:,} patients"
            sections = [side_by_side(evaluations), *differences(comparison)]
            write_comparison(config, what, sections)


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
    results = finished_results(run)
    scored = slice_scores_of(run, config.split, config.step)
    scores = {
        name: score_over(_one_seed(scored, name), config.resamples, config.seed) for name in SCORES
    }
    evaluation = {
        "format": 1,
        "mission": "translation",
        "run": run.resolve().name,
        "step": scored.step,
        "fingerprint": _fingerprint(results, config.split),
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
    if len(runs) < 2:
        raise InputError(f"a comparison needs two runs or more, not {len(runs)}")
    fingerprints = [_fingerprint(finished_results(run), config.split) for run in runs]
    scored = [slice_scores_of(run, config.split, config.step) for run in runs]
    for run, other, fingerprint in zip(runs, scored, fingerprints, strict=True):
        _refuse_unless_same(runs[0], run, scored[0], other)
        if fingerprint != fingerprints[0]:
            raise InputError(
                f"runs {runs[0]} and {run} cannot be compared: the fingerprints of their "
                f"{config.split} splits differ; score both on the same split"
            )
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    return {
        "format": 1,
        "mission": "translation",
        "runs": names,
        "fingerprint": fingerprints[0],
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


def _fingerprint(results: dict[str, Any], split: str) -> str | None:
    fingerprint: str | None = results.get("fingerprints", {}).get(split)
    return fingerprint


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
