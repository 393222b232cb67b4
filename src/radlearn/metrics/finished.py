"""Finished runs as any score needs them: results, predictions, and whether they are alike."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from radlearn.errors import InputError
from radlearn.files import read_json


def finished_results(run: Path) -> dict[str, Any]:
    """A run's results.json.

    Raises:
        InputError: there is no such run, or it is not finished.
    """
    if not run.is_dir():
        raise InputError(f"no run at {run}; give the folder of a finished run")
    path = run / "results.json"
    results = read_json(path, "a finished run") if path.exists() else None
    if not isinstance(results, dict) or results.get("finished") is not True:
        raise InputError(
            f"run {run} is not finished: it has no {path.name} that says so; resume it with the "
            "same command that started it"
        )
    return results


def fingerprint_of(run: Path, split: str) -> str | None:
    """The fingerprint of a finished run's split, None where its results do not say.

    Raises:
        InputError: see `finished_results`.
    """
    fingerprint: str | None = finished_results(run).get("fingerprints", {}).get(split)
    return fingerprint


def read_predicted(
    run: Path, columns: Collection[str], numbers: Collection[str], again: str
) -> pl.DataFrame:
    """A run's predictions.parquet with the columns that its kind of run must have.

    Args:
        numbers: which of them hold numbers, at least one.
        again: the command's name in words, for the error: "fine-tune", "translate".

    Raises:
        InputError: the file is missing or unreadable, lacks a column, or holds no numbers where
            it should.
    """
    path = run / "predictions.parquet"
    if not path.is_file():
        raise InputError(f"run {run} has no {path.name}; {again} again, with records held apart")
    try:
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot read {path}: {error}; {again} again") from error
    refuse_columns(path, table, columns, numbers, again)
    return table


def refuse_columns(
    path: Path,
    table: pl.DataFrame,
    columns: Collection[str],
    numbers: Collection[str],
    again: str,
) -> None:
    """Raise `InputError` unless a table has these columns; see `read_predicted`."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; {again} again")
    wrong = [
        name
        for name in numbers
        if not table[name].dtype.is_numeric() or table[name].null_count() == len(table) > 0
    ]
    if wrong:
        raise InputError(f"column {wrong[0]} of {path} holds no numbers; {again} again")


def refuse_single(runs: Sequence[Path]) -> None:
    """Raise `InputError` where there is nothing to compare."""
    if len(runs) < 2:
        raise InputError(f"a comparison needs two runs or more, not {len(runs)}")


def one_fingerprint(runs: Sequence[Path], split: str) -> str | None:
    """What the split of all these finished runs has as its fingerprint.

    Raises:
        InputError: they differ; see also `finished_results`.
    """
    fingerprints = [fingerprint_of(run, split) for run in runs]
    for run, fingerprint in zip(runs, fingerprints, strict=True):
        if fingerprint != fingerprints[0]:
            raise InputError(
                f"runs {runs[0]} and {run} cannot be compared: the fingerprints of their "
                f"{split} splits differ; score both on the same split"
            )
    return fingerprints[0]


def names_of(runs: Sequence[Path]) -> list[str]:
    """What to call each run: its folder's name, or its path where two folders are named alike."""
    names = [run.resolve().name for run in runs]
    return [str(run) for run in runs] if len(set(names)) < len(names) else names
