"""What a finished segmentation is worth, and which of two is better, over patients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from radlearn.errors import InputError
from radlearn.metrics.classification import mean_over
from radlearn.metrics.finished import finished_results, read_predicted
from radlearn.metrics.statistics import (
    Resamples,
    bootstrap_p,
    everything_once,
    finite,
    holm,
    percentile_interval,
)

MEASURES = {
    "dice": "Dice",
    "dice_positive": "Dice, positives",
    "iou": "IoU",
    "hd95": "HD95, px",
    "hd95_mm": "HD95, mm",
}
"""Each measure and what to call it; of positives: over the records whose truth is not empty."""

STORED = ("dice", "iou", "hd95", "hd95_mm")
COUNTED = ("truth", "predicted")
COLUMNS = ("split", "id", "patient", "class", *STORED, *COUNTED)


class MaskScores(NamedTuple):
    """A run's scores of one split's records, in the order of their ids.

    Attributes:
        values: for each of `MEASURES` (records, classes), NaN where it is not defined.
        truth, predicted: pixels of the class.
    """

    ids: list[str]
    patients: list[str]
    classes: tuple[str, ...]
    values: Mapping[str, Float[np.ndarray, "records classes"]]
    truth: Int[np.ndarray, "records classes"]
    predicted: Int[np.ndarray, "records classes"]


def mask_scores_of(run: Path, split: str) -> MaskScores:
    """Read a finished segmentation's predictions.parquet.

    Raises:
        InputError: the run is not finished, has no scores of the split, or its table lacks a
            column, a number or a class of a record.
    """
    finished_results(run)
    table = read_predicted(run, COLUMNS, ("dice", *COUNTED), "fine-tune")
    rows = table.filter(pl.col("split") == split)
    if not rows.height:
        there = ", ".join(sorted(str(name) for name in table["split"].unique()))
        raise InputError(f"run {run} has no {split} predictions; it has: {there or 'none'}")
    classes = tuple(rows["class"].unique(maintain_order=True).to_list())
    rows = rows.sort("id", pl.col("class").replace_strict(classes, range(len(classes))))
    each = rows.group_by("id").agg(pl.col("class").n_unique(), pl.len().alias("rows"))
    if (each["class"] != len(classes)).any() or (each["rows"] != len(classes)).any():
        raise InputError(
            f"predictions of {run} do not have each class of each record once; fine-tune again"
        )

    def column(name: str) -> np.ndarray:
        found = rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        return found.reshape(-1, len(classes))

    dice, truth, predicted = (column(name) for name in ("dice", *COUNTED))
    if not (np.isfinite(truth) & np.isfinite(predicted) & (dice >= 0) & (dice <= 1)).all():
        raise InputError(f"predictions of {run} hold scores that are none; fine-tune again")
    values = {name: column(name) for name in STORED}
    return MaskScores(
        rows["id"].to_list()[:: len(classes)],
        rows["patient"].to_list()[:: len(classes)],
        classes,
        {"dice_positive": np.where(truth > 0, dice, np.nan), **values},
        truth.astype(np.int64),
        predicted.astype(np.int64),
    )


def means(
    values: Float[np.ndarray, "records classes"], resamples: Resamples
) -> Float[np.ndarray, "resamples columns"]:
    """The mean over the records of each resample, for each class and for the mean over classes.

    Where a value is NaN the record is left out of that class's mean. The mean over classes is over
    those that have a value at all; it is NaN in a resample that lacks one of them.
    """
    defined = np.isfinite(values)
    sums = resamples.totals(np.where(defined, values, 0.0))
    counts = resamples.totals(defined.astype(np.float64))
    each = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return np.concatenate([each, mean_over(each, defined.any(0))[:, None]], axis=1)


def score_over(scored: MaskScores, resamples: Resamples) -> dict[str, list[dict[str, Any]]]:
    """For each measure the interval of each class and, last, of the mean over classes."""
    once = everything_once(scored.patients)
    found = {}
    for name, values in ((name, scored.values[name]) for name in MEASURES):
        points, drawn = means(values, once)[0], means(values, resamples)
        found[name] = [
            percentile_interval(float(point), column).as_json()
            for point, column in zip(points, drawn.T, strict=True)
        ]
    return found


def difference_over(
    one: MaskScores, other: MaskScores, resamples: Resamples
) -> dict[str, list[dict[str, Any]]]:
    """For each measure `other` less `one`, for each class and, last, for the mean over classes.

    Each is paired: only records count in which the measure is defined for both. "p" is that of the
    paired bootstrap, "p_holm" adjusted over the classes.
    """
    once = everything_once(one.patients)
    found = {}
    for name in MEASURES:
        first, second = one.values[name], other.values[name]
        both = np.isfinite(first) & np.isfinite(second)
        first, second = (np.where(both, values, np.nan) for values in (first, second))
        points = [means(values, once)[0] for values in (first, second)]
        drawn = means(second, resamples) - means(first, resamples)
        p_values = [bootstrap_p(column) for column in drawn.T]
        adjusted = [*holm(p_values[:-1]), float("nan")]
        found[name] = [
            {
                "values": [finite(points[0][at]), finite(points[1][at])],
                "difference": percentile_interval(
                    float(points[1][at] - points[0][at]), drawn[:, at]
                ).as_json(),
                "p": finite(p_values[at]),
                "p_holm": finite(adjusted[at]),
            }
            for at in range(len(p_values))
        ]
    return found


def refuse_unless_same(first: Path, second: Path, a: MaskScores, b: MaskScores) -> None:
    """Raise `InputError` with the reason unless both were scored on the same records and truth."""
    both = f"runs {first} and {second} cannot be compared"
    if a.classes != b.classes:
        raise InputError(f"{both}: they segment {', '.join(a.classes)} and {', '.join(b.classes)}")
    if a.ids != b.ids:
        left, right = set(a.ids), set(b.ids)
        raise InputError(
            f"{both}: {len(left - right)} records are in the first alone and "
            f"{len(right - left)} in the second alone; score both on the same split"
        )
    pairs = set(zip(a.patients, b.patients, strict=True))
    if not len(pairs) == len(set(a.patients)) == len(set(b.patients)):
        raise InputError(
            f"{both}: their stores group the records into different patients; use one store"
        )
    if (a.truth != b.truth).any():
        row, at = np.argwhere(a.truth != b.truth)[0]
        raise InputError(
            f"{both}: their true masks differ, first in {a.classes[at]} of {a.ids[row]}; score "
            "both on one store"
        )
