"""Whether two pictures are one: lay one over the other, then compare what is fine in them.

The shape of a chest is alike in everybody; ribs and vessels are not. So both pictures are brought
to one local contrast, one is warped over the other by the affine map that fits best, and what is
compared is the fine structure where both show something. The map is found by Gauss-Newton steps in
the inverse compositional form (Baker and Matthews, IJCV 2004) on pictures scaled to zero mean and
unit deviation, coarse to fine.
"""

import numpy as np
from jaxtyping import Bool, Complex, Float
from scipy import fft, ndimage

SIDE = 64
COARSE_WINDOW, FINE_WINDOW = (
    4.0,
    2.0,
)  # pixels over which contrast is evened out: to fit, to compare
LEVELS = ((2.0, 8), (1.0, 12))  # blur in pixels, steps
LEAST_OVERLAP = 0.5
SETTLED = 2e-3  # a step this small, in half sides, is the last
PADDED = 96  # pixels, so that shifts do not wrap around
FARTHEST_SHIFT = 12
FLAT = 4.0  # variance of grey values (0 to 255) below which a place has no structure

Picture = Float[np.ndarray, "64 64"]
Affine = Float[np.ndarray, "3 3"]

_axis = np.linspace(-1.0, 1.0, SIDE)
_ROWS, _COLUMNS = (place.ravel() for place in np.meshgrid(_axis, _axis, indexing="ij"))
_PLACES = np.stack([_ROWS, _COLUMNS, np.ones(SIDE * SIDE)])
_HALF = (SIDE - 1) / 2
_WINDOW = np.sqrt(np.outer(*2 * [np.hanning(SIDE + 2)[1:-1]]))  # no edge that wraps around


def likeness(one: Picture, other: Picture) -> float:
    """Correlation of fine structure, in [-1, 1], after laying `other` over `one`.

    Args:
        one, other: grey values in [0, 255].

    Returns:
        -1 where no map lays at least half of one over the other. On real radiographs of different
        patients that look most alike at most 0.8; on copies that were resized, recompressed,
        windowed or cut by up to 3 % a side, 0.8 to 1.
    """
    affine = _aligned(_evened(one, COARSE_WINDOW), _evened(other, COARSE_WINDOW))
    if affine is None:
        return -1.0
    warped, inside = _warped(_evened(other, FINE_WINDOW), affine)
    if inside.mean() < LEAST_OVERLAP:
        return -1.0
    a = _standard(_evened(one, FINE_WINDOW).ravel()[inside])
    return float((a * _standard(warped[inside])).mean())


def spectrum(picture: Picture) -> Complex[np.ndarray, "rows columns"]:
    """Fine structure of a picture as `best_shift` compares it."""
    structure = _evened(picture, FINE_WINDOW) * _WINDOW
    structure -= structure.mean()
    return fft.rfft2(structure / (np.linalg.norm(structure) + 1e-9), (PADDED, PADDED))


def best_shift(
    one: Complex[np.ndarray, "rows columns"], other: Complex[np.ndarray, "rows columns"]
) -> float:
    """Correlation of fine structure at the best shift of up to 12 of 64 pixels; quick.

    Args:
        one, other: as `spectrum` gives.
    """
    at_shift = fft.irfft2(one * np.conj(other), (PADDED, PADDED))
    near = np.r_[0:FARTHEST_SHIFT, PADDED - FARTHEST_SHIFT : PADDED]
    return float(at_shift[np.ix_(near, near)].max())


def structure_share(picture: Picture) -> float:
    """Share of the picture, 0 to 1, in which grey values (0 to 255) vary at all."""
    return float((_variance(picture, FINE_WINDOW) > FLAT).mean())


def _variance(picture: Picture, window: float) -> Picture:
    mean = ndimage.gaussian_filter(picture, window)
    return np.maximum(ndimage.gaussian_filter(np.square(picture), window) - np.square(mean), 0)


def _evened(picture: Picture, window: float) -> Picture:
    """Local mean 0 and local deviation 1 (0 where it is flat)."""
    mean = ndimage.gaussian_filter(picture, window)
    return (picture - mean) / np.sqrt(_variance(picture, window) + FLAT)


def _aligned(target: Picture, moving: Picture) -> Affine | None:
    """The map from places of `target` to places of `moving`; None where it runs away."""
    affine = np.eye(3)
    for blur, steps in LEVELS:
        fixed = ndimage.gaussian_filter(target, blur)
        blurred = ndimage.gaussian_filter(moving, blur)
        along_rows, along_columns = (slope.ravel() * _HALF for slope in np.gradient(fixed))
        descent = np.concatenate([along_rows * _PLACES, along_columns * _PLACES]).T
        for _ in range(steps):
            warped, inside = _warped(blurred, affine)
            if inside.mean() < LEAST_OVERLAP:
                return None
            wanted = fixed.ravel()[inside]
            error = _standard(warped[inside]) * wanted.std() + wanted.mean() - wanted
            slopes = descent[inside]
            normal = slopes.T @ slopes
            normal[np.diag_indices(6)] += 1e-3 * normal.diagonal() + 1e-6
            step = np.linalg.solve(normal, slopes.T @ error)
            change = np.eye(3)
            change[:2] += step.reshape(2, 3)
            if abs(np.linalg.det(change)) < LEAST_OVERLAP:
                return None
            affine = affine @ np.linalg.inv(change)
            if np.abs(step).max() < SETTLED:
                break
    return affine


def _warped(
    picture: Picture, affine: Affine
) -> tuple[Float[np.ndarray, " places"], Bool[np.ndarray, " places"]]:
    """The picture's values at the mapped places, and which of those lie inside it."""
    at = (affine[:2] @ _PLACES + 1) * _HALF
    inside = np.asarray(((at >= 0) & (at <= SIDE - 1)).all(axis=0))
    return ndimage.map_coordinates(picture, at, order=1, mode="nearest"), inside


def _standard(values: Float[np.ndarray, " places"]) -> Float[np.ndarray, " places"]:
    return (values - values.mean()) / (values.std() + 1e-6)
