"""Prepared records on disk: ordinary files, memory-mapped pixels, and choices among them."""

from collections import OrderedDict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int64, Shaped, UInt8

from radlearn.errors import InputError
from radlearn.files import resolved, spelled
from radlearn.records.record import UNCERTAIN, Split, View
from radlearn.records.splits import fingerprint
from radlearn.records.storage import read_file
from radlearn.records.store_files import mapped, read_info, read_rows

OPEN_SHARDS = 512  # 262,144 pictures: to open a shard costs as much as a third of a picture's way
LABEL = "label:"

Need = Literal["image", "report", "labels", "mask"]
Uncertain = Literal["ignore", "zero", "one"]


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store.

    It is pickled as its path, so that loader workers open it for themselves; pixels are mapped
    when first asked for.

    Attributes:
        info: store.json.
        rows: records.parquet, a row a record.
    """

    path: Path
    info: dict[str, Any] = field(repr=False)
    rows: pl.DataFrame = field(repr=False)

    @property
    def size(self) -> int | None:
        """Side of the stored squares in pixels, None where the store holds no images."""
        return self.info["size"]

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(self.info["label_names"])

    @property
    def mask_names(self) -> tuple[str, ...]:
        """Classes of the masks: the pixel value 1 is the first; empty where there are no masks."""
        return tuple(self.info.get("mask_names", ["mask"] if self.info["masks"] else []))

    @property
    def licences(self) -> list[dict[str, str]]:
        """`name`, `licence` and `terms` of each source."""
        return list(self.info["sources"])

    def image(self, row: int) -> Shaped[np.ndarray, "size size"] | None:
        """The picture of a record, uint8 or uint16; None where it has none."""
        return self._pixels("images", row) if self._shards[row] >= 0 else None

    def mask(self, row: int) -> UInt8[np.ndarray, "size size"] | None:
        """The mask of a record, None where it has none; one without foreground is a mask too.

        0 is background, k the class `mask_names[k - 1]`, and `NOT_ANNOTATED` (255) neither.
        """
        return self._pixels("masks", row) if self._has_mask[row] else None

    @cached_property
    def label_values(self) -> Float32[np.ndarray, "records labels"]:
        """0, 1, `UNCERTAIN`, and NaN where not labelled; a column a name of `label_names`."""
        columns = [self.rows[LABEL + name].to_numpy() for name in self.label_names]
        if not columns:
            return np.zeros((self.rows.height, 0), np.float32)
        return np.stack(columns, axis=1).astype(np.float32)

    @cached_property
    def _shards(self) -> Int64[np.ndarray, " records"]:
        return self.rows["shard"].cast(pl.Int64).fill_null(-1).to_numpy()

    @cached_property
    def _places(self) -> Int64[np.ndarray, " records"]:
        return self.rows["index"].cast(pl.Int64).fill_null(-1).to_numpy()

    @cached_property
    def _has_mask(self) -> Bool[np.ndarray, " records"]:
        return self.rows["has_mask"].to_numpy()

    @cached_property
    def _open(self) -> "OrderedDict[str, np.ndarray]":
        return OrderedDict()

    def _pixels(self, kind: str, row: int) -> np.ndarray:
        name = shard_name(kind, int(self._shards[row]))
        shard = self._open.pop(name, None)
        if shard is None:
            try:
                shard = read_file(self.path, name, mapped)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"the store {spelled(self.path)} is damaged: cannot read {name} ({error}); "
                    "prepare it again"
                ) from error
            while len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open[name] = shard
        return np.array(shard[self._places[row]])  # a copy: torch warns of what cannot be written

    def __reduce__(self) -> tuple[Callable[[Path], "Store"], tuple[Path]]:
        return open_store, (self.path,)


def shard_name(kind: str, shard: int) -> str:
    return f"{kind}-{shard:05d}.npy"


def open_store(path: Path) -> Store:
    """Open a finished store.

    Raises:
        InputError: there is no store, it is not finished, or another version wrote it.
    """
    path = resolved(Path(path))
    info = read_info(path, "a store", "radlearn prepare")
    if info.get("kind") == "pairs":
        raise InputError(
            f"{spelled(path)} holds pairs of scans, not radiographs: use radlearn translate on it"
        )
    rows = read_rows(path, info["count"], "records")
    labels = info.get("label_names")
    described = isinstance(labels, list) and {f"{LABEL}{name}" for name in labels} <= {
        *rows.columns
    }
    if not described or not isinstance(info.get("size", ""), int | None):
        raise InputError(
            f"the store {spelled(path)} is damaged: its store.json does not describe its records; "
            "prepare it again"
        )
    return Store(path, info, rows)


@dataclass(frozen=True, eq=False)
class Selection:
    """An ordered choice of records over one or more stores; `at` holds (store, row) of each."""

    stores: tuple[Store, ...]
    at: Int64[np.ndarray, "records 2"]

    def __len__(self) -> int:
        return len(self.at)

    @property
    def ids(self) -> list[str]:
        return self.column("id")

    @property
    def patients(self) -> list[str]:
        """Hashed; the records of stores that were linked share the hash of a patient they share."""
        return self.column("patient")

    @property
    def has_image(self) -> Bool[np.ndarray, " records"]:
        return np.array([shard is not None for shard in self.column("shard")], bool)

    @property
    def has_report(self) -> Bool[np.ndarray, " records"]:
        return np.array([report is not None for report in self.column("report")], bool)

    @property
    def size(self) -> int | None:
        """Side of the pictures in pixels, None where no store holds any."""
        return next((store.size for store in self.stores if store.size is not None), None)

    @property
    def mask_names(self) -> tuple[str, ...]:
        """`Store.mask_names` of all stores with masks; InputError where they are not the same."""
        found = {store.mask_names: store.path.name for store in self.stores if store.mask_names}
        if len(found) > 1:
            said = "; ".join(f"{name} of {', '.join(names)}" for names, name in found.items())
            raise InputError(
                f"the stores hold masks of different classes: {said}; prepare them alike"
            )
        return next(iter(found), ())

    def image(self, position: int) -> Shaped[np.ndarray, "size size"] | None:
        store, row = self.at[position]
        return self.stores[store].image(int(row))

    def mask(self, position: int) -> UInt8[np.ndarray, "size size"] | None:
        store, row = self.at[position]
        return self.stores[store].mask(int(row))

    def report(self, position: int) -> str | None:
        store, row = self.at[position]
        return self.stores[store].rows["report"][int(row)]

    def labels(
        self, names: Sequence[str], uncertain: Uncertain
    ) -> Float32[np.ndarray, "records labels"]:
        """0, 1, and NaN where not labelled.

        Args:
            names: columns, in this order. A store without one of them counts as not labelled.
            uncertain: what an uncertain label becomes: not labelled, 0 or 1.

        Raises:
            InputError: no store has a label of that name.
        """
        known = {name for store in self.stores for name in store.label_names}
        if missing := [name for name in names if name not in known]:
            raise InputError(
                f"no label named {', '.join(missing)} in {_names(self.stores)}; "
                f"the labels are: {', '.join(sorted(known)) or 'none'}"
            )
        values = np.full((len(self), len(names)), np.nan, np.float32)
        for number, store in enumerate(self.stores):
            mine = self.at[:, 0] == number
            for column, name in enumerate(names):
                if name in store.label_names:
                    place = store.label_names.index(name)
                    values[mine, column] = store.label_values[self.at[mine, 1], place]
        values[values == UNCERTAIN] = {"ignore": np.nan, "zero": 0.0, "one": 1.0}[uncertain]
        return values

    def column(self, name: str) -> list[Any]:
        """Any column of the records, None where a store does not have it.

        Raises:
            InputError: no store has the column.
        """
        if not any(name in store.rows.columns for store in self.stores):
            raise InputError(
                f"no column named {name} in {_names(self.stores)}; there are "
                f"{', '.join(sorted({c for store in self.stores for c in store.rows.columns}))}"
            )
        values: list[Any] = [None] * len(self)
        for number, store in enumerate(self.stores):
            if name not in store.rows.columns:
                continue
            mine = np.nonzero(self.at[:, 0] == number)[0]
            taken = store.rows[name].gather(self.at[mine, 1]).to_list()
            for position, value in zip(mine.tolist(), taken, strict=True):
                values[position] = value
        return values

    def take(self, positions: Sequence[int] | Int64[np.ndarray, " chosen"]) -> "Selection":
        return Selection(self.stores, self.at[np.asarray(positions, np.int64)])

    def shared_with(self, other: "Selection") -> list[str]:
        """Ids of the records whose patient, or whose very file in another store, `other` has too.

        Stores that were prepared without a link to each other hash a patient in two ways; a file
        that both hold gives the patient away.
        """
        patients = set(other.patients)
        files: dict[str, set[Path]] = {}
        for file, (store, _) in zip(other.column("sha256"), other.at, strict=True):
            if file is not None:
                files.setdefault(file, set()).add(other.stores[store].path)
        rows = zip(self.ids, self.patients, self.column("sha256"), self.at[:, 0], strict=True)
        return [
            own
            for own, patient, file, store in rows
            if patient in patients or files.get(file, set()) - {self.stores[store].path}
        ]

    def fingerprint(self) -> str:
        """SHA-256 of the sorted ids: the same records anywhere have the same fingerprint."""
        return fingerprint(self.ids)

    def licences(self) -> list[dict[str, str]]:
        """`name`, `licence` and `terms` of all that is chosen; a record's own licence included."""
        found: dict[tuple[str, str, str], None] = {}
        for number in sorted(set(self.at[:, 0].tolist())):
            store = self.stores[number]
            rows = self.at[self.at[:, 0] == number, 1]
            own = sorted(set(store.rows["licence"].gather(rows).drop_nulls().to_list()))
            for source in store.licences:
                for licence in (source["licence"], *own):
                    found[source["name"], licence, source["terms"]] = None
        return [{"name": n, "licence": licence, "terms": t} for n, licence, t in found]


