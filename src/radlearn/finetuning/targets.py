"""A column of a store as what is to be learned: classes by their names, or numbers."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from radlearn.errors import InputError
from radlearn.records.record import View
from radlearn.records.store import Selection, Store

PLAIN = ("view", "sex", "age")
EXTRA = "extra:"
MOST_CLASSES = 100


def full_name(stores: Sequence[Store], name: str) -> str:
    """The stores' own name of a column; "extra:" may be left out.

    Raises:
        InputError: no store has it.
    """
    columns = {column for store in stores for column in store.rows.columns}
    known = {c for c in columns if c in PLAIN or c.startswith(EXTRA)}
    found = [n for n in (name, EXTRA + name) if n in known]
    if not found:
        there = sorted(c.removeprefix(EXTRA) for c in known)
        raise InputError(f"no column named {name} to go by; there are {', '.join(there)}")
    return found[0]


def texts(records: Selection, column: str) -> list[str | None]:
    """A column as text; None where it is empty, or where the view is not known."""
    return [
        None if value is None or str(value).strip() in ("", str(View.UNKNOWN)) else _text(value)
        for value in records.column(column)
    ]


def numbers(records: Selection, column: str) -> Float32[np.ndarray, "records 1"]:
    """A column as numbers; NaN where it is empty.

    Raises:
        InputError: it holds something else.
    """
    given = texts(records, column)
    found = [math.nan if value is None else _number(value) for value in given]
    odd = [value for value, number in zip(given, found, strict=True) if number is None]
    if odd:
        raise InputError(
            f"column {column} holds {odd[0]!r} and {len(odd) - 1} more values that are no numbers; "
            "learn it with --task single-label or ordinal"
        )
    return np.array(found, np.float32)[:, None]


def places(
    records: Selection, column: str, classes: Sequence[str]
) -> Float32[np.ndarray, "records 1"]:
    """The place of each record's class among `classes`; NaN where it has none of them."""
    place = {name: at for at, name in enumerate(classes)}
    found = [place.get(value, math.nan) for value in texts(records, column)]  # type: ignore[arg-type]
    return np.array(found, np.float32)[:, None]


def classes_of(
    records: Selection, column: str, given: Sequence[str], rising: bool
) -> tuple[str, ...]:
    """The classes of a column: those given, or all that the training records have.

    Args:
        rising: whether their order counts; then names that are no numbers must be given.

    Raises:
        InputError: there are too few or too many, one given has no record, or the order is open.
    """
    counts = Counter(value for value in texts(records, column) if value is not None)
    about = ", ".join(f"{name} ({counts[name]})" for name in sorted(counts)[:8]) or "nothing"
    if missing := [name for name in given if not counts[name]]:
        raise InputError(f"no training record has {column} {missing[0]}; there is {about}")
    if len(given or counts) < 2:
        raise InputError(
            f"there is nothing to tell apart: the training records (--view) have in {column} "
            f"{about} alone"
        )
    if len(counts) > MOST_CLASSES and not given:
        raise InputError(
            f"column {column} has {len(counts)} different values; name some by --classes, or "
            "learn numbers with --task continuous"
        )
    if given:
        return tuple(given)
    if all(_number(name) is not None for name in counts):
        return tuple(sorted(counts, key=float))
    if rising:
        raise InputError(
            f"which way {column} rises cannot be known from {about}; say it from low to high by "
            "--classes"
        )
    return tuple(sorted(counts))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
