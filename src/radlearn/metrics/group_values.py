"""From a column of records to the name of each record's group: values as they are, or bands."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from radlearn.errors import InputError

UNKNOWN = "unknown"
MOST_GROUPS = 24
AGES = (0.0, 18.0, 40.0, 60.0, 80.0)
"""The bands of a column named age for which none are given."""

BANDS = re.compile(r"^(.+):(\d+(?:\.\d+)?(?:-\d+(?:\.\d+)?)*)$")


class Grouping(NamedTuple):
    """A column, and the edges of its bands where numbers are to be cut."""

    column: str
    edges: tuple[float, ...] = ()


def grouping_of(text: str) -> Grouping:
    """What `sex`, `extra:site` or `age:0-40-60-80` asks for; the last band is open above.

    Raises:
        InputError: edges that do not rise.
    """
    found = BANDS.match(text)
    if found is None:
        return Grouping(text)
    edges = tuple(float(edge) for edge in found[2].split("-"))
    if any(low >= high for low, high in pairwise(edges)):
        raise InputError(f"--groups {text}: the edges of bands rise, as in age:0-40-60-80")
    return Grouping(found[1], edges)


def group_names(grouping: Grouping, values: Sequence[Any]) -> list[str]:
    """Each record's group; what is missing is a group of its own.

    Bands are called `<18` (below the first edge), `18-40` (from 18 to below 40) and `80+`.

    Args:
        values: of the column, None, NaN and blanks where unknown.

    Raises:
        InputError: bands of text, numbers without bands, or more than `MOST_GROUPS` groups.
    """
    known = [None if _missing(value) else value for value in values]
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    is_numeric = len(numbers) == sum(value is not None for value in known)
    edges = grouping.edges or (AGES if grouping.column == "age" and is_numeric else ())
    if edges:
        if not is_numeric:
            text = next(v for v in known if v is not None and v not in numbers)
            raise InputError(
                f"--groups {grouping.column} has bands, and holds {text!r}, which is no number; "
                f"leave the bands out: --groups {grouping.column}"
            )
        return [UNKNOWN if value is None else _band(edges, float(value)) for value in known]
    names = [UNKNOWN if value is None else _name(value) for value in known]
    if len(distinct := set(names)) > MOST_GROUPS:
        what = (
            f"numbers; cut them into bands, such as --groups {grouping.column}:{_cuts(numbers)}"
            if is_numeric
            else "values; a group needs many patients, so choose a column with fewer"
        )
        raise InputError(f"the column {grouping.column} has {len(distinct)} different {what}")
    return names


def in_order(names: Sequence[str]) -> list[str]:
    """The groups: by number where names begin with one, then by name, the unknown last."""

    def key(name: str) -> tuple[bool, bool, float, str]:
        found = re.match(r"<?(\d+(?:\.\d+)?)", name)
        number = float(found[1]) if found else 0.0
        return name == UNKNOWN, found is None, number - 0.5 * name.startswith("<"), name

    return sorted(set(names), key=key)


def _missing(value: Any) -> bool:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in ("", "none", "null", "nan", UNKNOWN)


def _name(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).strip()


def _band(edges: Sequence[float], value: float) -> str:
    at = int(np.searchsorted(edges, value, side="right"))
    if at == 0:
        return f"<{edges[0]:g}"
    if at == len(edges):
        return f"{edges[-1]:g}+"
    return f"{edges[at - 1]:g}-{edges[at]:g}"


def _cuts(numbers: Sequence[float]) -> str:
    """Quartiles as `grouping_of` reads them; from 0 where some are below."""
    edges = np.quantile(numbers, [0, 0.25, 0.5, 0.75]).clip(0)
    return "-".join(dict.fromkeys(f"{edge:.4g}" for edge in edges))
