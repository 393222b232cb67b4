"""Many translations that differ in mode, misalignment, patient held apart and seed: who is better.

Two modes are held against each other after as many steps, and after as much time: a cycle costs a
multiple of one direction's step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from radlearn.errors import InputError
from radlearn.metrics.finished import finished_results
from radlearn.metrics.slice_scores import (
    LOWER_IS_BETTER,
    SCORES,
    read_slice_scores,
    slice_scores_of,
)
from radlearn.metrics.slices import difference_over, score_over

SPLIT = "test"

PatientScores = dict[str, Float[np.ndarray, "seeds _"]]


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished translation and what it scored on the patients whom its store held apart.

    Attributes:
        mode, level, store, seed: its place in the grid.
        steps: after which it was scored, rising.
        slices: (pair, position) of each slice with foreground.
        patients: whose each slice is.
        values: `slice_scores.SCORES` of each slice after each of `steps`.
        seconds: of a step, the median; None where it was not measured.
    """

    mode: str
    level: str
    store: str
    seed: int
    run: Path
    steps: tuple[int, ...]
    slices: list[tuple[str, int]]
    patients: list[str]
    foreground: Float[np.ndarray, "slices"]
    values: Float[np.ndarray, "steps slices scores"]
    seconds: float | None
    fingerprint: str | None

    def at(self, step: float) -> Float[np.ndarray, "slices scores"]:
        """The scores after `step` steps, slice by slice on the line between the two nearest that
        were scored; before the first, or after the last, those."""
        if len(self.steps) == 1:
            return self.values[0]
        after = int(np.clip(np.searchsorted(self.steps, step), 1, len(self.steps) - 1))
        first, second = self.steps[after - 1], self.steps[after]
        share = float(np.clip((step - first) / (second - first), 0, 1))
        return (1 - share) * self.values[after - 1] + share * self.values[after]


def read_trained(
    mode: str, level: str, store: str, seed: int, run: Path, names: Mapping[str, str]
) -> Trained:
    """Read a finished run of a grid.

    Args:
        names: of patients, by what the store holds in their place; those of others stay unknown.

    Raises:
        InputError: the run is not finished, or has no usable scores of its test pairs.
    """
    results = finished_results(run)
    table = read_slice_scores(run)
    steps = tuple(sorted(map(int, table["step"].unique())))
    scored = [slice_scores_of(run, SPLIT, step) for step in steps]
    slices = list(zip(scored[0].ids, scored[0].slices, strict=True))
    if any(list(zip(one.ids, one.slices, strict=True)) != slices for one in scored):
        raise InputError(f"run {run} scored other slices after other steps; translate again")
    return Trained(
        mode,
        level,
        store,
        seed,
        run,
        steps,
        slices,
        [names.get(patient, f"{store} {patient[:6]}") for patient in scored[0].patients],
        scored[0].foreground,
        np.stack([one.values for one in scored]),
        results.get("seconds_per_step"),
        results.get("fingerprints", {}).get(SPLIT),
    )


def refuse_unless_alike(runs: Sequence[Trained]) -> None:
    """Raise `InputError` unless all took as many steps and those of a store were scored alike."""
    first_of: dict[str, Trained] = {}
    store_of: dict[str, str] = {}
    for one in runs:
        first, of_store = runs[0], first_of.setdefault(one.store, one)
        for patient in dict.fromkeys(one.patients):
            if store_of.setdefault(patient, one.store) != one.store:
                raise InputError(
                    f"stores {store_of[patient]} and {one.store} both hold {patient} apart; each "
                    "patient is scored once in a table: use one folder for each"
                )
        if one.steps != first.steps:
            raise InputError(
                f"runs {first.run} and {one.run} were scored after other steps, up to "
                f"{first.steps[-1]} and {one.steps[-1]}; use one folder for each number of steps"
            )
        same = (one.slices, one.patients) == (of_store.slices, of_store.patients)
        if not same or one.fingerprint != of_store.fingerprint:
            raise InputError(
                f"runs {of_store.run} and {one.run} were scored on different splits; use one "
                "folder for each"
            )
        if not np.allclose(one.foreground, of_store.foreground, atol=1e-6):
            raise InputError(
                f"runs {of_store.run} and {one.run} were scored against other targets; prepare "
                "their stores alike"
            )


