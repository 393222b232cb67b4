"""From exams to a store of pairs: read, laid on one grid and scaled once, and never again."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import FileLock, Timeout
from rich.text import Text

from radlearn.datasets.mri_pairs import Exam, Found, find_pairs
from radlearn.engine.log import console, progress
from radlearn.errors import InputError, UnreadableError
from radlearn.files import read_json, replacing, writable, write_json
from radlearn.records.finish import described_splits, seal, write_set_aside
from radlearn.records.keys import hashed, read_key, store_key
from radlearn.records.limits import LimitFlags
from radlearn.records.pair_exam import build
from radlearn.records.pair_settings import PairsConfig
from radlearn.records.pair_store import KIND, PairStore, open_pairs, volume_name
from radlearn.records.record import SetAside, Split
from radlearn.records.settings import without_places
from radlearn.records.splits import drawn, order
from radlearn.records.store_files import FORMAT

__all__ = ["PairsConfig", "prepare_pairs", "run"]

SHOWN = 5
CUT = 0.01
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "patient": pl.String,
    "split": pl.String,
    "order": pl.Int64,
    "volume": pl.Int64,
    "depth": pl.Int64,
    "slices": pl.List(pl.Int64),
    "source": pl.List(pl.String),
    "target": pl.List(pl.String),
    "source_sha256": pl.List(pl.String),
    "target_sha256": pl.List(pl.String),
    "grid": pl.String,
    "spacing": pl.List(pl.Float64),
    "source_windows": pl.String,
    "target_windows": pl.String,
    "has_source": pl.Boolean,
    "has_target": pl.Boolean,
    "moved": pl.Boolean,
    "cut": pl.Float64,
    "notes": pl.String,
}


def run(config: PairsConfig) -> int:
    """`radlearn prepare mri-pairs`: make the store and say what is in it."""
    store = prepare_pairs(config)
    rows, info = store.rows, store.info
    slices = int(rows["slices"].list.len().sum())
    console.print(
        f"{config.store}: {rows.height:,} pairs of {rows['patient'].n_unique():,} patients, "
        f"{slices:,} slices to learn from or score"
    )
    for name, split in info["splits"].items():
        console.print(f"  {name}: {split['records']:,} pairs, {split['patients']:,} patients")
    alone = rows.filter(~(pl.col("has_source") & pl.col("has_target"))).height
    if alone:
        console.print(f"  {alone:,} of them have one side alone")
    if config.transforms:
        console.print(f"  {int(rows['moved'].sum()):,} resampled by given transforms")
    for own, note in rows.select("id", "notes").drop_nulls().iter_rows():
        console.print(f"  {own}: {note}")
    for own, cut in rows.filter(pl.col("cut") > CUT).select("id", "cut").iter_rows():
        console.print(f"  {own}: {cut:.1%} of the foreground is outside --size {config.size}")
    for note in info["notes"]:
        console.print(f"  {note}")
    if aside := info["set_aside"]:
        shown = ", ".join(f"{one['path']} ({one['reason']})" for one in aside[:SHOWN])
        console.print(
            f"  {len(aside):,} set aside, listed in {config.store / 'set_aside.csv'}: "
            f"{shown}{', ...' if len(aside) > SHOWN else ''}"
        )
    return 0


def prepare_pairs(config: PairsConfig) -> PairStore:
    """Make the store, or go on with it.

    Raises:
        InputError: nothing to read, settings that do not fit, patients that are not there.
    """
    if (done := _finished(config)) is not None:
        return done
    with console.status(Text(f"listing {config.folder}")):
        found = find_pairs(config.folder, config.options)
    splits = _splits(config, {exam.patient for exam in found.exams})
    _check_place(config.store)
    given = None if config.key is None else read_key(config.key)
    writable(config.store)
    try:
        with FileLock(config.store / ".lock", timeout=0):
            key = store_key(config.store, given)
            _begin(config, key)
            rows, set_aside = _build_all(config, found, splits, key)
            if not rows:
                write_set_aside(config.store / "set_aside.csv", set_aside)
                raise InputError(
                    f"none of the {len(found.exams)} exams of {config.folder} can be taken in, "
                    f"see {config.store / 'set_aside.csv'}; the first, {set_aside[-1].path}: "
                    f"{set_aside[-1].reason}"
                )
            _finish(config, rows, found, set_aside, key)
            shutil.rmtree(config.store / "parts")
    except Timeout:
        raise InputError(f"another prepare is writing {config.store}; wait until it ends") from None
    return open_pairs(config.store)


def _splits(config: PairsConfig, patients: set[str]) -> dict[str, Split]:
    """Named patients where the user named them, the rest drawn."""
    named = {**dict.fromkeys(config.test_patients, Split.TEST)}
    named |= dict.fromkeys(config.val_patients, Split.VAL)
    if missing := sorted(set(named) - patients):
        raise InputError(
            f"no patient {missing[0]} among the {len(patients)} of {config.folder}; a patient is "
            "what --patient-pattern finds, the table says, PatientID, or the exam's folder"
        )
    free = patients - set(named)
    val = 0.0 if config.val_patients else config.val
    test = 0.0 if config.test_patients else config.test
    return {**drawn(free, config.seed, val, test), **named}


def _build_all(
    config: PairsConfig, found: Found, splits: dict[str, Split], key: bytes
) -> tuple[list[dict[str, Any]], list[SetAside]]:
    rows, set_aside = [], list(found.set_aside)
    ids = [exam.id for exam in found.exams]
    positions = order(config.seed, [exam.patient for exam in found.exams], ids)
    with progress("prepare", len(ids), unit="exams") as ticker:
        for number, exam in enumerate(found.exams):
            split = splits[exam.patient]
            part = _part(config, number, exam, split)
            ticker.advance()
            if part["reason"] is not None:
                set_aside.append(SetAside(exam.id, part["reason"]))
                continue
            own = {"patient": hashed(key, exam.patient), "split": split.value, "volume": number}
            rows.append(part["row"] | own | {"order": positions[number]})
    return rows, set_aside


def _part(config: PairsConfig, number: int, exam: Exam, split: Split) -> dict[str, Any]:
    """What an earlier call made of an exam, or what this one makes of it."""
    path = config.store / "parts" / f"{number:05d}.json"
    move = config.transforms_for == "all" or split is not Split.TRAIN
    made_of = [exam.id, move, *_state_of(exam)]
    if path.exists():
        part = read_json(path, "an unfinished store")
        if part["made_of"] == made_of:
            return dict(part)
    part = {"made_of": made_of, "reason": None, "row": None}
    try:
        built = build(exam, config, move=move)
    except UnreadableError as error:
        part["reason"] = str(error)
    else:
        for side, values in (("source", built.source), ("target", built.target)):
            if values is not None:
                _save(config.store / volume_name(number, side), values)
        part["row"] = built.row
    write_json(path, part)
    return part


def _state_of(exam: Exam) -> list[list[Any]]:
    """Name, size and time of every file, which say whether a part is still of them."""
    files = [
        file
        for scan in (*exam.source, *exam.target)
        for file in (*(scan.files or (scan.path,)), scan.transform)
        if file is not None
    ]
    states = [(str(file), file.stat()) for file in files]
    return [[name, state.st_size, state.st_mtime_ns] for name, state in states]


def _save(path: Path, values: np.ndarray) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _finish(
    config: PairsConfig,
    rows: list[dict[str, Any]],
    found: Found,
    set_aside: Sequence[SetAside],
    key: bytes,
) -> None:
    table = pl.DataFrame(rows, schema=SCHEMA)
    places = np.argsort(np.argsort(table["order"].to_numpy()))  # without the gaps of set aside
    table = table.with_columns(pl.Series("order", places, pl.Int64))
    train = table.filter(pl.col("split") == Split.TRAIN.value)
    windows = {side: _median_windows(train, table, side) for side in ("source", "target")}
    info = {
        "format": FORMAT,
        "kind": KIND,
        "layout": "mri-pairs",
        "name": config.folder.resolve().name,
        "source_names": [Path(name).name for name in config.source],
        "target_names": [Path(name).name for name in config.target],
        "axis": config.axis,
        "size": [config.size, config.size],
        "spacing": config.asked_spacing,
        "percentile": config.percentile,
        "count": table.height,
        "patients": table["patient"].n_unique(),
        "splits": described_splits(table),
        "seed": config.seed,
        "target_window": windows["target"][0] if windows["target"] else None,
        "target_windows": windows["target"],
        "source_windows": windows["source"],
        "sources": [
            {
                "name": config.folder.resolve().name,
                "licence": config.licence,
                "terms": config.licence,
            }
        ],
        "set_aside": [{"path": one.path, "reason": one.reason} for one in set_aside],
        "notes": found.notes,
        "settings": _settings(config, key),
    }
    with replacing(config.store / "records.parquet") as temporary:
        table.write_parquet(temporary)
    write_set_aside(config.store / "set_aside.csv", set_aside)
    write_json(config.store / "store.json", info)
    seal(config.store)


def _median_windows(train: pl.DataFrame, table: pl.DataFrame, side: str) -> list[list[float]]:
    """Low and high of each channel: medians over training pairs, or over all where none has it."""
    for rows in (train, table):
        known = [json.loads(w) for w in rows.filter(pl.col(f"has_{side}"))[f"{side}_windows"]]
        if known:
            return [[float(x) for x in pair] for pair in np.median(np.array(known), axis=0)]
    return []


def _settings(config: PairsConfig, key: bytes) -> dict[str, Any]:
    """Settings with the named patients hashed, since a store tells nobody's name."""
    named = {"test_patients": config.test_patients, "val_patients": config.val_patients}
    hashes = {name: sorted(hashed(key, p) for p in own) for name, own in named.items()}
    return {**without_places(config.settings()), **hashes}


