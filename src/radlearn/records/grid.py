"""How a volume becomes slices on a grid, and how they go back to where they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.ndimage import gaussian_filter1d

from radlearn.errors import UnreadableError
from radlearn.records.intensity import Window, window_of
from radlearn.records.names import Axis
from radlearn.records.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

DIRECTIONS: dict[str, str] = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
"""Where the slices, the rows and the columns of a grid go; the patient's right is on the left."""
SAME = 1e-3
"""Voxels by which two grids may differ and still be one."""
MOST_VOXELS = 2**27
STRAY = 0.01  # planes with fewer foreground voxels than this share of the fullest are strays
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

Spacing = float | Sequence[float | None]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a stored array (D, H, W) are.

    Attributes:
        shape: slices, rows, columns.
        affine: (d, h, w) to millimetres, RAS.
    """

    shape: tuple[int, int, int]
    affine: Float64[np.ndarray, "4 4"]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between slices, rows and columns."""
        d, h, w = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return d, h, w

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Grid":
        d, h, w = (int(n) for n in value["shape"])
        return cls((d, h, w), np.array(value["affine"], np.float64).reshape(4, 4))


def grid_of(
    volume: Volume,
    axis: Axis,
    size: int | Sequence[int] | None,
    spacing: Spacing | None,
    window: Window | None = None,
) -> Grid:
    """The grid that a volume is stored on.

    Axes are permuted and turned to the nearest anatomical ones (an oblique exam stays oblique):
    axial slices go from inferior to superior, their rows from anterior to posterior, their columns
    from the patient's right to left; coronal ones from anterior to posterior; sagittal ones from
    right to left; rows of both from superior to inferior. Where no spacing is asked every voxel is
    one of the volume's own.

    Args:
        volume: what has no geometry (rasters, arrays) is sliced along its first axis, whatever
            `axis` says.
        size: rows and columns (one number: both), centred on the foreground; None keeps all.
        spacing: millimetres: one number for rows and columns, or three for slices, rows and
            columns; None, or None among the three, keeps the volume's own.
        window: of the volume, where it is known.

    Raises:
        UnreadableError: a constant volume, or a grid of more than 2**27 voxels.
    """
    names = DIRECTIONS[axis if volume.kind in ("nifti", "dicom") else "axial"]
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(tuple(names)))
    own_shape = np.array(volume.values.shape, np.float64)
    shape, place = np.empty(3), np.empty(3)
    shape[turn[:, 0].astype(int)] = own_shape
    middle = _middle(volume.values, window or window_of(volume.values))
    flipped = np.where(turn[:, 1] > 0, middle, own_shape - 1 - middle)
    place[turn[:, 0].astype(int)] = flipped
    affine = np.asarray(volume.affine @ inv_ornt_aff(turn, volume.values.shape), np.float64)

    step = _asked(spacing) / np.linalg.norm(affine[:3, :3], axis=0)
    step = np.where(np.isnan(step), 1.0, step)
    new_shape = np.maximum(np.ceil(shape / step - 1e-6), 1)
    if new_shape.prod() > MOST_VOXELS:
        raise UnreadableError(f"more than {MOST_VOXELS} voxels at this spacing; ask a wider one")
    first = (shape - 1) / 2 - (new_shape - 1) / 2 * step
    place = (place - first) / step
    affine = affine @ _scale_and_shift(step, first)

    if size is not None:
        plane = np.array([size, size] if isinstance(size, int) else list(size), np.float64)
        start = np.floor(place[1:] - (plane - 1) / 2 + 0.5)
        affine = affine @ _scale_and_shift(np.ones(3), np.array([0.0, *start]))
        new_shape[1:] = plane
    d, h, w = (int(n) for n in new_shape)
    return Grid((d, h, w), affine)


def onto(
    volume: Volume,
    grid: Grid,
    transform: "SimpleITK.Transform | None" = None,
    *,
    fill: float,
) -> Float32[np.ndarray, "depth height width"]:
    """The volume's values at a grid's points.

    A copy without any interpolation where the grids agree up to permutation, turns, padding and
    cropping; else linear, after a Gaussian of (ratio - 1) / 2 voxels along axes that lose voxels.

    Args:
        transform: from the grid's points to the volume's, millimetres, LPS, as ITK resamples.
        fill: where the volume has no value.
    """
    to_index = np.linalg.inv(volume.affine) @ grid.affine
    if transform is None:
        nearest = np.rint(to_index)
        if _is_turn(nearest) and _differ(to_index, nearest, grid.shape) < SAME:
            return _copied(volume.values, grid.shape, nearest.astype(int), fill)
    return _resampled(volume, grid, transform, np.abs(to_index[:3, :3]).max(axis=1), fill)


