"""From a source to a store: decode once, on all cores, and never again."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from rich.text import Text

from radlearn.engine.log import Ticker, console, progress
from radlearn.errors import InputError
from radlearn.files import writable
from radlearn.records.burnt_in import LIST
from radlearn.records.decoding import Decoder, Job
from radlearn.records.far_decoding import FarDecoder
from radlearn.records.finish import Person, finish, seal, write_set_aside
from radlearn.records.keys import read_key, store_key
from radlearn.records.limits import LimitFlags
from radlearn.records.record import NOT_ANNOTATED, SetAside, Source, SourceRecord
from radlearn.records.settings import PrepareConfig, without_places
from radlearn.records.shards import SHARD_SIZE, Parts, Pictures, part_row, pictures
from radlearn.records.splits import one_split_a_patient
from radlearn.records.store import open_store, shard_name

SHOWN = 5

__all__ = ["PrepareConfig", "PrepareSummary", "prepare", "prepare_source"]


@dataclass(frozen=True)
class PrepareSummary:
    """What `prepare` did.

    Attributes:
        splits: split to its number of records and patients, and its fingerprint.
        mask_names: classes of the masks.
        masks_resized: masks that were drawn in another resolution than their images.
        may_show_text: images that may show text that was burnt into them.
        joined: patients that were several in the source or share a picture with a linked store.
        finished_before: shards that an earlier, interrupted call had finished.
        too_many_bad: more was set aside than `max_bad` allows.
    """

    store: Path
    records: int
    images: int
    masks: int
    mask_names: tuple[str, ...]
    masks_resized: int
    reports: int
    patients: int
    splits: dict[str, dict[str, Any]]
    set_aside: list[SetAside]
    may_show_text: int
    joined: int
    finished_before: int
    too_many_bad: bool


def prepare(config: PrepareConfig) -> PrepareSummary:
    """Make the store, or go on with it.

    Raises:
        InputError: nothing to read, settings that do not fit, a patient in two published splits.
    """
    from radlearn.datasets.layouts import LAYOUTS

    if config.layout not in LAYOUTS:
        raise InputError(f"no layout named {config.layout}; there are {', '.join(sorted(LAYOUTS))}")
    layout = LAYOUTS[config.layout]
    if (done := _finished(config)) is not None:
        return done
    with console.status(Text(f"listing {config.source}")):
        total = _survey(layout(config.source, config.options), config)
    return prepare_source(layout(config.source, config.options), config, total)


def run(config: PrepareConfig) -> int:
    """`radlearn prepare`: make the store and say what is in it.

    Returns:
        0, or 1 where more was set aside than `max_bad` allows.
    """
    done = prepare(config)
    console.print(
        f"{done.store}: {done.records:,} records of {done.patients:,} patients "
        f"({done.images:,} images, {done.reports:,} reports, {done.masks:,} masks)"
    )
    for name, split in done.splits.items():
        console.print(f"  {name}: {split['records']:,} records, {split['patients']:,} patients")
    if done.masks:
        console.print(f"  masks of {', '.join(done.mask_names)}", markup=False)
    if done.masks_resized:
        console.print(f"  {done.masks_resized:,} masks of another resolution than their images")
    if done.joined:
        console.print(f"  {done.joined} patients joined, since they share a picture")
    if done.may_show_text:
        console.print(
            f"  {done.may_show_text:,} images may show burnt-in text, such as names: look at those "
            f"that {done.store / LIST} lists"
        )
    if done.set_aside:
        shown = ", ".join(f"{one.path} ({one.reason})" for one in done.set_aside[:SHOWN])
        console.print(
            f"  {len(done.set_aside):,} set aside, listed in {done.store / 'set_aside.csv'}: "
            f"{shown}{', ...' if len(done.set_aside) > SHOWN else ''}",
            markup=False,
        )
    if done.too_many_bad:
        console.print(f"more than --max-bad {config.max_bad} were set aside", style="red")
    return int(done.too_many_bad)


def _survey(source: Source, config: PrepareConfig) -> int:
    """Count what is to do, and find before hours of decoding what would stop it at the end."""
    count, images = 0, 0
    given, ids = [], []
    for record in source.records:
        count += 1
        images += record.image is not None
        if record.split is not None:
            given.append((record.patient, record.split))
            ids.append(record.id)
    if images and config.size is None:
        raise InputError(
            f"{config.source} holds {images} images: give the side of the squares to store, "
            "such as --size 224"
        )
    one_split_a_patient(given, ids, config.split_conflicts)
    return count


def prepare_source(
    source: Source, config: PrepareConfig, total: int | None = None
) -> PrepareSummary:
    """Make a store of `source`.

    Args:
        total: number of records, for the bar and the time left; no bar without it.
    """
    if (done := _finished(config)) is not None:
        return done
    _check_place(config.store)
    links = [open_store(path) for path in config.link]
    given = None if config.key is None else read_key(config.key)
    parts = Parts(config.store, source.label_names)
    writable(config.store)
    try:
        with FileLock(config.store / ".lock", timeout=0):
            parts.begin(config.decoding())
            key = store_key(config.store, given)
            building = _Building(config, parts)
            with progress("prepare", total or 0, unit="records", show=total is not None) as ticker:
                building.build(source.records, ticker)
            set_aside = [*source.set_aside, *building.set_aside]
            rows = parts.rows(building.shards)
            if not rows.height:
                write_set_aside(config.store / "set_aside.csv", set_aside)
                raise InputError(_nothing(config, set_aside))
            people = [building.people[position] for position in rows["position"]]
            finish(config, source, rows, people, set_aside, links, key)
            shutil.rmtree(parts.folder)
    except Timeout:
        raise InputError(f"another prepare is writing {config.store}; wait until it ends") from None
    return _summary(config, building.finished_before)


def _check_place(store: Path) -> None:
    """Refuse to write among files that are not a store's."""
    if not store.exists():
        return
    foreign = not store.is_dir() or (
        not (store / "parts").is_dir() and any(not f.name.startswith(".") for f in store.iterdir())
    )
    if foreign:
        raise InputError(f"{store} is there and is not a store: choose another folder")


