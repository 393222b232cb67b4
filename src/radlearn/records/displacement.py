"""How far a pair is apart: the displacement in mm of everything that both images show.

The field says where the source shows what the target shows at a place. It is the rigid map that
lays the source over the target (`affine_fit`), or the affine one where that tells clearly more on
places that it was not fitted to. Bends beyond it are not part of the field: over contrasts that
differ, T1 and T2, optical flow and mutual information of parts make up as much as they find. How
large a bend can stay unseen is told instead (`bend`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from radlearn.errors import InputError
from radlearn.records.affine_fit import TwoWays, one_thread, rigid_and_affine
from radlearn.records.shared_information import residual, table_of, told, told_more

WORKING = {3: 2.0, 2: 1.0}  # mm of a voxel that is worked on: finer costs minutes and tells little
FEWEST_SLICES = 8  # below, a volume is taken slice by slice
LEAST_FOREGROUND = 400  # voxels; 20 x 20
BACKGROUND = -1.0
AIR = -0.9  # of [-1, 1]: above is foreground
CLEARLY = 0.02  # more information must be told by the affine map than by the rigid one
FLOOR = 0.21  # voxels an axis: no median of 14 real exams whose place is known was further off

Matrix = Float[np.ndarray, "rows columns"]


class Information(NamedTuple):
    """Mutual information over the foreground, bits: as stored, after registration, by chance."""

    before: float
    after: float
    chance: float


@dataclass(frozen=True, eq=False)
class Displacement:
    """What `displacement` found.

    Attributes:
        field: mm along depth, height and width, on a coarser grid over the whole volume; the
            source shows at x + field(x) what the target shows at x. Without depth, the first is 0.
        foreground: of that grid: where source and target both show something.
        spacing: of that grid, mm.
        affine: whether more than a rigid map was found (of a slice by slice one: mostly).
        degrees: turn of the nearest rigid map.
        shift: mm that it moves the foreground's middle.
        left: median mm that it would leave.
        doubts: mm along each axis that may be wrong: a share of the voxel, and half of what the two
            directions of the registration disagree by, where that is more.
        bend: mm along each axis, root mean square over blocks: how far parts of the images still
            seem out of line. Noise is in it: up to here, a bend can be there unseen.
        information: mutual information of source and target.
    """

    field: Float[np.ndarray, "3 depth height width"]
    foreground: Bool[np.ndarray, "depth height width"]
    spacing: tuple[float, float, float]
    affine: bool
    degrees: float
    shift: float
    left: float
    doubts: tuple[float, float, float]
    bend: tuple[float, float, float]
    information: Information

    def lengths(self, axes: tuple[int, ...] = (0, 1, 2)) -> Float[np.ndarray, " voxels"]:
        """Displacement along some axes of every foreground voxel, mm."""
        return np.sqrt(sum(np.square(self.field[axis][self.foreground]) for axis in axes))

    def floor(self, axes: tuple[int, ...] = (0, 1, 2)) -> float:
        """Displacement along some axes below which nothing is claimed, mm."""
        return float(np.linalg.norm([self.doubts[axis] for axis in axes]))

    def slice_at(
        self, depth: int, shape: tuple[int, int, int]
    ) -> Float[np.ndarray, "3 height width"]:
        """The field at a slice of the volume itself, whose shape is given; mm."""
        shrunk = self.field.shape[1:]
        full = np.ix_([depth], range(shape[1]), range(shape[2]))
        factors = [-(-side // small) for side, small in zip(shape, shrunk, strict=True)]
        at = [
            (np.broadcast_to(place, (1, *shape[1:])) - (factor - 1) / 2) / factor
            for place, factor in zip(full, factors, strict=True)
        ]
        parts = [ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in self.field]
        return np.concatenate(parts)


def displacement(
    source: Float[np.ndarray, "channels depth height width"],
    target: Float[np.ndarray, "others depth height width"],
    spacing: tuple[float, float, float],
    seed: int = 0,
) -> Displacement:
    """Estimate how far source and target are apart, the mean of their channels each.

    Args:
        source, target: on one grid, background -1. With fewer than eight slices each slice is
            taken by itself.
        spacing: mm between depths, rows and columns.
        seed: of the samples; one seed, the same bits.

    Raises:
        InputError: the pair cannot be measured: nothing to see, or nothing in common.
    """
    one, other = (np.clip(v.astype(np.float32).mean(axis=0), -1.0, 1.2) for v in (source, target))
    with one_thread():
        if one.shape[0] >= FEWEST_SLICES:
            return _measured(one, other, spacing, seed)
        return _by_slice(one, other, spacing, seed)


def moved(
    values: Float[np.ndarray, "*space"],
    field: Float[np.ndarray, "axes *space"],
    spacing: tuple[float, ...],
) -> Float[np.ndarray, "*space"]:
    """The values at x + field(x), field in mm; linear, the edge going on outside."""
    places = np.indices(values.shape, np.float32)
    places += field / np.array(spacing, np.float32).reshape(-1, *[1] * values.ndim)
    return ndimage.map_coordinates(values, places, order=1, mode="nearest")


def _by_slice(
    source: Float[np.ndarray, "depth height width"],
    target: Float[np.ndarray, "depth height width"],
    spacing: tuple[float, float, float],
    seed: int,
) -> Displacement:
    found, reason = {}, None
    for depth, (one, other) in enumerate(zip(source, target, strict=True)):
        try:
            found[depth] = _measured(one, other, spacing[1:], seed)
        except InputError as error:
            reason = error
    if not found:
        assert reason is not None
        raise reason
    first = next(iter(found.values()))
    field = np.zeros((3, len(source), *first.field.shape[2:]), np.float32)
    foreground = np.zeros(field.shape[1:], bool)
    for depth, one in found.items():
        field[1:, depth], foreground[depth] = one.field[1:, 0], one.foreground[0]

    def usual(name: str) -> float:
        return float(np.median([getattr(one, name) for one in found.values()]))

    def three(name: str) -> tuple[float, float, float]:
        d, h, w = np.median([getattr(one, name) for one in found.values()], axis=0).tolist()
        return d, h, w

    return replace(
        first,
        field=field,
        foreground=foreground,
        spacing=(spacing[0], *first.spacing[1:]),
        affine=usual("affine") > 0.5,
        degrees=usual("degrees"),
        shift=usual("shift"),
        left=usual("left"),
        doubts=three("doubts"),
        bend=three("bend"),
        information=Information(*three("information")),
    )


def _measured(
    source: Float[np.ndarray, "*space"],
    target: Float[np.ndarray, "*space"],
    spacing: tuple[float, ...],
    seed: int,
) -> Displacement:
    working, axes = WORKING[source.ndim], source.ndim
    factors = [max(1, round(working / step)) for step in spacing]
    source, target = _shrunk(source, factors), _shrunk(target, factors)
    steps = tuple(float(step * factor) for step, factor in zip(spacing, factors, strict=True))
    foregrounds = _foreground(source, steps), _foreground(target, steps)
    both = foregrounds[0] & foregrounds[1]
    if both.sum() < LEAST_FOREGROUND:
        raise InputError(
            f"source and target show something in common on {int(both.sum())} points of "
            f"{np.prod(steps):.1f} mm³ or mm²; {LEAST_FOREGROUND} are needed"
        )
    places = _places(target.shape, steps)

    def laid(matrix: Matrix) -> Float[np.ndarray, "*space"]:
        return moved(source, _field_of(matrix, places), steps)

    def bits(one: Float[np.ndarray, "*space"]) -> float:
        return float(told(table_of(one, target, both), one, target)[both].mean())

    def settled(ways: TwoWays) -> Matrix:
        """The mean; where the two are no two views of one map, the one that tells more."""
        if _apart(ways, places[:, both]).max() <= max(steps):
            return ways.mean
        return max(ways, key=lambda way: bits(laid(way)))

    rigid, affine = rigid_and_affine(source, target, foregrounds, steps, seed)
    ways, chosen = rigid, settled(rigid)
    after = laid(chosen)
    bent = laid(settled(affine))
    more, error = told_more(after, bent, target, both)
    stretched = more > max(2 * error, CLEARLY * bits(after))
    if stretched:
        ways, chosen, after = affine, settled(affine), bent
    field = _field_of(chosen, places)
    doubts = np.maximum(FLOOR * np.array(steps), _apart(ways, places[:, both]))
    bend = np.sqrt(np.square(residual(after, target, both, steps)).mean(axis=1))
    best = _best_rigid(places[:, both], field[:, both])
    rest = (field - _field_of(best, places))[:, both]
    turn = best[:axes, :axes]
    cosine = (np.trace(turn) - 1) / 2 if axes == 3 else turn[0, 0]
    middle = places[:, both].mean(axis=1, keepdims=True)
    flat = [1] * (3 - axes)
    padded = np.zeros((3, *target.shape), np.float32)
    padded[3 - axes :] = field

    def three(values: Float[np.ndarray, " axes"]) -> tuple[float, float, float]:
        d, h, w = [0.0] * (3 - axes) + values.tolist()
        return d, h, w

    return Displacement(
        field=padded.reshape(3, *flat, *target.shape),
        foreground=both.reshape(*flat, *target.shape),
        spacing=(1.0 if axes == 2 else steps[0], steps[-2], steps[-1]),
        affine=stretched,
        degrees=float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        shift=float(np.linalg.norm(_field_of(best, middle))),
        left=float(np.median(np.linalg.norm(rest, axis=0))),
        doubts=three(doubts),
        bend=three(bend),
        information=Information(bits(source), bits(after), bits(np.flip(after))),
    )


def _shrunk(values: Float[np.ndarray, "*space"], factors: list[int]) -> Float[np.ndarray, "*cells"]:
    sides = list(zip(values.shape, factors, strict=True))
    padding = [(0, -side % factor) for side, factor in sides]
    values = np.pad(values, padding, constant_values=BACKGROUND)
    split = [part for side, f in zip(values.shape, factors, strict=True) for part in (side // f, f)]
    return values.reshape(split).mean(axis=tuple(range(1, 2 * values.ndim, 2)))


def _foreground(
    values: Float[np.ndarray, "*space"], spacing: tuple[float, ...]
) -> Bool[np.ndarray, "*space"]:
    return ndimage.gaussian_filter(values, [2.0 / step for step in spacing]) > AIR


def _places(shape: tuple[int, ...], spacing: tuple[float, ...]) -> Float[np.ndarray, "axes *space"]:
    """mm from the middle of the grid."""
    places = np.indices(shape, np.float64)
    for place, side, step in zip(places, shape, spacing, strict=True):
        place -= (side - 1) / 2
        place *= step
    return places


def _field_of(
    matrix: Matrix, places: Float[np.ndarray, "axes *points"]
) -> Float[np.ndarray, "axes *points"]:
    axes = len(places)
    turned = np.tensordot(matrix[:axes, :axes] - np.eye(axes), places, axes=1)
    return turned + matrix[:axes, axes].reshape(-1, *[1] * (places.ndim - 1))


def _apart(ways: TwoWays, places: Float[np.ndarray, "axes points"]) -> Float[np.ndarray, " axes"]:
    """Half of what the two directions disagree by along each axis, root mean square, mm."""
    forward, backward = (_field_of(way, places) for way in ways)
    return np.sqrt(np.square(forward - backward).mean(axis=1)) / 2


def _best_rigid(
    places: Float[np.ndarray, "axes points"], field: Float[np.ndarray, "axes points"]
) -> Matrix:
    """The rigid map nearest to the field by least squares (Kabsch, 1976)."""
    axes = len(places)
    here, there = places.mean(axis=1), (places + field).mean(axis=1)
    u, _, vt = np.linalg.svd((places + field - there[:, None]) @ (places - here[:, None]).T)
    flip = np.eye(axes)
    flip[-1, -1] = np.sign(np.linalg.det(u @ vt))
    matrix = np.eye(axes + 1)
    matrix[:axes, :axes] = u @ flip @ vt
    matrix[:axes, axes] = there - matrix[:axes, :axes] @ here
    return matrix
