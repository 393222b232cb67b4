"""What a finished translation scored, slice by slice, read back with its columns checked."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from radlearn.errors import InputError
from radlearn.metrics.finished import read_predicted

MEASURES = ("NMAE", "PSNR", "SSIM")

SCORES = {
    "paper_nmae": "NMAE, as the paper",
    "paper_psnr": "PSNR, as the paper",
    "paper_ssim": "SSIM, as the paper",
    "standard_nmae": "NMAE, standard",
    "standard_psnr": "PSNR, standard",
    "standard_ssim": "SSIM, standard",
}
"""Columns of predictions.parquet and what they are called; `translation` has what they mean."""

LOWER_IS_BETTER = frozenset({"paper_nmae", "standard_nmae"})

DEFINITIONS = {
    "paper_nmae": "mean |G(a) − b| / 2 over the foreground (b above −1), so 0 to 1",
    "paper_psnr": "decibels of the mean squared error of the foreground, values brought to "
    "0 to 1, at most 100",
    "paper_ssim": "structural similarity of the whole slice, flat windows of side 7, data range 2",
    "standard_nmae": "mean |G(a) − b| / 2 over every pixel, background too",
    "standard_psnr": "decibels of the mean squared error of every pixel, at most 100",
    "standard_ssim": "structural similarity of the whole slice with the Gaussian window of Wang et "
    "al. (2004): std 1.5, side 11",
}
"""One sentence each, as `translation.paper_scores` and `translation.standard_scores` compute."""

NUMBERS = ("step", "slice", "foreground", *SCORES)

COLUMNS = ("split", "id", "patient", *NUMBERS)


class SliceScores(NamedTuple):
    """Scores of one split's slices that show something, by patient, pair and position.

    Attributes:
        ids: of the pairs, one a slice.
        slices: positions in their pairs.
        foreground: share of each target that is not background.
        empty: how many slices more are all background, and have no score.
    """

    step: int
    ids: list[str]
    patients: list[str]
    slices: list[int]
    foreground: Float[np.ndarray, "slices"]
    values: Float[np.ndarray, "slices scores"]
    empty: int

    def by_patient(self, score: str) -> dict[str, Float[np.ndarray, "_"]]:
        """One of `SCORES` for each patient's slices, neighbours beside each other."""
        column, patients = self.values[:, list(SCORES).index(score)], np.array(self.patients)
        return {name: column[patients == name] for name in dict.fromkeys(self.patients)}


def slice_scores_of(run: Path, split: str, step: int | None = None) -> SliceScores:
    """A finished run's scores of the slices with foreground, after its last step or another.

    Raises:
        InputError: see `read_slice_scores`; or nothing was scored on the split at the step.
    """
    table = read_slice_scores(run)
    there = table.filter(pl.col("split") == split)
    if there.is_empty():
        splits = ", ".join(sorted(map(str, table["split"].unique())))
        raise InputError(f"run {run} has no {split} scores; it has: {splits or 'none'}")
    steps = sorted(map(int, there["step"].unique()))
    step = steps[-1] if step is None else step
    if step not in steps:
        known = ", ".join(map(str, steps))
        raise InputError(f"run {run} was not scored after step {step}; it was after: {known}")
    return _ordered(there.filter(pl.col("step") == step), step, run)


def over_steps(run: Path, split: str) -> list[dict[str, float]]:
    """The means over patients of each of `SCORES` after each step that was scored, with "step".

    Raises:
        InputError: see `slice_scores_of`.
    """
    table = read_slice_scores(run).filter(pl.col("split") == split)
    found = []
    for step in sorted(map(int, table["step"].unique())):
        scored = _ordered(table.filter(pl.col("step") == step), step, run)
        means = {
            name: float(np.mean([values.mean() for values in scored.by_patient(name).values()]))
            for name in SCORES
        }
        found.append({"step": step} | means)
    return found


def read_slice_scores(run: Path) -> pl.DataFrame:
    """A finished translation's predictions.parquet as it is: a row a slice and step scored.

    Raises:
        InputError: it is missing or unreadable, lacks a column, or holds no numbers where it
            should.
    """
    return read_predicted(run, COLUMNS, NUMBERS, "translate")


def _ordered(table: pl.DataFrame, step: int, run: Path) -> SliceScores:
    shown = table.filter(pl.col("foreground") > 0)
    if shown.is_empty():
        raise InputError(f"every slice that run {run} scored is all background; look at the pairs")
    keys = [
        (patient, _natural(name), name, int(at))
        for patient, name, at in shown.select("patient", "id", "slice").iter_rows()
    ]
    if len(set(keys)) < len(keys):
        raise InputError(f"run {run} scored a slice twice after step {step}; translate again")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    values = shown.select([pl.col(name).cast(pl.Float64) for name in SCORES]).to_numpy()[order]
    strange = ~np.isfinite(values)
    if strange.any():
        row, column = np.argwhere(strange)[0]
        raise InputError(
            f"run {run} has {strange.sum()} scores that are not finite, first "
            f"{list(SCORES)[column]} of {keys[order[row]][2]}, slice {keys[order[row]][3]}; "
            "its training went wrong"
        )
    return SliceScores(
        step,
        [keys[at][2] for at in order],
        [keys[at][0] for at in order],
        [keys[at][3] for at in order],
        shown["foreground"].cast(pl.Float64).to_numpy()[order],
        values,
        len(table) - len(shown),
    )


def _natural(name: str) -> tuple[tuple[str, int], ...]:
    """A key that puts slice 10 after slice 9."""
    parts = re.split(r"(\d+)", name)
    return tuple(
        (text, int(number or 0))
        for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True)
    )