class _Building:
    """Shard after shard of 512 records; those that an earlier call finished are not done again."""

    def __init__(self, config: PrepareConfig, parts: Parts) -> None:
        self.config = config
        self.parts = parts
        self.limits = config.limits.limits
        self.people: list[Person] = []
        self.set_aside: list[SetAside] = []
        self.shards = 0
        self.finished_before = 0

    def build(self, records: Iterable[SourceRecord], ticker: Ticker) -> None:
        unique = self._unique(records)
        far = self.config.on == "ray"
        with FarDecoder() if far else Decoder(self.config.workers) as decoder:
            while chunk := list(islice(unique, SHARD_SIZE)):
                set_aside = self.parts.finished(self.shards, chunk)
                if set_aside is not None:
                    self.finished_before += 1
                    ticker.advance(len(chunk), "finished before")
                else:
                    set_aside = self._shard(chunk, decoder, ticker)
                self.set_aside += set_aside
                self.people += [Person(record.patient, record.split) for record in chunk]
                self.shards += 1

    def _unique(self, records: Iterable[SourceRecord]) -> Iterator[SourceRecord]:
        """Leave out records that a store cannot hold; they are listed with the reason."""
        met: set[str] = set()
        for record in records:
            if record.id in met:
                reason = f"its id {record.id} was met before; the first record counts"
            elif record.image is None and not record.report:
                reason = "it has neither an image nor a report"
            else:
                met.add(record.id)
                yield record
                continue
            self.set_aside.append(SetAside(self._path(record), reason))

    def _shard(
        self, chunk: Sequence[SourceRecord], decoder: Decoder | FarDecoder, ticker: Ticker
    ) -> list[SetAside]:
        self.parts.forget(self.shards)
        rows: list[dict[str, Any]] = []
        set_aside: list[SetAside] = []
        first = self.shards * SHARD_SIZE
        results = decoder.in_order(self._jobs(chunk))
        with ExitStack() as stack:
            images = self._pictures(stack, "images", any(r.image for r in chunk))
            masks = self._pictures(stack, "masks", any(r.image and r.mask for r in chunk))
            blank = np.full((self.config.size or 0,) * 2, NOT_ANNOTATED, np.uint8)
            for position, record in enumerate(chunk, first):
                decoded = next(results) if record.image is not None else None
                ticker.advance()
                if decoded is not None and decoded.reason is not None:
                    set_aside.append(SetAside(self._path(record), decoded.reason))
                    continue
                row = part_row(position, record, self._image_path(record), decoded)
                if decoded is not None and decoded.image is not None and images is not None:
                    row |= {"shard": self.shards, "index": images.append(decoded.image)}
                    if masks is not None:
                        masks.append(blank if decoded.mask is None else decoded.mask)
                    if decoded.mask_reason is not None:
                        reason = f"its mask is left out: {decoded.mask_reason}"
                        set_aside.append(SetAside(self._path(record), reason))
                rows.append(row)
        self.parts.finish(self.shards, chunk, rows, set_aside)
        return set_aside

    def _jobs(self, chunk: Sequence[SourceRecord]) -> Iterator[Job]:
        config = self.config
        for key, record in enumerate(chunk):
            if record.image is not None:
                if config.size is None:
                    raise InputError(
                        f"{config.source} holds images: give the side of the squares to store, "
                        "such as --size 224"
                    )
                yield Job(
                    key,
                    record.image,
                    record.mask,
                    config.size,
                    config.fit,
                    config.bits,
                    self.limits,
                )

    def _pictures(self, stack: ExitStack, kind: str, wanted: bool) -> Pictures | None:
        if not wanted or self.config.size is None:
            return None
        dtype = "|u1" if kind == "masks" or self.config.bits == 8 else "<u2"
        path = self.config.store / shard_name(kind, self.shards)
        return stack.enter_context(pictures(path, dtype, self.config.size))

    def _path(self, record: SourceRecord) -> str:
        return self._image_path(record) or record.id

    def _image_path(self, record: SourceRecord) -> str | None:
        """Relative to the source, so that a store tells nothing of the machine it was made on."""
        if record.image is None:
            return None
        roots = [self.config.source, self.config.options.images]
        image = Path(os.path.realpath(record.image))
        for root in (Path(os.path.realpath(root)) for root in roots if root is not None):
            if image.is_relative_to(root):
                return image.relative_to(root).as_posix()
        return record.image.name