def by_patient(
    runs: Sequence[Trained], score: str, step: float | None = None
) -> tuple[PatientScores, dict[str, str]]:
    """One of `SCORES` of runs of one mode and level: a row a seed, a column a slice.

    Args:
        step: after how many steps; default: after all.

    Returns:
        The scores of each patient, and the store of each.
    """
    rows: dict[str, list[np.ndarray]] = {}
    folds: dict[str, str] = {}
    column = list(SCORES).index(score)
    for one in sorted(runs, key=lambda one: one.seed):
        values = one.at(one.steps[-1] if step is None else step)[:, column]
        patients = np.array(one.patients)
        for patient in dict.fromkeys(one.patients):
            rows.setdefault(patient, []).append(values[patients == patient])
            folds[patient] = one.store
    return {patient: np.stack(values) for patient, values in rows.items()}, folds


def scores_of(runs: Sequence[Trained], resamples: int) -> dict[str, Any]:
    """Each of `SCORES` of runs of one mode and level, as `slices.score_over` returns it."""
    found = {}
    for name in SCORES:
        scores, folds = by_patient(runs, name)
        found[name] = score_over(scores, resamples, folds=folds)
    return found


def seconds_of(runs: Sequence[Trained], mode: str) -> float | None:
    """Seconds a step of a mode: the median over its runs; None where no run measured it."""
    measured = [one.seconds for one in runs if one.mode == mode and one.seconds is not None]
    return float(np.median(measured)) if measured else None


class Contrast(NamedTuple):
    """How much better `mode` is than `other` under one misalignment.

    Attributes:
        at: "equal steps" or "equal time".
        steps: of the mode and of the other; at equal time the other's may lie between two scored.
        scores: each of `SCORES` to what `slices.difference_over` returns (mode less other), with
            "won" and "lost", the patients for whom the mode is better and worse.
    """

    mode: str
    other: str
    level: str
    at: str
    steps: tuple[float, float]
    scores: dict[str, Any]


def contrasts(
    runs: Sequence[Trained], mode: str, others: Sequence[str], level: str, resamples: int
) -> list[Contrast]:
    """`mode` less each of `others` at equal steps and, where the other's step takes longer, time.

    Over the patients who are held apart by finished runs of both.
    """
    found = []
    last = runs[0].steps[-1]
    own = seconds_of(runs, mode)
    for other in others:
        chosen = [
            [one for one in runs if (one.mode, one.level) == (name, level)]
            for name in (mode, other)
        ]
        both = set.intersection(*({one.store for one in side} for side in chosen))
        if not both:
            continue
        mine, theirs = ([one for one in side if one.store in both] for side in chosen)
        stops: dict[str, float] = {"equal steps": last}
        cost = seconds_of(runs, other)
        if own is not None and cost is not None and own < cost:
            stops["equal time"] = last * own / cost
        for at, stop in stops.items():
            scores = {name: _difference(mine, theirs, name, stop, resamples) for name in SCORES}
            found.append(Contrast(mode, other, level, at, (last, stop), scores))
    return found


def _difference(
    mine: Sequence[Trained], theirs: Sequence[Trained], name: str, stop: float, resamples: int
) -> dict[str, Any]:
    (a, folds), (b, _) = by_patient(theirs, name, stop), by_patient(mine, name)
    found = difference_over(a, b, resamples, folds=folds)
    sign = -1 if name in LOWER_IS_BETTER else 1
    gains = [sign * one["value"] for one in found["patients"].values()]
    return found | {"won": sum(g > 0 for g in gains), "lost": sum(g < 0 for g in gains)}
