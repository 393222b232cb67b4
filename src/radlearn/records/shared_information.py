"""What two images of different contrast tell of one another, place by place.

The mean of log2 p(a, b) / p(a) p(b) over places is mutual information (Viola and Wells, ICCV 1995).
With the histogram of some places and the grey values of others, it says whether a map holds where
it was not fitted; by blocks, whether one part of the images is still out of line.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

LOWEST, HIGHEST = -1.0, 1.2
BINS = 32
CUTS = 3  # blocks along an axis
SCRAP = 0.3  # of the usual block's places; those that hold fewer are left out
SMOOTH = 2.0  # mm, before parts are shifted by voxels
BLUR = 1.0  # bins: a histogram of few places is full of holes

Table = Float[np.ndarray, "bins bins"]


def table_of(
    one: Float[np.ndarray, "*space"],
    other: Float[np.ndarray, "*space"],
    where: Bool[np.ndarray, "*space"],
) -> Table:
    """log2 p(a, b) / p(a) p(b) of the places `where`, by bins of grey values."""
    both = _bins(one[where]) * BINS + _bins(other[where])
    joint = np.bincount(both, minlength=BINS**2).reshape(BINS, BINS).astype(np.float64)
    joint = ndimage.gaussian_filter(joint, BLUR) + 1e-3
    joint /= joint.sum()
    return np.log2(joint / (joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)))


def told(
    table: Table, one: Float[np.ndarray, "*space"], other: Float[np.ndarray, "*space"]
) -> Float[np.ndarray, "*space"]:
    """Bits that grey values tell of one another at every place, by a histogram's table."""
    return table[_bins(one), _bins(other)]


def told_more(
    before: Float[np.ndarray, "*space"],
    after: Float[np.ndarray, "*space"],
    about: Float[np.ndarray, "*space"],
    where: Bool[np.ndarray, "*space"],
) -> tuple[float, float]:
    """Bits that `after` tells of `about` beyond what `before` does, and the standard error.

    Histograms are of every other slice, what they tell is counted on the slices between; the error
    is that of the mean over blocks.
    """
    gain = np.zeros(about.shape)
    even = np.indices(about.shape)[0] % 2 == 0
    for part in (even, ~even):
        for sign, image in ((1, after), (-1, before)):
            table = table_of(image, about, where & ~part)
            gain[part] += sign * told(table, image[part], about[part])
    means = _block_means(gain, where)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def residual(
    one: Float[np.ndarray, "*space"],
    other: Float[np.ndarray, "*space"],
    where: Bool[np.ndarray, "*space"],
    spacing: tuple[float, ...],
) -> Float[np.ndarray, "axes blocks"]:
    """How far the two still are apart in each block of the foreground, mm, by axis.

    Each block is shifted by a step to either side; the parabola through what it tells of the other
    image has its top where it fits best. Either image is shifted, and the mean taken. What lies
    beyond 1.5 steps is told as that.
    """
    one, other = (
        ndimage.gaussian_filter(v, [SMOOTH / step for step in spacing]) for v in (one, other)
    )
    table = table_of(one, other, where)
    found = []
    for axis, step in enumerate(spacing):
        shifts = []
        for fixed, moving, read in ((other, one, table), (one, other, table.T)):
            low, middle, high = (
                _block_means(told(read, np.roll(moving, -by, axis), fixed), where)
                for by in (-1, 0, 1)
            )
            sharp = np.minimum(low + high - 2 * middle, -1e-9)
            shifts.append(np.clip((low - high) / sharp / 2, -1.5, 1.5) * step)
        found.append((shifts[0] - shifts[1]) / 2)
    return np.stack(found)


def _block_means(
    values: Float[np.ndarray, "*space"], where: Bool[np.ndarray, "*space"]
) -> Float[np.ndarray, " blocks"]:
    """Means over blocks that cut what is shown in three along each axis; scraps are left out."""
    block = np.zeros(where.shape, np.int64)
    for axis, side in enumerate(where.shape):
        shown = np.flatnonzero(where.any(axis=tuple(a for a in range(where.ndim) if a != axis)))
        third = (np.arange(side) - shown[0]) * CUTS // (shown[-1] - shown[0] + 1)
        along = [side if a == axis else 1 for a in range(where.ndim)]
        block = block * CUTS + np.clip(third, 0, CUTS - 1).reshape(along)
    count = np.bincount(block[where], minlength=CUTS**where.ndim)
    kept = count > SCRAP * np.median(count[count > 0])
    sums = np.bincount(block[where], weights=values[where], minlength=CUTS**where.ndim)
    return sums[kept] / count[kept]


def _bins(values: Float[np.ndarray, "*any"]) -> Int[np.ndarray, "*any"]:
    place = (values - LOWEST) * (BINS / (HIGHEST - LOWEST))
    return np.clip(place.astype(np.int64), 0, BINS - 1)