def _finished(config: PrepareConfig) -> PrepareSummary | None:
    """What there is to say of a store that is whole already; None where it is not.

    Raises:
        InputError: it was made with other settings.
    """
    if not (config.store / "store.json").exists():
        return None
    # stores of before a limit was a setting were made with its default
    before = asdict(LimitFlags()) | without_places(open_store(config.store).info["settings"])
    now = without_places(config.settings())
    differing = [key for key, value in now.items() if before.get(key) != value]
    if differing:
        raise InputError(
            f"{config.store} holds a store made with other settings ({', '.join(differing)}): "
            "choose another folder, or delete it"
        )
    shutil.rmtree(config.store / "parts", ignore_errors=True)
    seal(config.store)
    return _summary(config, finished_before=0)


def _summary(config: PrepareConfig, finished_before: int) -> PrepareSummary:
    store = open_store(config.store)
    info = store.info
    set_aside = [SetAside(**item) for item in info["set_aside"]]
    return PrepareSummary(
        store=config.store,
        records=info["count"],
        images=info["images"],
        masks=info["masks"],
        mask_names=store.mask_names,
        masks_resized=info.get("masks_resized", 0),
        reports=info["reports"],
        patients=info["patients"],
        splits=info["splits"],
        set_aside=set_aside,
        may_show_text=info.get("may_show_text", 0),
        joined=len(info["joined_patients"]),
        finished_before=finished_before,
        too_many_bad=config.max_bad is not None and len(set_aside) > config.max_bad,
    )


def _nothing(config: PrepareConfig, set_aside: Sequence[SetAside]) -> str:
    if not set_aside:
        return f"{config.source} holds no records for the layout {config.layout}"
    first = set_aside[0]
    return (
        f"none of the {len(set_aside)} records of {config.source} can be taken in, see "
        f"{config.store / 'set_aside.csv'}; the first, {first.path}: {first.reason}"
    )
