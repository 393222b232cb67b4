"""Intensities of a volume on a common scale, and back: background -1, bright tissue 1."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from radlearn.errors import UnreadableError

SAMPLE = 2**21  # voxels that stand for a larger volume
CONSTANT_SHARE = 0.1
"""Share of voxels of one and the same value from which on that value is the background."""
AIR = 0.1  # noise of air lies in this lowest share of the range, or there is no air in sight
NOISE_WIDTHS = 6.0
BINS = 256
FLOAT16_MOST = float(np.finfo(np.float16).max)
FOREGROUND = 0.05
"""Share of the window above which a voxel counts as foreground."""


@dataclass(frozen=True)
class Window:
    """What becomes -1 and what becomes 1, in the volume's own intensities.

    Attributes:
        low: the background: the value that air or a stripped skull has.
        high: a robust percentile of the foreground.
    """

    low: float
    high: float

    @property
    def foreground(self) -> float:
        """The value above which a voxel is foreground."""
        return self.low + FOREGROUND * (self.high - self.low)


def window_of(values: Float[np.ndarray, "..."], percentile: float = 99.5) -> Window:
    """The window of one volume.

    `low` is found in the first way that fits. A value that a tenth of all voxels share, with
    brighter ones above it, is the background as it was written (a stripped skull, zero-filled
    air); what resampling left below it is background too. Else the air is noise: `low` is the
    upper end of its peak in the lowest tenth of the range, six times the median distance of the
    values below the peak (4 standard deviations of Gaussian noise, 99 % of the Rayleigh noise of
    magnitude images). Where no tenth of the voxels is so dark there is no air, and `low` is the
    0.5th percentile.

    Args:
        percentile: of the foreground (all above `low`), that becomes `high`.

    Raises:
        UnreadableError: nothing finite, or one value alone.
    """
    flat = values.reshape(-1)
    step = flat.size // SAMPLE
    sample = flat[:: step | 1] if step > 1 else flat  # an odd step: rows are of even length
    finite = sample[np.isfinite(sample)].astype(np.float64)
    if not finite.size:
        raise UnreadableError("no finite value at all (NaN everywhere)")
    least, most = float(finite.min()), float(finite.max())
    if least == most:
        raise UnreadableError(f"a constant image: every value is {least:g}")
    low = _written_background(finite)
    if low is None:
        low = _air(finite)
    if not (above := finite[finite > low]).size:
        low, above = least, finite
    high = float(np.percentile(above, percentile))
    return Window(low, high if high > low else most)


def _written_background(finite: Float[np.ndarray, " voxels"]) -> float | None:
    levels, counts = np.unique(finite, return_counts=True)
    place = int(counts.argmax())
    common = counts[place] >= CONSTANT_SHARE * finite.size and levels.size > 2
    dark = levels[place] <= np.median(finite) and place < levels.size - 1
    return float(levels[place]) if common and dark else None


def _air(finite: Float[np.ndarray, " voxels"]) -> float:
    darkest, brightest = (float(end) for end in np.percentile(finite, (0.5, 99.5)))
    edge = darkest + AIR * (brightest - darkest)
    dark = finite[finite <= edge]
    if dark.size < CONSTANT_SHARE * finite.size or not edge > darkest:
        return darkest
    counts, ends = np.histogram(finite, BINS, (darkest, brightest))
    inside = max(int(AIR * BINS), 1)
    place = int(counts[:inside].argmax())
    peak = float(ends[place] + ends[place + 1]) / 2
    below = finite[finite <= peak]
    width = float(np.median(peak - below)) if below.size else 0.0
    return min(peak + NOISE_WIDTHS * width, edge)


def scaled(values: Float[np.ndarray, "*any"], window: Window) -> Float32[np.ndarray, "*any"]:
    """2 (v - low) / (high - low) - 1, not clipped; the background is exactly -1."""
    factor = 2.0 / (window.high - window.low)
    return ((values.astype(np.float64) - window.low) * factor - 1.0).astype(np.float32)


def unscaled(values: Float[np.ndarray, "*any"], window: Window) -> Float32[np.ndarray, "*any"]:
    """Back to the volume's own intensities."""
    half = (window.high - window.low) / 2.0
    return ((values.astype(np.float64) + 1.0) * half + window.low).astype(np.float32)


def stored(values: Float32[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """float16 as stores hold it; what that cannot hold becomes its largest value."""
    return np.clip(values, -FLOAT16_MOST, FLOAT16_MOST).astype(np.float16)
