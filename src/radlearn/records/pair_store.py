"""Prepared pairs on disk: a memory-mapped volume a side, and where it came from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Float16, Float32

from radlearn.errors import InputError
from radlearn.files import resolved, spelled
from radlearn.records.record import Split
from radlearn.records.storage import read_file
from radlearn.records.store_files import mapped, read_info, read_rows

KIND = "pairs"


@dataclass(frozen=True, eq=False)
class PairStore:
    """A finished store of pairs; pickled as its path.

    Attributes:
        info: store.json.
        rows: records.parquet, a row a pair.
    """

    path: Path
    info: dict[str, Any] = field(repr=False)
    rows: pl.DataFrame = field(repr=False)

    def source(self, row: int) -> Float16[np.ndarray, "channels depth height width"]:
        """The source of a pair, mapped from disk: background -1, not clipped.

        Raises:
            InputError: the pair has none, or its file is damaged.
        """
        return self._volume(row, "source")

    def target(self, row: int) -> Float16[np.ndarray, "channels depth height width"]:
        """The target on the source's grid, likewise."""
        return self._volume(row, "target")

    def has_source(self, row: int) -> bool:
        return bool(self.rows["has_source"][row])

    def has_target(self, row: int) -> bool:
        return bool(self.rows["has_target"][row])

    def slices(self, row: int) -> list[int]:
        """Those that hold enough to train on and to score; ascending."""
        return self.rows["slices"][row].to_list()

    def _volume(self, row: int, side: str) -> Float16[np.ndarray, "channels depth height width"]:
        number, own = self.rows["volume"][row], self.rows["id"][row]
        if not self.rows[f"has_{side}"][row]:
            raise InputError(
                f"{own} in {spelled(self.path)} has no {side}; the store holds unpaired scans"
            )
        name = volume_name(number, side)
        try:
            values = read_file(self.path, name, mapped)
        except (OSError, ValueError) as error:
            raise InputError(
                f"the store {spelled(self.path)} is damaged: cannot read {name} ({error}); "
                "prepare it again"
            ) from error
        if values.dtype != np.float16 or values.ndim != 4:
            raise InputError(
                f"the store {spelled(self.path)} is damaged: {name} is {values.ndim}-D "
                f"{values.dtype} where 4-D float16 was looked for; prepare it again"
            )
        return values

    def __reduce__(self) -> tuple[Callable[[Path], "PairStore"], tuple[Path]]:
        return open_pairs, (self.path,)


def volume_name(number: int, side: str) -> str:
    return f"volumes/{number:05d}-{side}.npy"


def open_pairs(path: Path) -> PairStore:
    """Open a finished store of pairs.

    Raises:
        InputError: there is none, it is not finished, or it holds something else.
    """
    path = resolved(Path(path))
    info = read_info(path, "a store of pairs", "radlearn prepare mri-pairs")
    if info.get("kind") != KIND:
        raise InputError(
            f"{spelled(path)} holds radiographs, not pairs: use pretrain or finetune on it, "
            "or make a store of pairs with radlearn prepare mri-pairs"
        )
    return PairStore(path, info, read_rows(path, info["count"], "pairs"))


def rows_of(store: PairStore, split: Split | None) -> list[int]:
    """Rows of a split, or of all, by the store's seeded order."""
    rows = store.rows.with_row_index("row")
    if split is not None:
        rows = rows.filter(pl.col("split") == split.value)
    return rows.sort("order")["row"].to_list()


def clipped(pixels: Float[np.ndarray, "*any"]) -> Float32[np.ndarray, "*any"]:
    """What training sees: in [-1, 1], the background exactly -1."""
    return np.clip(pixels.astype(np.float32), -1.0, 1.0)