def select(
    stores: Sequence[Store],
    *,
    split: Split | None,
    view: Literal["frontal", "lateral", "all"] = "frontal",
    needs: Set[Need] = frozenset(),
    fraction: float = 1.0,
) -> Selection:
    """Choose records.

    Args:
        split: None for all, those that are in no split too.
        view: "frontal" keeps what is frontal and what does not say.
        needs: what a record must have.
        fraction: share of what all the rest chooses, in (0, 1]; at least one record. Shares nest:
            5 % is inside 20 %, at the same seed of the stores, and takes from each alike.

    Raises:
        InputError: nothing is left, or the stores hold pictures of different sizes.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"the fraction {fraction} is not above 0 and at most 1; 0.05 is 5 %")
    sizes = {store.size: store.path.name for store in stores if store.size is not None}
    if len(sizes) > 1:
        named = ", ".join(f"{name} {size} px" for size, name in sizes.items())
        raise InputError(
            f"the stores hold pictures of different sizes: {named}; prepare them at one size"
        )
    chosen = []
    for number, store in enumerate(stores):
        rows = np.nonzero(_wanted(store, split, view, needs))[0]
        place = store.rows["order"].to_numpy()[rows] / max(store.rows.height, 1)
        chosen.append(np.stack([place, np.full(len(rows), number), rows], axis=1))
    ordered = np.concatenate(chosen) if chosen else np.zeros((0, 3))
    if not len(ordered):
        raise InputError(_nothing(stores, split, view, needs))
    ordered = ordered[np.lexsort((ordered[:, 1], ordered[:, 0]))]
    count = max(round(fraction * len(ordered)), 1)
    return Selection(tuple(stores), ordered[:count, 1:].astype(np.int64))


def _wanted(
    store: Store, split: Split | None, view: str, needs: Set[Need]
) -> Bool[np.ndarray, " records"]:
    rows = store.rows
    keep = np.ones(rows.height, bool)
    if split is not None:
        keep &= (rows["split"] == split.value).fill_null(False).to_numpy()
    if view != "all":
        views = [View.FRONTAL, View.UNKNOWN] if view == "frontal" else [View.LATERAL]
        keep &= rows["view"].is_in([str(name) for name in views]).to_numpy()
    if "image" in needs:
        keep &= rows["shard"].is_not_null().to_numpy()
    if "report" in needs:
        keep &= rows["report"].is_not_null().to_numpy()
    if "mask" in needs:
        keep &= rows["has_mask"].to_numpy()
    if "labels" in needs:
        keep &= ~np.isnan(store.label_values).all(axis=1)
    return keep


def _nothing(stores: Sequence[Store], split: Split | None, view: str, needs: Set[Need]) -> str:
    asked = [f"split {split}"] * (split is not None) + [f"view {view}"] * (view != "all")
    asked += [f"with {need}" for need in sorted(needs)]
    there = []
    for store in stores:
        info = store.info
        parts = ", ".join(f"{k} {v['records']}" for k, v in info["splits"].items()) or "no splits"
        there.append(
            f"{store.path.name} has {info['count']} records ({info['images']} images, "
            f"{info['reports']} reports, {info['masks']} masks, "
            f"{len(store.label_names)} labels; {parts})"
        )
    return (
        f"no record left of {', '.join(asked) or 'everything'}: "
        f"{'; '.join(there) or 'no store given'}"
    )


def _names(stores: Sequence[Store]) -> str:
    return ", ".join(store.path.name for store in stores)
