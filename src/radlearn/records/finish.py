"""The end of preparing: joins, hashed patients, splits, order; then the store is whole."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from radlearn.checksums import NAME as CHECKSUMS
from radlearn.checksums import write_checksums
from radlearn.files import listed, replacing, write_json, write_text
from radlearn.records.burnt_in import LIST
from radlearn.records.joins import Joins, join
from radlearn.records.record import SetAside, Source, Split
from radlearn.records.settings import HoldOutWith, PrepareConfig, without_places
from radlearn.records.shards import SHARD_SIZE
from radlearn.records.splits import drawn, fingerprint, one_split_a_patient, order, with_val
from radlearn.records.store import LABEL, Store
from radlearn.records.store_files import FORMAT

PER_PICTURE = ("grey", "grey_squared", "mask_resized")  # sums that end in store.json


@dataclass(frozen=True)
class Person:
    """What no part holds of a record, since it would name the patient; kept in memory only."""

    patient: str
    split: Split | None


def finish(
    config: PrepareConfig,
    source: Source,
    parts: pl.DataFrame,
    people: Sequence[Person],
    set_aside: Sequence[SetAside],
    links: Sequence[Store],
    key: bytes,
) -> None:
    """Write records.parquet, set_aside.csv and, last, store.json.

    Args:
        parts: rows of all parts, as `shards.part_schema` has them, in the source's order.
        people: for each of those rows.
        links: see `PrepareConfig.link`.

    Raises:
        InputError: a patient is in two splits.
    """
    size = config.size if parts["shard"].count() else None
    info: dict[str, Any] = {"size": size, "fit": config.fit, "name": source.name}
    unfinished = Store(config.store.resolve(), info, parts)
    patients = [record.patient for record in people]
    joins = join(unfinished, patients, source.same_patient, links, key)
    representatives = [joins.representative[patient] for patient in patients]
    splits = _splits(config, parts, people, representatives, joins)
    rows = parts.with_columns(
        pl.Series("patient", [joins.hash[patient] for patient in representatives], pl.String),
        pl.Series("split", splits, pl.String),
        pl.Series("order", order(config.seed, representatives, parts["id"].to_list()), pl.Int64),
    )
    rows = _with_extra(rows)
    published = any(record.split is not None for record in people)
    info |= {
        "format": FORMAT,
        "layout": config.layout,
        "bits": config.bits,
        "shard_size": SHARD_SIZE,
        "count": rows.height,
        "images": rows["shard"].count(),
        "masks": int(rows["has_mask"].sum()),
        "masks_resized": int(rows["mask_resized"].sum()),
        "mask_names": list(source.mask_names) if rows["has_mask"].any() else [],
        "reports": rows["report"].count(),
        "may_show_text": rows["text"].count(),
        "patients": rows["patient"].n_unique(),
        "label_names": list(source.label_names),
        "splits": described_splits(rows),
        "split_source": f"published:{config.options.published or config.layout}"
        if published
        else "linked"
        if joins.linked
        else "seeded",
        "seed": config.seed,
        "sources": [{"name": source.name, "licence": source.licence, "terms": source.terms}],
        "set_aside": [{"path": item.path, "reason": item.reason} for item in set_aside],
        "joined_patients": joins.described,
        **_grey(rows, size),
        "settings": without_places(config.settings()),
    }
    first = ["id", "patient", "split", "order"]
    kept = [name for name in rows.columns if name not in (*first, "position", *PER_PICTURE)]
    with replacing(config.store / "records.parquet") as temporary:
        rows.select(first + kept).write_parquet(temporary)
    write_set_aside(config.store / "set_aside.csv", set_aside)
    shown = rows.filter(pl.col("text").is_not_null()).select("source", "text").rows()
    write_set_aside(config.store / LIST, [SetAside(*row) for row in shown])
    write_json(config.store / "store.json", info)
    seal(config.store)


def _splits(
    config: PrepareConfig,
    parts: pl.DataFrame,
    people: Sequence[Person],
    representatives: Sequence[str],
    joins: Joins,
) -> list[Split | None]:
    """The split of each record."""
    ids = parts["id"].to_list()
    given = [(p, record.split) for p, record in zip(representatives, people, strict=True)]
    published = any(split is not None for _, split in given)
    linked = [(patient, split) for patient, all_of in joins.linked.items() for split in all_of]
    names = [*ids, *("a record of a linked store" for _ in linked)]
    fixed = one_split_a_patient([*given, *linked], names, config.split_conflicts)
    may_hold_out = set(_eligible(config.hold_out_with, parts, representatives)) - set(joins.linked)
    if not published:
        free = set(representatives) - set(joins.linked)
        seeded = dict.fromkeys(free, Split.TRAIN)
        seeded |= drawn(may_hold_out, config.seed, config.val, config.test)
        fixed = {**seeded, **fixed}
        return [fixed.get(patient) for patient in representatives]
    fixed = with_val(fixed, may_hold_out, config.seed, config.val)
    return [
        fixed[patient] if split is not None or patient in joins.linked else None
        for patient, split in given
    ]


def _eligible(
    hold_out_with: HoldOutWith, parts: pl.DataFrame, representatives: Sequence[str]
) -> list[str]:
    labels = [pl.col(name).is_not_null() for name in parts.columns if name.startswith(LABEL)]
    has = {
        "any": pl.lit(True),
        "mask": pl.col("has_mask"),
        "labels": pl.any_horizontal(*labels) if labels else pl.lit(False),
        "report": pl.col("report").is_not_null(),
    }[hold_out_with]
    kept = parts.select(has=has if hold_out_with != "any" else pl.col("id").is_not_null())["has"]
    return [patient for patient, keep in zip(representatives, kept, strict=True) if keep]


def described_splits(rows: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Split to its number of records and of patients, and its fingerprint."""
    described = {}
    for split in Split:
        mine = rows.filter(pl.col("split") == split.value)
        if mine.height:
            described[split.value] = {
                "records": mine.height,
                "patients": mine["patient"].n_unique(),
                "fingerprint": fingerprint(mine["id"].to_list()),
            }
    return described


