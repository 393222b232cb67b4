"""How far a pair is apart: the displacement in mm of everything that both images show.

The field says where the source shows what the target shows at a place. It is the rigid map that
lays the source over the target (`affine_fit`), and more only as far as the images speak for it:
the affine rest and then the local rest (`local_flow`) count as far as source onto target and target
onto source agree on them. Otherwise noise would be told as displacement.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from radlearn.errors import InputError
from radlearn.records.affine_fit import BACKGROUND, TwoWays, one_thread, rigid_and_affine
from radlearn.records.local_flow import local_flow, moved

WORKING = {3: 2.0, 2: 1.0}  # mm of a voxel that is worked on: finer costs minutes and tells little
FEWEST_SLICES = 8  # below, a volume is taken slice by slice
LEAST_FOREGROUND = 400  # voxels; 20 x 20
AIR = -0.9  # of [-1, 1]: above is foreground
RIM = 4.0  # mm around the foreground that the local part looks at
STAND_OUT = 2.0  # times its doubt a part must be to count at all
FLOOR = 0.15  # voxels: what is found on real T1 and T2 that lie on one another
BINS = 32

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
        degrees: turn of the rigid part.
        shift: mm that the rigid part moves the foreground's middle.
        rigid_share: part of the squared displacement that the best rigid map takes away, 0 to 1.
        floor: mm below which nothing is claimed, median over the foreground.
        blind: mm that a displacement beyond the affine must reach on average to be seen at all.
        information: mutual information of source and target.
    """

    field: Float[np.ndarray, "3 depth height width"]
    foreground: Bool[np.ndarray, "depth height width"]
    spacing: tuple[float, float, float]
    degrees: float
    shift: float
    rigid_share: float
    floor: float
    blind: float
    information: Information

    def lengths(self, axes: tuple[int, ...] = (0, 1, 2)) -> Float[np.ndarray, " voxels"]:
        """Displacement along some axes of every foreground voxel, mm."""
        return np.sqrt(sum(np.square(self.field[axis][self.foreground]) for axis in axes))

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

    return replace(
        first,
        field=field,
        foreground=foreground,
        spacing=(spacing[0], *first.spacing[1:]),
        degrees=usual("degrees"),
        shift=usual("shift"),
        rigid_share=usual("rigid_share"),
        floor=usual("floor"),
        blind=usual("blind"),
        information=Information(*np.median([one.information for one in found.values()], axis=0)),
    )


def _measured(
    source: Float[np.ndarray, "*space"],
    target: Float[np.ndarray, "*space"],
    spacing: tuple[float, ...],
    seed: int,
) -> Displacement:
    working = WORKING[source.ndim]
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
    rigid, affine = rigid_and_affine(source, target, foregrounds, steps, seed)
    places = _places(target.shape, steps)
    start = _agreed(rigid, affine, places[:, both])
    near = foregrounds[0] | foregrounds[1]
    near = ndimage.distance_transform_edt(~near, sampling=steps) <= RIM
    laid = moved(source, _field_of(start, places), np.array(steps))
    forth, back = local_flow(laid, target, near, steps)
    local = _share(forth[:, both], back[:, both]) * (forth + back) / 2
    field = _field_of(start, places + local) + local
    doubt = _field_of(rigid.forward, places[:, both]) - _field_of(rigid.backward, places[:, both])
    floor = max(_median_length(doubt / 2), FLOOR * float(np.median(steps)))
    best = _best_rigid(places[:, both], field[:, both])
    whole = float(np.square(field[:, both]).sum())
    rest = float(np.square(field[:, both] - _field_of(best, places[:, both])).sum())
    axes = len(steps)
    middle = places[:, both].mean(axis=1)
    turn = best[:axes, :axes]
    cosine = (np.trace(turn) - 1) / 2 if axes == 3 else turn[0, 0]
    padded = np.zeros((3, *target.shape), np.float32)
    padded[3 - axes :] = field
    after = moved(source, field.astype(np.float32), np.array(steps))
    return Displacement(
        field=padded.reshape(3, *[1] * (3 - axes), *target.shape),
        foreground=both.reshape(*[1] * (3 - axes), *target.shape),
        spacing=(1.0 if axes == 2 else steps[0], steps[-2], steps[-1]),
        degrees=float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        shift=float(np.linalg.norm(_field_of(best, middle[:, None]))),
        rigid_share=max(0.0, 1 - rest / whole) if whole > 0 else 1.0,
        floor=floor,
        blind=STAND_OUT * float(np.sqrt(np.square((forth - back)[:, both] / 2).sum(axis=0).mean())),
        information=Information(
            _information(source, target, both),
            _information(after, target, both),
            _information(after, np.flip(target), both),
        ),
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


def _agreed(rigid: TwoWays, affine: TwoWays, places: Float[np.ndarray, "axes points"]) -> Matrix:
    """The rigid map and as much of the affine rest as both directions see."""
    base = _field_of(rigid.mean, places)
    share = _share(*(_field_of(each, places) - base for each in affine))
    return rigid.mean + share * (affine.mean - rigid.mean)


def _share(
    forth: Float[np.ndarray, "axes points"], back: Float[np.ndarray, "axes points"]
) -> float:
    """How much of the mean of two estimates counts: all without doubt, none near their doubt."""
    mean = float(np.square(forth + back).mean())
    doubt = float(np.square(forth - back).mean())
    return max(0.0, 1 - STAND_OUT**2 * doubt / max(mean, 1e-12))


def _median_length(field: Float[np.ndarray, "axes points"]) -> float:
    return float(np.median(np.sqrt(np.square(field).sum(axis=0))))


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


def _information(
    one: Float[np.ndarray, "*space"],
    other: Float[np.ndarray, "*space"],
    foreground: Bool[np.ndarray, "*space"],
) -> float:
    """Mutual information in bits, from a joint histogram."""
    joint, *_ = np.histogram2d(
        one[foreground], other[foreground], bins=BINS, range=[(-1.0, 1.2), (-1.0, 1.2)]
    )
    joint /= max(joint.sum(), 1)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log2(joint[there] / apart[there])).sum())