def _begin(config: PairsConfig, key: bytes) -> None:
    """Keep what an earlier call with the same settings finished, and nothing else."""
    parts = config.store / "parts"
    settings = _settings(config, key)
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    mark = parts / "settings.json"
    if not mark.exists() or read_json(mark, "an unfinished store") != name:
        shutil.rmtree(parts, ignore_errors=True)
        shutil.rmtree(config.store / "volumes", ignore_errors=True)
        parts.mkdir(parents=True)
        write_json(mark, name)


def _check_place(store: Path) -> None:
    """Refuse to write among files that are not a store's."""
    if not store.exists():
        return
    foreign = not store.is_dir() or (
        not (store / "parts").is_dir()
        and any(not f.name.startswith(".") for f in store.iterdir() if f.name != "patient.key")
    )
    if foreign:
        raise InputError(f"{store} is there and is not a store: choose another folder")


def _finished(config: PairsConfig) -> PairStore | None:
    """The store where it is whole already; None where it is not.

    Raises:
        InputError: it was made with other settings, or holds something else.
    """
    if not (config.store / "store.json").exists():
        return None
    store = open_pairs(config.store)
    # stores of before a limit was a setting were made with its default
    before = asdict(LimitFlags()) | without_places(store.info["settings"])
    settings = _settings(config, store_key(config.store, None))
    differing = [name for name, value in settings.items() if before.get(name) != value]
    if differing:
        raise InputError(
            f"{config.store} holds a store made with other settings ({', '.join(differing)}): "
            "choose another folder, or delete it"
        )
    shutil.rmtree(config.store / "parts", ignore_errors=True)
    seal(config.store)
    return store
