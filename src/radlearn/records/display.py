"""From stored values to grey: a window that shows the picture, then the type's full range."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Num, UInt8, UInt16

from radlearn.records.guard import Refusal

Values = Float64[np.ndarray, "..."]
Counts = Int64[np.ndarray, "..."]
Shown = UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."]
Grey = UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]

TAILS = 0.005
"""Share of the pixels that the percentile window leaves beyond each of its ends."""
BLOCK = 2**20  # pixels handled at once, so that wide temporaries stay small
SAMPLE = 2**20  # values that stand for an image whose values cannot be counted one by one


@dataclass(frozen=True)
class Rendering:
    """One way to show an image: `low` is black and `high` is white on the scale of `grey`.

    Attributes:
        name: where it comes from, kept as a header fact.
        grey: stored values to the values that the window speaks of; (n,) to (n,).
    """

    name: str
    grey: Callable[[Values], Values]
    low: float
    high: float

    def brightness(self, stored: Values, inverted: bool) -> Values:
        """In [0, 1]; what is not a number is dark. `inverted`: larger values are darker."""
        if not self.high > self.low:
            return np.zeros(stored.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            grey = self.grey(stored)
            # Taken from either end, not as 1 - x, so that an image and its complement round alike.
            distance = self.high - grey if inverted else grey - self.low
            shown = np.clip(distance / (self.high - self.low), 0.0, 1.0)
        return np.nan_to_num(shown, nan=0.0)


def unchanged(values: Values) -> Values:
    """Stored values that need no mapping before a window."""
    return values


def rendered(
    stored: Num[np.ndarray, "height width"],
    proposals: Sequence[Rendering],
    *,
    grey: Callable[[Values], Values] = unchanged,
    inverted: bool = False,
    padding: tuple[float, float] | None = None,
    bits: int,
) -> tuple[Grey, str]:
    """Show an image by the first proposal that shows anything, else by percentiles.

    A proposal fails where more than 95 % of the pixels come out black, or white, or where the
    middle 98 % of them share less than a tenth of the range. Then the window runs from the 0.5th
    to the 99.5th percentile, or from the smallest to the largest value where these two are equal.
    An image of a single value is dark.

    Args:
        stored: integers or floats; NaN and infinities take no part in the choice.
        proposals: best first.
        grey: the mapping that the percentile window is taken after.
        inverted: larger values are darker.
        padding: stored values from the first to the second of these are no part of the picture:
            they take no part in the choice and come out dark.
        bits: 8 or 16, of the answer.

    Returns:
        The picture, larger is brighter, and the name of the rendering.

    Raises:
        Refusal: there is no finite value.
    """
    levels, counts = _distribution(stored)
    if padding is not None:
        inside = (levels < padding[0]) | (levels > padding[1])
        if inside.any():
            levels, counts = levels[inside], counts[inside]
        else:
            padding = None
    chosen = next(
        (p for p in proposals if _shows(p, levels, counts, inverted)),
        _percentiles(grey, levels, counts),
    )

    dtype = np.uint8 if bits == 8 else np.uint16

    def final(values: Values) -> Shown:
        shown = np.rint(chosen.brightness(values, inverted) * np.iinfo(dtype).max).astype(dtype)
        if padding is not None:
            shown[(values >= padding[0]) & (values <= padding[1])] = 0
        return shown

    return _mapped(stored, final, dtype), chosen.name


def _percentiles(grey: Callable[[Values], Values], levels: Values, counts: Counts) -> Rendering:
    values = grey(levels)
    low, high = _at_ranks(values, counts, TAILS)
    if low == high:
        low, high = float(values.min()), float(values.max())
    return Rendering("percentiles", grey, low, high)


def _shows(rendering: Rendering, levels: Values, counts: Counts, inverted: bool) -> bool:
    shown = rendering.brightness(levels, inverted)
    most = 0.95 * counts.sum()
    if counts[shown <= 0].sum() > most or counts[shown >= 1].sum() > most:
        return False
    dark, bright = _at_ranks(shown, counts, 0.01)
    return bright - dark >= 0.1


def _at_ranks(values: Values, counts: Counts, tail: float) -> tuple[float, float]:
    """Order statistics from both ends: exact, and symmetric under a change of sign."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(counts[order])
    total = int(cumulative[-1])
    rank = int(tail * (total - 1))
    low = order[np.searchsorted(cumulative, rank, side="right")]
    high = order[np.searchsorted(cumulative, total - 1 - rank, side="right")]
    return float(values[low]), float(values[high])


def _rows(stored: np.ndarray) -> Iterator[slice]:
    height = max(1, BLOCK // stored.shape[1])
    return (slice(top, top + height) for top in range(0, stored.shape[0], height))


def _is_countable(dtype: np.dtype) -> bool:
    return np.issubdtype(dtype, np.integer) and dtype.itemsize <= 2


def _distribution(
    stored: Num[np.ndarray, "height width"],
) -> tuple[Values, Counts]:
    """The finite values and how often each is there; a sample and the two ends of wide types."""
    if _is_countable(stored.dtype):
        bounds = np.iinfo(stored.dtype)
        size = int(bounds.max) - int(bounds.min) + 1
        counts = np.zeros(size, np.int64)
        for rows in _rows(stored):
            codes = stored[rows].ravel().astype(np.int64) - int(bounds.min)
            counts += np.bincount(codes, minlength=size)
        present = np.flatnonzero(counts)
        return (present + int(bounds.min)).astype(np.float64), counts[present]
    flat = stored.ravel()
    sample = flat[:: max(1, flat.size // SAMPLE)].astype(np.float64)
    if flat.size > SAMPLE:
        finite = np.isfinite(flat)
        ends = [flat.min(where=finite, initial=np.inf), flat.max(where=finite, initial=-np.inf)]
        sample = np.append(sample, np.asarray(ends, np.float64))
    levels = np.sort(sample[np.isfinite(sample)])
    if not levels.size:
        raise Refusal("it holds no finite pixel value")
    return levels, np.ones(levels.size, np.int64)


def _mapped(
    stored: Num[np.ndarray, "height width"], final: Callable[[Values], Shown], dtype: type
) -> Grey:
    shown: Grey = np.empty(stored.shape, dtype)
    if _is_countable(stored.dtype):
        bounds = np.iinfo(stored.dtype)
        lowest = int(bounds.min)
        table = final(np.arange(lowest, int(bounds.max) + 1, dtype=np.float64))
        for rows in _rows(stored):
            shown[rows] = table[stored[rows].astype(np.int64) - lowest]
    else:
        for rows in _rows(stored):
            shown[rows] = final(stored[rows].astype(np.float64))
    return shown
