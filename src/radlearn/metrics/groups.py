"""What a run scores in each group of records, and whether a group differs from all others.

Two tests answer two questions. The bootstrap over patients asks how far the difference could have
been another with other patients. The permutation test asks how often groups dealt out at random
differ as much: the records of a patient that are in one group stay together, and the groups are
dealt out anew among those that hold a positive and, apart, among those that hold none, so that
each group's share of positives stays its own (groups that differ in nothing but prevalence would
seem to differ else). Where a patient's records are in several groups, its parts are dealt out as
if they were patients, which makes the test, if anything, too careful.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from radlearn.metrics.group_drift import drift
from radlearn.metrics.measured import MEAN, Measured, of_rows
from radlearn.metrics.statistics import (
    Interval,
    Resamples,
    bootstrap_p,
    bootstrap_patients,
    everything_once,
    finite,
    holm,
    patient_rows,
    percentile_interval,
)

FEWEST = 10
"""Patients that a group, and the rest, must have to be tested."""

FEWEST_OF_CLASS = 5
"""Patients with, and without, a finding that both must have for its score to be tested: whatever
patients are drawn, the score of one positive hardly changes, and would look certain."""

TESTS = ("p_bootstrap", "p_permutation")


def score_groups(
    measured: Measured, names: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """Score each group and compare it with all other records.

    The mean over columns is over those that can be tested in every group that is, so that it is
    the same quantity in each.

    Args:
        names: each record's group.
        resamples: of the bootstrap, and permutations.

    Returns:
        "mean_of" (names of the columns) and "groups", in order of first appearance: each with
        "name", "records", "patients", "reason" (why it is not tested, or None), "scores" (column,
        and `MEAN` where there are several, to what `_gap` gives) and "drift" (see
        `group_drift.drift`; None where the run has no thresholds).
    """
    groups = list(dict.fromkeys(names))
    code = np.array([groups.index(name) for name in names], np.int64)
    drawn = bootstrap_patients(measured.patients, resamples, seed)
    within = [np.flatnonzero(code == at) for at in range(len(groups))]
    patients = [len({measured.patients[int(row)] for row in rows}) for rows in within]
    reasons = [_reason(at, groups, within, measured) for at in range(len(groups))]
    tested = [at for at, reason in enumerate(reasons) if reason is None]
    averaged = [
        column
        for column in range(len(measured.columns))
        if all(_few(measured, column, within[at]) is None for at in tested or range(len(groups)))
    ]
    wanted = [[at] for at in range(len(measured.columns))]
    wanted += [averaged] if len(measured.columns) > 1 else []
    dealt = [_dealt(measured, code, columns, resamples, seed) for columns in wanted]
    found = []
    for at, name in enumerate(groups):
        rows, rest = within[at], np.flatnonzero(code != at)
        scores = {}
        for title, columns, deal in zip(
            [*measured.columns, MEAN][: len(wanted)], wanted, dealt, strict=True
        ):
            lack = _lack(measured, columns, rows, rest)
            gap = _gap(measured, columns, rows, rest, drawn, reasons[at] or lack)
            if gap["tested"]:
                gap["p_permutation"] = finite(_p_permutation(measured, columns, deal, at, gap))
            scores[title] = gap
        small = reasons[at] is not None
        found.append(
            {
                "name": name,
                "records": len(rows),
                "patients": patients[at],
                "reason": reasons[at],
                "scores": scores,
                "drift": None if small else drift(measured, rows, rest, drawn),
            }
        )
    return {"mean_of": [measured.columns[at] for at in averaged], "groups": found}


def adjust(groupings: Sequence[dict[str, Any]]) -> None:
    """Put Holm's adjustment beside every p-value of a run: "p_bootstrap_holm", and so on.

    One family is all columns of all groups of all groupings, another the means alone, which are
    asked first. Of two groups that are each other's rest the test counts once.
    """
    everything = [
        (tuple(group["name"] for group in grouping["groups"]), at, title, score)
        for grouping in groupings
        for at, group in enumerate(grouping["groups"])
        for title, score in group["scores"].items()
        if score["tested"]
    ]
    for is_mean in (True, False):
        family = [one for one in everything if (one[2] == MEAN) == is_mean]
        for test in TESTS:
            counted = [one for one in family if len(one[0]) > 2 or one[1] == 0]
            p = [one[3][test] for one in counted]
            adjusted = holm([np.nan if value is None else value for value in p])
            for one, value in zip(counted, adjusted, strict=True):
                one[3][f"{test}_holm"] = finite(value)
        for names, at, title, score in family:
            if len(names) == 2 and at == 1:
                other = next(s for n, first, t, s in family if (n, first, t) == (names, 0, title))
                score.update({key: value for key, value in other.items() if key[0] == "p"})


def _reason(
    at: int, groups: Sequence[str], within: Sequence[np.ndarray], measured: Measured
) -> str | None:
    """Why a group as a whole is not tested."""
    own = {measured.patients[row] for row in within[at]}
    if len(own) < FEWEST:
        return f"{_counted(len(own))}, and a test needs {FEWEST}"
    if len(groups) == 1:
        return "there is no other group"
    others = {measured.patients[row] for n, rows in enumerate(within) if n != at for row in rows}
    if len(others) < FEWEST:
        return f"all others are {_counted(len(others))}, and a test needs {FEWEST}"
    lack = [_few(measured, column, within[at]) for column in range(len(measured.columns))]
    if None in lack:
        return None
    if len(lack) == 1:
        return lack[0]
    return f"none of its {len(lack)} scores has {FEWEST_OF_CLASS} patients of either class"


def _counted(patients: int) -> str:
    return f"{patients} patient{'s' if patients > 1 else ''}"


def _lack(
    measured: Measured, columns: Sequence[int], rows: np.ndarray, rest: np.ndarray
) -> str | None:
    """Why a column of a group cannot be scored, or not be compared."""
    if not columns:
        return "no column can be tested in every group"
    for which, chosen in (("", rows), ("all others: ", rest)):
        reasons = [*filter(None, (_few(measured, column, chosen) for column in columns))]
        if reasons:
            return f"{which}{reasons[0]}"
    return None


def _few(measured: Measured, column: int, rows: np.ndarray) -> str | None:
    """Why a column of some records says too little, None where it says enough."""
    reason = measured.reason(rows)[column]
    if reason is not None or measured.truth is None:
        return reason
    for value, what in ((1, "with"), (0, "without")):
        there = rows[measured.truth[rows, column] == value]
        count = len({measured.patients[row] for row in there})
        if count < FEWEST_OF_CLASS:
            return f"{_counted(count)} {what} it, and a test needs {FEWEST_OF_CLASS}"
    return None


def _gap(
    measured: Measured,
    columns: Sequence[int],
    rows: Int[np.ndarray, "rows"],
    rest: Int[np.ndarray, "others"],
    drawn: Resamples,
    reason: str | None,
) -> dict[str, Any]:
    """A group's score and its difference to the rest, the mean where there are several columns.

    Returns:
        "score" (an interval; without bounds where too few patients make it), "reason" (why it is
        not tested, or None), "tested", and where it is: "gap" (an interval) and "p_bootstrap".
    """
    once = everything_once(measured.patients)
    own = _mean(measured, rows, once, columns)[0]
    if reason is not None:
        alone = Interval(float(own), np.nan, np.nan, 0, 0)
        enough = len({measured.patients[int(row)] for row in rows}) >= FEWEST
        if enough and all(_few(measured, column, rows) is None for column in columns):
            alone = percentile_interval(float(own), _mean(measured, rows, drawn, columns))
        return {"score": alone.as_json(), "reason": reason, "tested": False}
    other = _mean(measured, rest, once, columns)[0]
    resampled = _mean(measured, rows, drawn, columns)
    away = resampled - _mean(measured, rest, drawn, columns)
    return {
        "score": percentile_interval(float(own), resampled).as_json(),
        "reason": None,
        "tested": True,
        "gap": percentile_interval(float(own - other), away).as_json(),
        "p_bootstrap": finite(bootstrap_p(away)),
    }


def _mean(
    measured: Measured, rows: np.ndarray, resamples: Resamples, columns: Sequence[int]
) -> Float[np.ndarray, "resamples"]:
    if not columns:
        return np.full(len(resamples), np.nan)
    return measured.score(rows, of_rows(resamples, rows), columns).mean(axis=1)


def _dealt(
    measured: Measured, code: np.ndarray, columns: Sequence[int], resamples: int, seed: int
) -> tuple[Int[np.ndarray, "records"], Int[np.ndarray, "resamples units"]]:
    """Each record's unit, and the group that each unit is dealt in every permutation."""
    unit = patient_rows(list(zip(measured.patients, code.tolist(), strict=True)))
    units = int(unit.max()) + 1
    group = np.empty(units, np.int64)
    group[unit] = code
    positives = np.zeros((units, len(measured.columns)), bool)
    if measured.truth is not None:
        np.logical_or.at(positives, unit, measured.truth == 1)
    stratum = positives[:, list(columns)].sum(axis=1).clip(max=2)
    rng = np.random.default_rng(seed)
    dealt = np.empty((resamples, units), np.int64)
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        dealt[:, members] = rng.permuted(np.tile(group[members], (resamples, 1)), axis=1)
    return unit, dealt


def _p_permutation(
    measured: Measured,
    columns: Sequence[int],
    dealt: tuple[np.ndarray, np.ndarray],
    at: int,
    gap: dict[str, Any],
) -> float:
    """The share of permutations with a difference as large, the sample itself among them."""
    unit, groups = dealt
    mine = groups == at
    inside, outside = (
        measured.score(np.arange(len(unit)), Resamples(part.astype(np.uint8), unit), columns).mean(
            axis=1
        )
        for part in (mine, ~mine)
    )
    away = np.abs(inside - outside)
    away = away[np.isfinite(away)]
    return float((1 + (away >= abs(gap["gap"]["value"]) - 1e-12).sum()) / (1 + len(away)))
