"""How far two volumes of different contrast are apart from place to place, once they nearly agree.

Optical flow in Gaussian windows (Lucas and Kanade, IJCAI 1981) between one image and what the other
predicts of it: the mean of its grey values given those of the other, read off their joint
histogram (the correlation ratio of Roche et al., MICCAI 1998, as an image). Either image is laid
over the other: what the method makes up has opposite signs in the two.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

WINDOW = 10.0  # mm, standard deviation: what is apart over less is not told from noise
ROUNDS = ((1.5, 4), (0.75, 4))  # blur in voxels, steps
RIDGE = 0.02  # of the usual structure: where there is none, nothing moves
COARSE = 2  # voxels of a cell on which windows are added up
LOWEST, HIGHEST = -1.0, 1.2
BINS = 48
TURNS = 4  # rounds of turning a field over: each gains a digit where it is smooth

Volume = Float[np.ndarray, "*space"]
Field = Float[np.ndarray, "axes *space"]


def local_flow(
    source: Volume,
    target: Volume,
    weight: Bool[np.ndarray, "*space"],
    spacing: tuple[float, ...],
) -> tuple[Field, Field]:
    """Two estimates in mm of the field w with source(x + w(x)) where target(x) is.

    Args:
        source, target: one channel on one grid of two or three axes, background -1.
        weight: where the two are compared.
        spacing: mm along each axis.

    Returns:
        The source moved onto the target, and the target onto the source, turned over.
    """
    steps = np.array(spacing, np.float64)
    one, other = (np.clip(each, LOWEST, HIGHEST).astype(np.float32) for each in (target, source))
    forth = _one_way(one, other, weight, steps)
    back = _one_way(other, one, weight, steps)
    turned = -back
    for _ in range(TURNS):
        turned = -np.stack([moved(part, turned, steps) for part in back])
    return forth, turned


def _one_way(
    fixed: Volume,
    moving: Volume,
    weight: Bool[np.ndarray, "*space"],
    steps: Float[np.ndarray, " axes"],
) -> Field:
    usual = float(np.median(steps))
    cells = [max(1, round(COARSE * usual / step)) for step in steps]
    window = WINDOW / (steps * cells)
    inside = _cells(weight.astype(np.float32), cells)
    field = np.zeros((fixed.ndim, *inside.shape), np.float32)
    whole = np.zeros((fixed.ndim, *fixed.shape), np.float32)
    for voxels, count in ROUNDS:
        blur = voxels * usual
        for _ in range(count):
            told = _predicted(moved(moving, whole, steps), fixed, weight)
            system = _system(fixed, told, weight, blur / steps, steps, cells, window)
            step = _solved(*system, inside > 0.5)
            length = np.sqrt(np.square(step).sum(axis=0))
            step *= np.minimum(1, blur / np.maximum(length, 1e-9))
            sums = field + step.astype(np.float32)
            field = np.stack(
                [ndimage.gaussian_filter(part, window / 2, mode="nearest") for part in sums]
            )
            whole = np.stack([_spread(part, cells, fixed.shape) for part in field])
    return whole


def moved(values: Volume, field: Field, steps: Float[np.ndarray, " axes"]) -> Volume:
    """The values at x + field(x), field in mm; linear, the edge going on outside."""
    places = np.indices(values.shape, np.float32)
    places += field / steps.reshape(-1, *[1] * values.ndim)
    return ndimage.map_coordinates(values, places, order=1, mode="nearest")


def _predicted(of: Volume, about: Volume, weight: Bool[np.ndarray, "*space"]) -> Volume:
    """What the grey values of `of` say about those of `about`."""
    place = (of - LOWEST) * (BINS / (HIGHEST - LOWEST))
    bins = np.rint(place[weight]).astype(np.int64)
    count = np.bincount(bins, minlength=BINS + 1).astype(np.float64)
    total = np.bincount(bins, weights=about[weight], minlength=BINS + 1)
    count, total = (ndimage.gaussian_filter1d(each, 1.0) for each in (count, total))
    return np.interp(place, np.arange(BINS + 1), total / np.maximum(count, 1e-9))


def _system(
    fixed: Volume,
    predicted: Volume,
    weight: Bool[np.ndarray, "*space"],
    blur: Float[np.ndarray, " axes"],
    steps: Float[np.ndarray, " axes"],
    cells: list[int],
    window: Float[np.ndarray, " axes"],
) -> tuple[Float[np.ndarray, "products *cells"], Float[np.ndarray, "axes *cells"]]:
    """Both sides of the normal equations in every window; far off grey values count little."""
    a, b = ndimage.gaussian_filter(fixed, blur), ndimage.gaussian_filter(predicted, blur)
    error = a - b
    there = ndimage.gaussian_filter(_cells(weight.astype(np.float32), cells), window) + 1e-3
    even = ndimage.gaussian_filter(_cells(error * weight, cells), window) / there
    error = error - _spread(even, cells, error.shape)  # coils shade images, which is no motion
    slopes = np.gradient(b, *steps)
    usual = 1.4826 * float(np.median(np.abs(error[weight]))) + 1e-6
    trust = weight / (1 + np.square(error / (2 * usual))) / usual**2
    axes = range(fixed.ndim)

    def added(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(_cells(trust * values, cells), window)

    products = [added(slopes[i] * slopes[j]) for i in axes for j in axes if i <= j]
    return np.stack(products), np.stack([added(slope * error) for slope in slopes])


def _solved(
    products: Float[np.ndarray, "products *cells"],
    right: Float[np.ndarray, "axes *cells"],
    inside: Bool[np.ndarray, "*cells"],
) -> Float[np.ndarray, "axes *cells"]:
    axes = len(right)
    matrix = np.empty((*right.shape[1:], axes, axes))
    pairs = [(i, j) for i in range(axes) for j in range(i, axes)]
    for (i, j), values in zip(pairs, products, strict=True):
        matrix[..., i, j] = matrix[..., j, i] = values
    structure = np.trace(matrix, axis1=-2, axis2=-1)[inside]
    usual = float(np.median(structure)) / axes if structure.size else 0.0
    matrix += (RIDGE * usual + 1e-9) * np.eye(axes)
    found = np.linalg.solve(matrix, np.moveaxis(right, 0, -1)[..., None])[..., 0]
    return np.moveaxis(found, -1, 0)


def _cells(values: Float[np.ndarray, "*space"], cells: list[int]) -> Float[np.ndarray, "*cells"]:
    """Means over cells; what a last cell lacks is 0."""
    values = np.pad(
        values, [(0, -side % cell) for side, cell in zip(values.shape, cells, strict=True)]
    )
    split = [
        part for n, cell in zip(values.shape, cells, strict=True) for part in (n // cell, cell)
    ]
    return values.reshape(split).mean(axis=tuple(range(1, 2 * values.ndim, 2)))


def _spread(
    values: Float[np.ndarray, "*cells"], cells: list[int], shape: tuple[int, ...]
) -> Float[np.ndarray, "*space"]:
    """From cells back to voxels, linear between the cells' middles."""
    places = np.indices(shape, np.float32)
    for place, cell in zip(places, cells, strict=True):
        place -= (cell - 1) / 2
        place /= cell
    return ndimage.map_coordinates(values, places, order=1, mode="nearest")
