"""The files that a store of either kind is made of, read and checked."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radlearn.errors import InputError
from radlearn.files import is_remote, read_json, spelled
from radlearn.records.storage import listing, read_file

FORMAT = 1


def read_info(path: Path, what: str, made_by: str) -> dict[str, Any]:
    """store.json of a finished store of either kind.

    Args:
        what: what is looked for, for the error.
        made_by: the command that makes one.

    Raises:
        InputError: there is none, it is not finished, or another version wrote it.
    """
    if is_remote(path):
        listing(path, fresh=True)
    elif not path.is_dir():
        raise InputError(f"no store at {path}: there is no such folder; make one with {made_by}")
    elif not (path / "store.json").exists() and (path / "parts").is_dir():
        raise InputError(f"the store {path} is not finished: run the same prepare command again")
    info = read_file(path, "store.json", partial(read_json, what=what))
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise InputError(
            f"{spelled(path)} is no store that this version can read; prepare it again"
        )
    if not isinstance(info.get("count"), int):
        raise InputError(
            f"the store {spelled(path)} is damaged: its store.json does not say how much it holds; "
            "prepare it again"
        )
    return info


def read_rows(path: Path, count: int, what: str) -> pl.DataFrame:
    """records.parquet of a store whose store.json counts `count` of `what`.

    Raises:
        InputError: it cannot be read, or holds another number.
    """
    try:
        rows = read_file(path, "records.parquet", partial(pl.read_parquet, glob=False))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot read records.parquet of {spelled(path)}: {error}; prepare it again"
        ) from error
    if rows.height != count:
        raise InputError(
            f"the store {spelled(path)} is damaged: {rows.height} {what} where store.json says "
            f"{count}; prepare it again"
        )
    return rows


def mapped(path: Path) -> np.ndarray:
    """The array of an .npy file, mapped."""
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