def back(
    values: Float[np.ndarray, "depth height width"], grid: Grid, like: Volume, fill: float
) -> Float32[np.ndarray, "i j k"]:
    """Values on a grid in the index space and shape of the volume `like` that it was made of."""
    stored = Volume(values.astype(np.float32), grid.affine)
    return onto(stored, Grid(like.values.shape, like.affine), fill=fill)


def _asked(spacing: Spacing | None) -> Float64[np.ndarray, "3"]:
    """Millimetres of slices, rows, columns; NaN where the volume's own are kept."""
    if spacing is None:
        return np.full(3, np.nan)
    if isinstance(spacing, int | float):
        return np.array([np.nan, spacing, spacing])
    asked = [np.nan if step is None else float(step) for step in spacing]
    return np.array([np.nan, *asked * 2] if len(asked) == 1 else asked)


def _middle(values: Float32[np.ndarray, "i j k"], window: Window) -> Float64[np.ndarray, "3"]:
    """Index of the middle of the foreground's bounding box, a few stray voxels apart."""
    foreground: Bool[np.ndarray, "i j k"] = values > window.foreground
    middle = []
    for axis in range(3):
        counts = foreground.sum(axis=tuple(other for other in range(3) if other != axis))
        found = np.flatnonzero(counts > STRAY * counts.max())
        ends = (found[0], found[-1]) if found.size else (0, values.shape[axis] - 1)
        middle.append((ends[0] + ends[1]) / 2)
    return np.array(middle, np.float64)


def _scale_and_shift(
    scale: Float64[np.ndarray, "3"], shift: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = shift
    return matrix


def _is_turn(matrix: Float64[np.ndarray, "4 4"]) -> bool:
    turn = np.abs(matrix[:3, :3])
    return bool((turn.sum(axis=0) == 1).all() and (turn.sum(axis=1) == 1).all())


def _differ(
    one: Float64[np.ndarray, "4 4"],
    other: Float64[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
) -> float:
    """The largest distance, in voxels, between two maps of a grid's corners."""
    corners = np.array(list(np.ndindex(2, 2, 2)), np.float64) * (np.array(shape) - 1)
    corners = np.concatenate([corners, np.ones((8, 1))], axis=1)
    return float(np.abs(corners @ (one - other).T).max())


def _copied(
    values: Float32[np.ndarray, "i j k"],
    shape: tuple[int, int, int],
    to_index: np.ndarray,
    fill: float,
) -> Float32[np.ndarray, "depth height width"]:
    made = np.full(shape, fill, np.float32)
    axes = np.abs(to_index[:3, :3]).argmax(axis=0)
    taken, put = [], []
    for axis, own in enumerate(axes):
        sign, shift, length = to_index[own, axis], to_index[own, 3], values.shape[own]
        ends = sorted((sign * (0 - shift), sign * (length - 1 - shift)))
        first, last = max(ends[0], 0), min(ends[1], shape[axis] - 1)
        if last < first:
            return made
        start, stop = sign * first + shift, sign * last + shift + sign
        put.append(slice(first, last + 1))
        taken.append(slice(start, stop if stop >= 0 else None, sign))
    made[tuple(put)] = values.transpose(axes)[tuple(taken)]
    return made


def _resampled(
    volume: Volume,
    grid: Grid,
    transform: "SimpleITK.Transform | None",
    ratios: Float64[np.ndarray, "3"],
    fill: float,
) -> Float32[np.ndarray, "depth height width"]:
    import SimpleITK

    values = volume.values
    for axis, ratio in enumerate(ratios):
        if ratio > 1 + SAME and values.shape[axis] > 1:
            sigma = (ratio - 1) / 2
            values = gaussian_filter1d(values, sigma, axis=axis, mode="nearest")
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    _place(image, volume.affine)
    resample = SimpleITK.ResampleImageFilter()
    resample.SetInterpolator(SimpleITK.sitkLinear)
    resample.SetDefaultPixelValue(float(fill))
    if transform is not None:
        resample.SetTransform(transform)
    origin, spacing, direction = _geometry(grid.affine)
    resample.SetSize(list(grid.shape))
    resample.SetOutputOrigin(origin)
    resample.SetOutputSpacing(spacing)
    resample.SetOutputDirection(direction)
    made = SimpleITK.GetArrayFromImage(resample.Execute(image)).transpose(2, 1, 0)
    return np.ascontiguousarray(made, np.float32)


def _place(image: "SimpleITK.Image", affine: Float64[np.ndarray, "4 4"]) -> None:
    origin, spacing, direction = _geometry(affine)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)


def _geometry(
    affine: Float64[np.ndarray, "4 4"],
) -> tuple[list[float], list[float], list[float]]:
    """Origin, spacing and direction as ITK has them, in LPS."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return lps[:3, 3].tolist(), spacing.tolist(), (lps[:3, :3] / spacing).ravel().tolist()
