"""What weights were trained on, stage after stage, and whether test patients may be among it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from radlearn.datasets.kin import SEEN, kinship
from radlearn.errors import InputError
from radlearn.files import read_json
from radlearn.models.imported import CXR_MAE_PREPROCESSING, LEARNT_FROM, OURS, Imported
from radlearn.records.record import Split
from radlearn.records.store import Selection, Store, open_store

MARKS = "marks"
"""In a run's config.json and results.json: what has to be said of its scores, see `marks`."""

Sources = list[dict[str, str]]


def learnt_from(init: Imported | None) -> Sources:
    """`name`, `licence` and `terms` of each data set that a backbone saw, as far as is known."""
    if init is None:
        return []
    if init.folder is not None:
        saved = read_json(init.folder / "config.json", "a model").get(OURS, {})
        if LEARNT_FROM in saved or "licences" in saved:
            return all_sources(saved)
        tuned = init.folder.parent.parent / "config.json"  # of RUN/model/backbone
        if init.folder.name == "backbone" and tuned.exists():
            return list(read_json(tuned, "a run").get(LEARNT_FROM, ()))
    if init.learnt_from:
        return list(init.learnt_from)
    kind: str = init.kind
    found, known = init.preprocessing, CXR_MAE_PREPROCESSING
    if kind == "MAE" and (found.mean, found.std) == (known.mean, known.std):
        kind = "CXR-MAE"
    return [
        {"name": name, "licence": "", "terms": f"seen by the weights published as {kind}"}
        for name in SEEN.get(kind, ())
    ]


def united(*lists: Iterable[Mapping[str, str]]) -> Sources:
    """Every source once, in order of first appearance."""
    found: Sources = []
    for source in (dict(source) for sources in lists for source in sources):
        if source not in found:
            found.append(source)
    return found


def all_sources(facts: Mapping[str, Any]) -> Sources:
    """What the weights of a model saw at any stage: `learnt_from`, then the last stage's own.

    Args:
        facts: of a model folder, an adapter or a run.
    """
    return united(facts.get(LEARNT_FROM) or (), facts.get("licences") or ())


class Seen(NamedTuple):
    """What was seen at one stage of training.

    Attributes:
        stage: in a word: training, pretraining.
        stores: that can be looked into.
        sources: see `learnt_from`; those of `stores` and others.
    """

    stage: str
    stores: Sequence[Store]
    sources: Sequence[Mapping[str, str]]


def pretrained_on(init: Imported | None) -> Seen:
    """What a backbone saw, with the stores of its run as far as they are where they were."""
    sources, stores = learnt_from(init), []
    if init is not None and init.folder is not None:
        path = init.folder.parent / "config.json"
        config = read_json(path, "a run") if path.exists() else {}
        if config.get("mission") == "pretraining":
            stores = stores_there(config.get("stores", ()))
    return Seen("pretraining", stores, sources)


def stores_there(places: Iterable[str]) -> list[Store]:
    """Those of the stores that can still be opened."""
    found = []
    for place in places:
        with suppress(InputError):
            found.append(open_store(Path(place)))
    return found


def marks(tested: Selection, *stages: Seen) -> list[str]:
    """What has to be said of scores on `tested`, a sentence each; nothing where patients are apart.

    Stores tell for certain where they are one, or were prepared with a link to each other: then a
    patient is known by one name. Else the table of kin says what may be.
    """
    said: list[str] = []
    for number in sorted(set(tested.at[:, 0].tolist())):
        mine = tested.take(np.flatnonzero(tested.at[:, 0] == number))
        store = tested.stores[number]
        for stage, stores, sources in stages:
            said += [_of_stores(stage, other, store, mine) for other in stores]
            answered = {name for other in stores for name in _names(other)}
            for name in dict.fromkeys(source["name"] for source in sources):
                said += [_may_be(stage, name, store)] if name not in answered else []
    return [one for one in dict.fromkeys(said) if one]


def _of_stores(stage: str, trained: Store, tested: Store, records: Selection) -> str:
    if trained.path == tested.path:
        return ""
    rows = trained.rows.with_row_index("row").filter(pl.col("split") == Split.TRAIN.value)["row"]
    at = np.stack([np.zeros(len(rows), np.int64), rows.to_numpy().astype(np.int64)], axis=1)
    if shared := records.shared_with(Selection((trained,), at)):
        return (
            f"{len(shared):,} of the {len(records):,} test records of {tested.path.name} are of "
            f"patients whom {stage} saw in {trained.path.name}"
        )
    if _linked(trained, tested):
        return ""
    return next((mark for name in _names(trained) if (mark := _may_be(stage, name, tested))), "")


def _may_be(stage: str, trained: str, tested: Store) -> str:
    for name in _names(tested):
        if why := kinship(trained, name):
            return (
                f"{stage} saw {trained} and the test records are of {name}: {why}, so test "
                "patients may be among those seen"
            )
    return ""


def _names(store: Store) -> list[str]:
    return [source["name"] for source in store.licences]


def _linked(one: Store, other: Store) -> bool:
    """Whether one was prepared with a link to the other, so that patients have one name in both."""
    return any(
        str(b.path) in map(str, a.info.get("settings", {}).get("link", ()))
        for a, b in ((one, other), (other, one))
    )