def _grey(rows: pl.DataFrame, size: int | None) -> dict[str, float | None]:
    """Mean and deviation of grey values in [0, 1] over the squares of training (or of all)."""
    pictures = rows.filter(pl.col("shard").is_not_null())
    train = pictures.filter(pl.col("split") == Split.TRAIN.value)
    chosen = train if train.height else pictures
    if not chosen.height or size is None:
        return {"pixel_mean": None, "pixel_std": None}
    count = chosen.height * size**2
    mean = math.fsum(chosen["grey"]) / count
    variance = max(math.fsum(chosen["grey_squared"]) / count - mean**2, 0.0)
    return {"pixel_mean": mean, "pixel_std": variance**0.5}


def _with_extra(rows: pl.DataFrame) -> pl.DataFrame:
    extra = [json.loads(value) for value in rows["extra"]]
    names = sorted({name for values in extra for name in values})
    columns = [
        pl.Series(f"extra:{name}", [values.get(name) for values in extra], pl.String)
        for name in names
    ]
    return rows.drop("extra").with_columns(columns)


def write_set_aside(path: Path, set_aside: Sequence[SetAside]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "reason"])
    table.writerows([listed(item.path), listed(item.reason)] for item in set_aside)
    write_text(path, text.getvalue())


def seal(path: Path) -> None:
    """Note the checksums of a finished store, where there are none yet."""
    if not (path / CHECKSUMS).exists():
        names = ("store.json", "records.parquet", "set_aside.csv", LIST, "volumes")
        arrays = [*path.glob("images-*.npy"), *path.glob("masks-*.npy")]
        write_checksums(path, [*(path / name for name in names), *arrays])
