"""Tables as they come: any encoding, BOM, stray spaces, short rows; read row by row."""

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from itertools import chain
from pathlib import Path

from radlearn.errors import InputError
from radlearn.records.dicom_header import FRONTAL, LATERAL, NEITHER
from radlearn.records.record import UNCERTAIN, Split, View

LINE_LIMIT = 8 << 20  # bytes; a longer line is no table's and would fill memory
UNPACKED_LIMIT = 4 << 30  # bytes of a gzipped table; the largest published ones have 1 GB
SHOWN_COLUMNS = 20

SPLITS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VAL,
    "valid": Split.VAL,
    "validate": Split.VAL,
    "validation": Split.VAL,
    "dev": Split.VAL,
    "test": Split.TEST,
    "testing": Split.TEST,
}
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "w": "F"}
EMPTY = {"", "nan", "na", "n/a", "none", "null"}
LABELS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "positive"), 1.0),
    **dict.fromkeys(("0", "0.0", "false", "no", "negative"), 0.0),
    **dict.fromkeys(("-1", "-1.0", "uncertain"), UNCERTAIN),
}
AGE_IN_YEARS = {"y": 1.0, "": 1.0, "m": 1 / 12, "w": 1 / 52.18, "d": 1 / 365.25}


@dataclass(frozen=True)
class Table:
    """A CSV whose header has been read; iterate it for rows as column to stripped text."""

    path: Path
    columns: tuple[str, ...]

    def __iter__(self) -> Iterator[dict[str, str]]:
        rows = raw_rows(self.path)
        next(rows, None)
        for row in rows:
            cells = {c: v for c, v in zip(self.columns, row, strict=False) if c}
            yield {column: cells.get(column, "") for column in self.columns}

    def has(self, column: str) -> bool:
        return column in self.columns


def open_table(path: Path, required: Sequence[str] = ()) -> Table:
    """Read the header of a CSV, plain or gzipped, with commas, semicolons or tabs.

    Raises:
        InputError: no such file, no header, or a required column is not in it.
    """
    header = next(raw_rows(path), None)
    if header is None:
        raise InputError(f"{path} is empty; a table with a header was looked for")
    table = Table(path, tuple(header))
    for column in required:
        if column not in header:
            found = ", ".join(c for c in header[:SHOWN_COLUMNS] if c)
            more = f" and {len(header) - SHOWN_COLUMNS} more" if len(header) > SHOWN_COLUMNS else ""
            raise InputError(f"{path} has no column {column!r}; its columns are: {found}{more}")
    return table


def raw_rows(path: Path) -> Iterator[list[str]]:
    """Rows that are not blank, as stripped cells, the header among them.

    Raises:
        InputError: the file is missing or cannot be read as a table.
    """
    lines = text_lines(path)
    try:
        first = next(lines, None)
        if first is None:
            return
        delimiter = max(",;\t", key=first.count)
        pieces = _Pieces(path, first, lines)
        reader = csv.reader(pieces, delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            pieces.taken = 0
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield cells
    except csv.Error as error:
        raise InputError(f"cannot read {path} as a table: {error}; look at its quotes") from error


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a text file, UTF-8, UTF-16 or Windows-1252, plain or gzipped, without their BOM.

    Raises:
        InputError: the file is missing, damaged, has a line of more than 8 MiB, or unpacks to more
            than 4 GiB.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.peek(2)[:2] == b"\x1f\x8b"
            file = BufferedReader(gzip.GzipFile(fileobj=plain)) if packed else plain
            if file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
                wrapper = TextIOWrapper(file, encoding="utf-16", errors="replace", newline="\n")
                lines: Iterator[str] = iter(lambda: wrapper.readline(LINE_LIMIT), "")
            else:
                lines = map(_decoded, iter(lambda: file.readline(LINE_LIMIT), b""))
            size = 0
            for number, line in enumerate(lines):
                size += len(line)
                if packed and size > UNPACKED_LIMIT:
                    raise InputError(f"{path} unpacks to more than {UNPACKED_LIMIT} bytes")
                if len(line) >= LINE_LIMIT:
                    raise InputError(f"{path} has a line of more than {LINE_LIMIT} bytes")
                text = line.replace("\x00", "")
                yield text if number else text.removeprefix("\ufeff")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, EOFError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def label_of(text: str) -> float | None:
    """0, 1 or `UNCERTAIN`; None where the cell is empty.

    Raises:
        ValueError: the cell holds something else.
    """
    word = text.strip().lower()
    if word in EMPTY:
        return None
    try:
        return LABELS[word]
    except KeyError:
        raise ValueError(f"{text[:40]!r} is not 0, 1 or -1") from None


def number_of(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def age_of(text: str) -> float | None:
    """Years from `63`, `63.0`, `063Y`, `18M`, `90+`; None where nobody can be that old."""
    match = re.fullmatch(r"[<>]?\s*(\d{1,5}(?:\.\d+)?)\s*([ymwd]?)\w*\+?", text.strip().lower())
    if match is None:
        return None
    years = float(match[1]) * AGE_IN_YEARS[match[2]]
    return years if years <= 120 else None


def sex_of(text: str) -> str | None:
    """`M` or `F`, None for anything else."""
    return SEXES.get(text.strip().lower())


def view_of(text: str) -> View:
    """Frontal or lateral from the words that tables and DICOM use for a projection."""
    words = text.lower().replace("_", " ").strip()
    if NEITHER.search(words):
        return View.UNKNOWN
    if LATERAL.search(words) or words == "l":
        return View.LATERAL
    return View.FRONTAL if FRONTAL.search(words) else View.UNKNOWN


def split_of(text: str) -> Split | None:
    """The split a cell names, None where it names none."""
    return SPLITS.get(text.strip().lower())


def _decoded(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


class _Pieces:
    """Lines for `csv`, which joins those between quotes: a row may not go on without end.

    Attributes:
        taken: characters of the row that is being read.
    """

    def __init__(self, path: Path, first: str, rest: Iterator[str]) -> None:
        self.path, self.taken = path, 0
        self._lines = chain((first,), rest)

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.taken += len(line)
            if self.taken > LINE_LIMIT:
                raise InputError(
                    f"{self.path} has a row of more than {LINE_LIMIT} bytes; look at its quotes"
                )
            yield line
