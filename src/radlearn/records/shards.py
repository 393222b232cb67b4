"""A store in the making: shard by shard, each whole or not there, so that a restart goes on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from jaxtyping import Shaped

from radlearn.errors import InputError
from radlearn.files import read_json, replacing, write_json
from radlearn.records.decoding import Decoded
from radlearn.records.record import (
    ClassFiles,
    MaskFiles,
    MaskSource,
    SetAside,
    SourceRecord,
    View,
)
from radlearn.records.store import LABEL, shard_name

SHARD_SIZE = 512


class Pictures:
    """An .npy file that grows a picture at a time; nothing of it stays in memory."""

    def __init__(self, file: BinaryIO, dtype: str, size: int) -> None:
        self.file = file
        self.count = 0
        self.dtype = np.dtype(dtype)
        self.size = size
        self._write_header()

    def append(self, picture: Shaped[np.ndarray, "size size"]) -> int:
        """Add a picture; its index."""
        self.file.write(np.ascontiguousarray(picture, self.dtype).tobytes())
        self.count += 1
        return self.count - 1

    def close(self) -> None:
        self.file.seek(0)
        self._write_header()  # NumPy leaves room for a longer first axis, so it stays as long

    def _write_header(self) -> None:
        shape = (self.count, self.size, self.size)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)


@contextmanager
def pictures(path: Path, dtype: str, size: int) -> Iterator[Pictures]:
    """Write an .npy file of shape (N, size, size), whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        growing = Pictures(file, dtype, size)
        yield growing
        growing.close()


def part_schema(label_names: Sequence[str]) -> dict[str, Any]:
    """Columns of a part: those of records.parquet, less what is known only when all are read."""
    text, number, real = pl.String, pl.Int32, pl.Float32
    return {
        "position": pl.Int64,
        "id": text,
        "view": text,
        "age": real,
        "sex": text,
        "report": text,
        "licence": text,
        "source": text,
        "sha256": text,
        "height": number,
        "width": number,
        "spacing": pl.List(pl.Float64),
        "shard": number,
        "index": number,
        "has_mask": pl.Boolean,
        "mask_resized": pl.Boolean,
        "phash": text,
        "text": text,
        "boxes": text,
        **{LABEL + name: real for name in label_names},
        "extra": text,
        "grey": pl.Float64,
        "grey_squared": pl.Float64,
    }


def part_row(
    position: int, record: SourceRecord, source: str | None, decoded: Decoded | None
) -> dict[str, Any]:
    """The row of one record; the patient is not in it, since a part is not yet hashed."""
    pixels = decoded or Decoded(position)
    return {
        "position": position,
        "id": record.id,
        "view": str(pixels.view if record.view is View.UNKNOWN else record.view),
        "age": pixels.age if record.age is None else record.age,
        "sex": pixels.sex if record.sex is None else record.sex,
        "report": record.report,
        "licence": record.licence,
        "source": source,
        "sha256": pixels.sha256,
        "height": pixels.height,
        "width": pixels.width,
        "spacing": pixels.spacing,
        "has_mask": pixels.mask is not None,
        "mask_resized": pixels.mask_resized,
        "phash": pixels.phash,
        "text": pixels.text,
        "boxes": json.dumps([list(box) for box in record.boxes]) if record.boxes else None,
        **{LABEL + name: float(value) for name, value in record.labels.items()},
        "extra": json.dumps(dict(record.extra), ensure_ascii=False),
        "grey": pixels.grey,
        "grey_squared": pixels.grey_squared,
    }


class Parts:
    """STORE/parts: how pictures are stored, and what is finished of each shard.

    A shard is finished when its .json is there, which is written last.
    """

    def __init__(self, store: Path, label_names: Sequence[str]) -> None:
        self.store = store
        self.folder = store / "parts"
        self.schema = part_schema(label_names)

    def begin(self, settings: dict[str, Any]) -> None:
        """Begin, or go on with what the same settings began.

        Raises:
            InputError: a shard is finished by other settings.
        """
        for left in (*self.store.glob(".*.part"), *self.folder.glob(".*.part")):
            left.unlink()  # of a command that was killed while it wrote
        plan = self.folder / "plan.json"
        if not any(self.folder.glob("part-*.json")):
            write_json(plan, settings)
            return
        before = read_json(plan, "a store in the making")
        differing = [key for key in settings if before.get(key) != settings[key]]
        if differing:
            raise InputError(
                f"{self.store} was begun with other settings ({', '.join(differing)}): give the "
                "same ones to go on, choose another folder, or delete it"
            )

    def finished(self, shard: int, records: Sequence[SourceRecord]) -> list[SetAside] | None:
        """What the finished shard set aside; None where it is not finished, or of other records."""
        path = self._path(shard, "json")
        if not path.exists():
            return None
        part = read_json(path, "a store in the making")
        if part["records"] != digest(records):
            return None
        return [SetAside(**item) for item in part["set_aside"]]

    def finish(
        self,
        shard: int,
        records: Sequence[SourceRecord],
        rows: list[dict[str, Any]],
        set_aside: list[SetAside],
    ) -> None:
        with replacing(self._path(shard, "parquet")) as temporary:
            pl.DataFrame(rows, schema=self.schema).write_parquet(temporary)
        write_json(
            self._path(shard, "json"),
            {
                "records": digest(records),
                "set_aside": [{"path": item.path, "reason": item.reason} for item in set_aside],
            },
        )

    def forget(self, shard: int) -> None:
        """A shard is about to be written (again): until then it is not finished."""
        self._path(shard, "json").unlink(missing_ok=True)
        for kind in ("images", "masks"):
            (self.store / shard_name(kind, shard)).unlink(missing_ok=True)

    def rows(self, shards: int) -> pl.DataFrame:
        tables = [
            pl.read_parquet(self._path(shard, "parquet"), glob=False) for shard in range(shards)
        ]
        return pl.concat(tables) if tables else pl.DataFrame(schema=self.schema)

    def _path(self, shard: int, ending: str) -> Path:
        return self.folder / f"part-{shard:05d}.{ending}"


def digest(records: Sequence[SourceRecord]) -> str:
    """SHA-256 of what a source says of its records and of the size and time of their files."""
    total = hashlib.sha256()
    for record in records:
        total.update(repr(record).encode())
        for path in (record.image, *_mask_files(record.mask)):
            try:
                status = path.stat() if path else None
            except OSError:
                continue
            total.update(f"{status.st_size} {status.st_mtime_ns}".encode() if status else b"")
    return total.hexdigest()


def _mask_files(mask: MaskSource | None) -> Iterator[Path]:
    if isinstance(mask, MaskFiles):
        yield from mask.paths
    elif isinstance(mask, ClassFiles):
        yield from chain.from_iterable(mask.paths)
