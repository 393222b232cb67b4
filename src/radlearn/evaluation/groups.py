"""`radlearn evaluate --groups`: whether a run serves every group of patients alike."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import read_json, spelled, write_json
from radlearn.metrics.finished import read_predicted
from radlearn.metrics.group_tables import print_groups
from radlearn.metrics.group_values import group_names, grouping_of, in_order
from radlearn.metrics.groups import FEWEST, adjust, score_groups
from radlearn.metrics.measured import Measured
from radlearn.records.storage import is_there
from radlearn.records.store import Store, open_store
from radlearn.report.groups import groups_page

STORE = "store"
"""A column that every run has: the name of the store that a record is of."""


def evaluate_groups(
    run: Path, measured: Measured, evaluation: Mapping[str, Any], config: EvaluateConfig
) -> dict[str, Any]:
    """Score the groups, print them, put them in evaluation.json, and draw run/groups.html.

    Args:
        measured: the run's answers.
        evaluation: what is in evaluation.json so far.

    Returns:
        What evaluation.json has under "groups"; see `groups_of`.

    Raises:
        InputError: see `groups_of`; or a file cannot be written.
    """
    groups = groups_of(run, measured, config)
    print_groups(groups, evaluation)
    write_json(run / "evaluation.json", dict(evaluation) | {"groups": groups})
    page = groups_page(run, groups, evaluation, _command(run, config))
    console.print(f"page: {page}")
    return groups


def _command(run: Path, config: EvaluateConfig) -> str:
    words = ["radlearn", "evaluate", str(run), "--split", config.split, "--groups", *config.groups]
    words += ["--stores", *map(spelled, config.stores)] if config.stores else []
    words += ["--resamples", str(config.resamples), "--seed", str(config.seed)]
    return shlex.join([*words, "--rule", config.rule])


def groups_of(run: Path, measured: Measured, config: EvaluateConfig) -> dict[str, Any]:
    """Score the groups of every column that `config.groups` names.

    Returns:
        "metric", "higher" (whether more is better), "fewest" patients of a test, and "groupings":
        for each "column", "bands" (edges, empty for values as they are), and what `score_groups`
        returns, its groups in order.

    Raises:
        InputError: a column that is nowhere, stores that do not hold the run's records, or see
            `group_values.group_names`.
    """
    lookup = _Lookup(run, measured, config)
    groupings = []
    for text in dict.fromkeys(config.groups):
        grouping = grouping_of(text)
        names = group_names(grouping, lookup.column(grouping.column))
        found = score_groups(measured, names, config.resamples, config.seed)
        by_name = {group["name"]: group for group in found["groups"]}
        found["groups"] = [by_name[name] for name in in_order(names)]
        groupings.append({"column": grouping.column, "bands": list(grouping.edges)} | found)
    adjust(groupings)
    return {
        "metric": measured.metric,
        "higher": measured.higher,
        "fewest": FEWEST,
        "groupings": groupings,
    }


class _Lookup:
    """Columns of a run's records: of its predictions, else of the stores that it came from."""

    def __init__(self, run: Path, measured: Measured, config: EvaluateConfig) -> None:
        self.run, self.measured, self.config = run, measured, config
        self.predicted = read_predicted(run, ("split", "id", "patient"), (), "fine-tune").filter(
            pl.col("split") == config.split
        )
        self.stores: list[Store] | None = None

    def column(self, name: str) -> list[Any]:
        if name in self.predicted.columns:
            values = dict(self.predicted.select("id", name).iter_rows())
            return [values[record] for record in self.measured.ids]
        return self._of_stores(name)

    def _of_stores(self, name: str) -> list[Any]:
        if self.stores is None:
            self.stores = _stores(self.run, self.config.stores)
        columns = {column for store in self.stores for column in store.rows.columns} | {STORE}
        named = name if name in columns else f"extra:{name}"
        if named not in columns:
            raise InputError(
                f"no column {name} in {', '.join(store.path.name for store in self.stores)}, nor "
                f"in the predictions of {self.run}; there are {', '.join(_choices(columns))}"
            )
        values = {}
        for store in self.stores:
            rows = store.rows.with_columns(pl.lit(store.path.name).alias(STORE))
            if named not in rows.columns:
                rows = rows.with_columns(pl.lit(None).alias(named))
            for record, patient, value in rows.select("id", "patient", named).iter_rows():
                values[record, patient] = value
        wanted = list(zip(self.measured.ids, self.measured.patients, strict=True))
        if missing := [record for record, patient in wanted if (record, patient) not in values]:
            places = ", ".join(spelled(store.path) for store in self.stores)
            raise InputError(
                f"{len(missing)} of the {len(wanted)} {self.config.split} records of {self.run}, "
                f"such as {missing[0]}, are not in {places}; "
                "give the stores that it was made from with --stores"
            )
        return [values[key] for key in wanted]


def _choices(columns: set[str]) -> list[str]:
    """Columns that a group may be made of, the likely ones first."""
    hidden = {"id", "patient", "split", "order", "report", "sha256", "phash", "shard", "index"}
    likely = [name for name in ("sex", "age", "view", STORE) if name in columns]
    return [*likely, *sorted(columns - hidden - {*likely, "boxes", "source"})]


def _stores(run: Path, given: Sequence[Path]) -> list[Store]:
    """The stores given, else those that the run was made from, wherever it was started."""
    if given:
        return [open_store(path) for path in given]
    config = run / "config.json"
    recorded = read_json(config, "a run").get("stores") if config.exists() else None
    if not recorded:
        raise InputError(f"run {run} does not say which stores it is of; give them with --stores")
    found = []
    for path in recorded:
        if not is_there(Path(path)):
            raise InputError(
                f"the store {path} that {run} was made from is not there any more; say where it "
                "is now with --stores"
            )
        found.append(open_store(Path(path)))
    return found
