"""What a finished run predicted, read back with its columns and numbers checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from radlearn.errors import InputError
from radlearn.metrics.finished import finished_results, read_predicted, refuse_columns


class Predictions(NamedTuple):
    """What a run said about one split's records, in the order of their ids."""

    ids: list[str]
    patients: list[str]
    labels: tuple[str, ...]
    truth: Float[np.ndarray, "records labels"]
    logit: Float[np.ndarray, "records labels"]
    probability: Float[np.ndarray, "records labels"]

    def only(self, labels: Sequence[str]) -> "Predictions":
        """The same records with these labels, which must be there, in this order."""
        at = [self.labels.index(label) for label in labels]
        return self._replace(
            labels=tuple(labels),
            truth=self.truth[:, at],
            logit=self.logit[:, at],
            probability=self.probability[:, at],
        )


def read_predictions(run: Path) -> pl.DataFrame:
    """A finished run's predictions.parquet as it is.

    Columns: split, id, patient, and for each label label:NAME (0, 1 or missing), logit:NAME and
    probability:NAME.

    Raises:
        InputError: it is missing or unreadable, lacks a column, or holds a prediction that is
            not finite, or a truth that is not 0, 1 or missing.
    """
    path = run / "predictions.parquet"
    table = read_predicted(run, ("split", "id", "patient"), (), "fine-tune")
    labels = label_names(table)
    numbers = [f"{kind}:{label}" for label in labels for kind in ("logit", "probability")]
    refuse_columns(path, table, numbers if labels else ["label:NAME"], numbers, "fine-tune")
    for kind in ("logit", "probability"):
        strange = ~np.isfinite(_numbers(table, kind, labels))
        if strange.any():
            row, label = np.argwhere(strange)[0]
            raise InputError(
                f"run {run} predicts {strange.sum()} values that are not finite, first the {kind} "
                f"of {labels[label]} for {table['id'][int(row)]}; its training went wrong"
            )
    truth = _numbers(table, "label", labels)
    if not (np.isnan(truth) | (truth == 0) | (truth == 1)).all():
        raise InputError(f"{path} holds a truth that is neither 0, 1 nor missing; fine-tune again")
    return table


def label_names(table: pl.DataFrame) -> tuple[str, ...]:
    """The labels of a table of predictions, in its order."""
    return tuple(name.removeprefix("label:") for name in table.columns if name.startswith("label:"))


def predictions_of(run: Path, split: str, labels: Sequence[str] = ()) -> Predictions:
    """A finished run's predictions of one split, by default of all its labels.

    Raises:
        InputError: the run is not finished, or has no predictions of the split or a label; see
            also `read_predictions`.
    """
    finished_results(run)
    table = read_predictions(run)
    predictions = of_split(table, split)
    if not predictions.ids:
        there = ", ".join(sorted(str(name) for name in table["split"].unique()))
        raise InputError(f"run {run} has no {split} predictions; it has: {there or 'none'}")
    unknown = [label for label in labels if label not in predictions.labels]
    if unknown:
        raise InputError(
            f"run {run} has no label {unknown[0]!r}; it has: {', '.join(predictions.labels)}"
        )
    return predictions.only(labels) if labels else predictions


def of_split(table: pl.DataFrame, split: str) -> Predictions:
    """The predictions of one split; without records where the table has none of it."""
    rows = table.filter(pl.col("split") == split).sort("id")
    labels = label_names(table)
    truth, logit, probability = (
        _numbers(rows, kind, labels) for kind in ("label", "logit", "probability")
    )
    return Predictions(
        rows["id"].to_list(), rows["patient"].to_list(), labels, truth, logit, probability
    )


def _numbers(table: pl.DataFrame, kind: str, labels: Sequence[str]) -> np.ndarray:
    columns = [table[f"{kind}:{label}"].cast(pl.Float64).to_numpy() for label in labels]
    return np.stack(columns, axis=1)


def mistakes(table: pl.DataFrame, n: int, split: str = "test") -> dict[str, list[dict[str, Any]]]:
    """The n most confident mistakes on each label: the probability is furthest from the truth.

    Only records on the wrong side of one half count, so a list may be shorter than n, or empty.

    Args:
        table: of `read_predictions`.

    Returns:
        For each label a list, worst first, of id, label, probability and truth (0 or 1).
    """
    predictions = of_split(table, split)
    found = {}
    for at, label in enumerate(predictions.labels):
        probability, truth = predictions.probability[:, at], predictions.truth[:, at]
        error = np.nan_to_num(np.abs(probability - truth))
        worst = np.argsort(-error, kind="stable")[:n]
        found[label] = [
            {
                "id": predictions.ids[row],
                "label": label,
                "probability": float(probability[row]),
                "truth": int(truth[row]),
            }
            for row in worst
            if error[row] > 0.5
        ]
    return found
