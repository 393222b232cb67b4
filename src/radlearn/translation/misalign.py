"""Misalignment made on purpose: what scanners and patients do to pairs, by known amounts.

A deformation is a field phi as in `models.registration`: pixels, one channel an axis; the moved
image at x is the image at x + phi(x). Affine and elastic parts add up before anything is sampled,
so that an image is interpolated once. Every choice is a pure function of the keys.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from radlearn.errors import InputError
from radlearn.records.transforms import generator

BACKGROUND = -1.0
LEVELS = range(6)
ELASTIC_CELLS = 4
MISALIGN_STREAM = 0xA11617  # keeps these draws apart from every other use of the same seed


@dataclass(frozen=True)
class Misalignment:
    """How far pairs are brought out of line, for training alone.

    Attributes:
        level: 0 to 5 of RegGAN. At level L > 0 source and target are each turned by up to L
            degrees, shifted by up to 2 L % of the side and scaled by up to 2 L %, independently;
            at level 0 both go through the same draw of level 1. None leaves them in place.
        elastic: largest displacement of the points of a grid of 4 x 4 cells, per cent of the side,
            smooth between them; source and target independently. Up to 4, which cannot fold.
    """

    level: int | None = None
    elastic: float = 0.0

    def __post_init__(self) -> None:
        if self.level is not None and self.level not in LEVELS:
            raise InputError(f"no misalignment level is called {self.level}; choose 0 to 5")
        if not 0 <= self.elastic <= 4:
            raise InputError(f"elastic misalignment of {self.elastic} %; give a number from 0 to 4")


@dataclass(frozen=True)
class Affine:
    """A turn about the centre, a scale and a shift.

    Attributes:
        degrees: in each plane of two axes, in the order of `itertools.combinations`: one angle in
            2-D, three in 3-D.
        shift: along each axis, as a fraction of that side.
    """

    degrees: tuple[float, ...]
    shift: tuple[float, ...]
    scale: float


def draw_affine(level: int, dims: int, rng: np.random.Generator) -> Affine:
    """Uniform within what RegGAN allows at `level`."""
    planes = math.comb(dims, 2)
    return Affine(
        degrees=tuple(rng.uniform(-level, level, planes).tolist()),
        shift=tuple(rng.uniform(-0.02 * level, 0.02 * level, dims).tolist()),
        scale=float(rng.uniform(1 - 0.02 * level, 1 + 0.02 * level)),
    )


Window = tuple[slice, ...]


def whole(shape: tuple[int, ...]) -> Window:
    """The window that is the whole image."""
    return tuple(slice(0, side) for side in shape)


def affine_field(
    affine: Affine, shape: tuple[int, ...], window: Window | None = None
) -> Float[np.ndarray, "dims *space"]:
    """The displacement that moves an image's content by `affine`, pixels.

    Content is scaled and turned about the centre, then shifted; the field looks the other way, from
    where something ends to where it was.

    Args:
        shape: of the image.
        window: the part of it that is wanted, with starts and stops; it may hang over the end.
    """
    dims = len(shape)
    matrix = np.eye(dims) / affine.scale
    for (first, second), degrees in zip(combinations(range(dims), 2), affine.degrees, strict=True):
        turn = np.eye(dims)
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        turn[first, first] = turn[second, second] = cosine
        turn[first, second], turn[second, first] = sine, -sine
        matrix = matrix @ turn
    sides = np.array(shape, dtype=np.float64)
    centred = _places(window or whole(shape)) - ((sides - 1) / 2).reshape(-1, *[1] * dims)
    moved = centred - (np.array(affine.shift) * sides).reshape(-1, *[1] * dims)
    return np.tensordot(matrix, moved, axes=1) - centred


def elastic_field(
    amplitude: float,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    window: Window | None = None,
) -> Float[np.ndarray, "dims *space"]:
    """A smooth random displacement, pixels: cubic splines through uniform draws on a coarse grid.

    Args:
        amplitude: largest draw, per cent of each side.
        window: as in `affine_field`.
    """
    points = [ELASTIC_CELLS + 1] * len(shape)
    cells = np.array([ELASTIC_CELLS / max(side - 1, 1) for side in shape])
    places = _places(window or whole(shape)) * cells.reshape(-1, *[1] * len(shape))
    parts = []
    for side in shape:
        drawn = rng.uniform(-amplitude, amplitude, points) / 100 * side
        parts.append(ndimage.map_coordinates(drawn, places, order=3, mode="mirror"))
    return np.stack(parts)


def deformed(
    image: Float[np.ndarray, "channels *space"],
    field: Float[np.ndarray, "dims *window"],
    window: Window | None = None,
) -> Float[np.ndarray, "channels *window"]:
    """The image at x + phi(x), linear between pixels; -1, the background, outside of it."""
    places = _places(window or whole(image.shape[1:])) + field
    above = image - BACKGROUND  # weights that do not add up to 1 exactly leave 0 what it is
    moved = [ndimage.map_coordinates(part, places, order=1, mode="constant") for part in above]
    return np.stack(moved) + BACKGROUND


def draw_fields(
    misalignment: Misalignment,
    shape: tuple[int, ...],
    *keys: int,
    windows: tuple[Window, Window] | None = None,
) -> tuple[Float[np.ndarray, "dims *space"], Float[np.ndarray, "dims *space"]]:
    """The fields of a source and of its target: a pure function of the keys, as (seed, record).

    Args:
        windows: the parts of both that are wanted, as in `affine_field`.
    """
    rng = generator(MISALIGN_STREAM, *keys)
    parts = windows or (whole(shape), whole(shape))
    fields = [np.zeros_like(_places(part), dtype=np.float64) for part in parts]
    if misalignment.level is not None:
        affine = [draw_affine(max(misalignment.level, 1), len(shape), rng) for _ in parts]
        if misalignment.level == 0:
            affine[1] = affine[0]
        fields = [affine_field(each, shape, part) for each, part in zip(affine, parts, strict=True)]
    if misalignment.elastic:
        bends = [elastic_field(misalignment.elastic, shape, rng, part) for part in parts]
        fields = [field + bend for field, bend in zip(fields, bends, strict=True)]
    return fields[0], fields[1]


def misaligned(
    source: Float[np.ndarray, "channels_in *space"],
    target: Float[np.ndarray, "channels_out *space"],
    misalignment: Misalignment,
    *keys: int,
    windows: tuple[Window, Window] | None = None,
) -> tuple[Float[np.ndarray, "channels_in *window"], Float[np.ndarray, "channels_out *window"]]:
    """A pair in [-1, 1] brought out of line; the same keys bring it out of line the same way.

    Args:
        windows: the parts of source and target that are wanted; what hangs over is background.
    """
    if misalignment == Misalignment() and windows is None:
        return source, target
    source_field, target_field = draw_fields(misalignment, source.shape[1:], *keys, windows=windows)
    first, second = windows or (None, None)
    return deformed(source, source_field, first), deformed(target, target_field, second)


def _places(window: Window) -> np.ndarray:
    """Coordinates of every pixel of a window, (dims, *window)."""
    return np.stack(np.meshgrid(*(np.arange(w.start, w.stop) for w in window), indexing="ij"))
