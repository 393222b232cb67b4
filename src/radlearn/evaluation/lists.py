"""A run's score on another published list, beside its own: on what of it the run held apart.

A list of test images from elsewhere is rarely a run's own test split. What of it was trained on
counts for nothing, and what chose the step is no test; the rest is scored, and the score says of
how much of the list it is.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from radlearn.datasets.lists import read_list
from radlearn.datasets.nih import LISTS
from radlearn.errors import InputError
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import read_json
from radlearn.metrics.finished import read_predicted
from radlearn.metrics.measured import MEAN, Measured
from radlearn.metrics.statistics import bootstrap_patients, everything_once, percentile_interval
from radlearn.records.record import Split
from radlearn.records.splits import fingerprint
from radlearn.records.store import Store, open_store


class Listed(NamedTuple):
    """A test list: how many images it names, and which ids are among them."""

    name: str
    named: int
    ids: Collection[str]


def evaluate_lists(run: Path, measured: Measured, config: EvaluateConfig) -> list[dict[str, Any]]:
    """Score the run on `config.lists`, or on the published lists that its stores know.

    Returns:
        For each list its "name", the number of images "of" it, how many of these are "trained" (in
        the store's training split), "chose" (in validation) and "records" that are scored, of how
        many "patients", the "fingerprint" of these, "metric", and "scores": each column, and
        `MEAN` where there are several, to its interval; "reason" where none can be scored.

    Raises:
        InputError: a list cannot be read, or nothing of it was held apart for the test.
    """
    stores = _stores(run, config.stores)
    predicted = read_predicted(run, ("split", "id"), (), "fine-tune")
    held = {
        split: set(predicted.filter(pl.col("split") == split)["id"]) for split in ("val", "test")
    }
    training = {
        record
        for store in stores
        for record in store.rows.filter(pl.col("split") == Split.TRAIN.value)["id"]
    }
    given = [_read(path, [*training, *held["val"], *held["test"]]) for path in config.lists]
    found = []
    for listed in given or _known(stores, held["test"]):
        trained, chose = (len(training & set(listed.ids)), len(held["val"] & set(listed.ids)))
        if given and not held["test"] & set(listed.ids):
            raise InputError(
                f"none of the {listed.named:,} images of {listed.name} was held apart for the test "
                f"of {run}: {trained:,} are for training and {chose:,} chose the step, so that "
                "there is no score on it; train on another split"
            )
        about = {"name": listed.name, "of": listed.named, "trained": trained, "chose": chose}
        found.append(about | _scored(measured, listed.ids, config))
    return found


def _scored(measured: Measured, ids: Collection[str], config: EvaluateConfig) -> dict[str, Any]:
    at = [row for row, record in enumerate(measured.ids) if record in ids]
    rows, patients = np.array(at, np.int64), [measured.patients[row] for row in at]
    about: dict[str, Any] = {
        "records": len(rows),
        "patients": len(set(patients)),
        "fingerprint": fingerprint(measured.ids[row] for row in at),
        "metric": measured.metric,
    }
    reasons = measured.reason(rows) if len(rows) else ["nothing was held apart"]
    columns = [at for at, reason in enumerate(reasons) if reason is None]
    if not columns:
        return about | {"scores": {}, "reason": next(r for r in reasons if r is not None)}
    point = measured.score(rows, everything_once(patients), columns)
    drawn = measured.score(
        rows, bootstrap_patients(patients, config.resamples, config.seed), columns
    )
    names = [measured.columns[at] for at in columns]
    if len(measured.columns) > 1:
        names.append(MEAN)
        point, drawn = (
            np.concatenate([of, of.mean(axis=1, keepdims=True)], axis=1) for of in (point, drawn)
        )
    scores = {
        name: percentile_interval(float(point[0, at]), drawn[:, at]).as_json()
        for at, name in enumerate(names)
    }
    return about | {"scores": scores, "reason": None}


def in_words(listed: Mapping[str, Any]) -> str:
    """Of how much of the list a score is, and what became of the rest."""
    elsewhere = listed["of"] - listed["records"] - listed["trained"] - listed["chose"]
    if listed["records"] == listed["of"]:
        return f"the whole list {listed['name']}, {listed['of']:,} records"
    rest = (
        (listed["trained"], "are for training"),
        (listed["chose"], "chose the step"),
        (elsewhere, "are not among the run's records"),
    )
    left_out = ", ".join(f"{count:,} {what}" for count, what in rest if count > 0)
    return (
        f"{listed['records']:,} of the {listed['of']:,} records of the list {listed['name']}, "
        f"which is not a score on that list: {left_out}"
    )


def _read(path: Path, ids: Collection[str]) -> Listed:
    """A file of one image a line; an id is in it by its name, with or without folders before it."""
    named = {_plain(line.path) for line in read_list(path)}
    if not named:
        raise InputError(f"{path} names no image; give a list of one image a line")
    tails = {tail for name in named for tail in _tails(name)}
    there = {
        record
        for record in ids
        if _plain(record) in tails or any(tail in named for tail in _tails(_plain(record)))
    }
    return Listed(path.name, len(named), there)


def _plain(path: str) -> str:
    """A path without its last suffix; ids have none."""
    folder, _, name = path.replace("\\", "/").rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    name = stem if dot and suffix.isalpha() and len(suffix) <= 5 else name
    return f"{folder}/{name}" if folder else name


def _tails(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[at:]) for at in range(len(parts))]


def _known(stores: Sequence[Store], test: Collection[str]) -> list[Listed]:
    """Published lists that the stores know, but for the one that the run's test split is."""
    if not any(set(store.rows["id"]) & set(test) for store in stores):
        return []  # what is answered for is no record but, say, a study
    found = []
    for name in LISTS:
        column = f"extra:{name}"
        ids = {
            record
            for store in stores
            if column in store.rows.columns
            for record in store.rows.filter(pl.col(column) == Split.TEST.value)["id"]
        }
        if ids and ids != set(test):
            found.append(Listed(name, len(ids), ids))
    return found


def _stores(run: Path, given: Sequence[Path]) -> list[Store]:
    """The stores given, else those of the run that are still where they were."""
    path = run / "config.json"
    config = read_json(path, "a run") if path.exists() else {}
    found = []
    for place in given or map(Path, config.get("stores") or ()):
        try:
            found.append(open_store(Path(place)))
        except InputError:
            if given:
                raise
    return found
