"""Near-duplicate pictures: one radiograph resized, recompressed, windowed, cut, or put in a frame.

Three steps. Perceptual hashes (Zauner, 2010; from the `imagehash` package) propose pairs: of the
picture without its flat frame, of what is left of that when edges are cut off (so that a copy with
cut edges is met), and of the centre squares with and without the frame (many collections keep no
more). Radiographs of different patients look alike to any hash; most such pairs fall when their
fine structure is laid over each other at every shift, and `alignment.likeness` decides the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import imagehash
import numpy as np
from jaxtyping import Bool, Complex, Float, Shaped, UInt64
from PIL import Image

from radlearn.errors import InputError
from radlearn.records.alignment import (
    SIDE,
    best_shift,
    likeness,
    spectrum,
    structure_share,
)

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2  # with 64 bits, one in 500 pairs of different patients is a candidate
WORDS = HASH_BITS // 64
CANDIDATE_BITS = 56
WORTH_ALIGNING = 0.5
SAME_LIKENESS = 0.82
WORKING_SIDE = 256  # pixels; finer structure is in none of the hashes
FRAME_CONTRAST = 12  # a row or column whose grey values spread less is part of a frame
INNER_CUT = 0.035
CUTS = (  # shares of the picture cut off at its left, top, right and bottom
    (INNER_CUT,) * 4,
    *(
        tuple(cut * (side == edge) for edge in range(4))
        for cut in (0.06, 0.12)
        for side in range(4)
    ),
)
VIEWS = 3 + len(CUTS)
WHOLE, SQUARE, FRAMED_SQUARE = range(3)
CUT = range(3, VIEWS)
MEETINGS = (
    (WHOLE, WHOLE),
    (SQUARE, SQUARE),
    (FRAMED_SQUARE, FRAMED_SQUARE),
    *((WHOLE, view) for view in CUT),
    *((view, WHOLE) for view in CUT),
)
SHIFTED = ((0, 0), (1, 1), (0, 2), (2, 0))  # whole, square and inner part meet before alignment
LEAST_STRUCTURE = 0.5
KEPT = 4096  # small pictures in memory
BLOCK = (64, 8192)  # pictures compared at once: small enough for a core's cache

Small = Float[np.ndarray, "3 64 64"]
Hashes = UInt64[np.ndarray, "views words pictures"]


def picture_hash(values: Shaped[np.ndarray, "height width"]) -> str | None:
    """Perceptual hashes of the views of a picture, 64 hex digits each.

    None for what has too little structure to be told from others, such as a blank exposure.
    """
    framed = _grey(values)
    whole = _unframed(framed)
    if structure_share(_small(whole)) < LEAST_STRUCTURE:
        return None
    squares = (_centre_square(whole), _centre_square(framed))
    views = (whole, *squares, *(_cut(whole, edges) for edges in CUTS))
    return "".join(str(imagehash.phash(view, HASH_SIDE)) for view in views)


def small_pictures(values: Shaped[np.ndarray, "height width"]) -> Small:
    """Whole, centre square and inner part without frame, 64 x 64, grey values in [0, 255]."""
    whole = _unframed(_grey(values))
    views = (whole, _centre_square(whole), _cut(whole, CUTS[0]))
    return np.stack([_small(view) for view in views])


def _small(view: Image.Image) -> Float[np.ndarray, "64 64"]:
    return np.asarray(view.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)


def _cut(picture: Image.Image, edges: Sequence[float]) -> Image.Image:
    width, height = picture.size
    left, top, right, bottom = edges
    box = round(width * left), round(height * top), round(width * right), round(height * bottom)
    return picture.crop((box[0], box[1], width - box[2], height - box[3]))


def _grey(values: Shaped[np.ndarray, "height width"]) -> Image.Image:
    grey = Image.fromarray(values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8))
    factor = max(grey.size) // WORKING_SIDE
    return grey.reduce(factor) if factor > 1 else grey


def _centre_square(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _unframed(picture: Image.Image) -> Image.Image:
    """Without rows and columns at the edges that are all of one grey, give or take."""
    grey = np.asarray(picture)
    box = []
    for axis in (0, 1):
        low, high = np.percentile(grey, [2, 98], axis=axis)
        places = np.flatnonzero(high - low > FRAME_CONTRAST)
        if not len(places):
            return picture
        box.append((int(places[0]), int(places[-1]) + 1))
    (left, right), (top, bottom) = box
    return picture.crop((left, top, right, bottom))


def candidates(
    hashes: Sequence[str | None], others: Sequence[str | None] | None = None
) -> Iterator[tuple[int, int]]:
    """Pairs of positions whose pictures may be the same, in order, each once.

    Args:
        hashes: as `picture_hash` gives; None where there is no picture.
        others: a second list; without it pairs are sought within `hashes` (first < second).
    """
    at, mine = _bits(hashes)
    other_at, theirs = (at, mine) if others is None else _bits(others)
    rows, columns = BLOCK
    blocks = [
        (row, column)
        for row in range(0, len(at), rows)
        for column in range(0, len(other_at), columns)
        if others is not None or column + columns > row
    ]

    def near(block: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        row, column = block
        first, second = np.nonzero(
            _near(mine[..., row : row + rows], theirs[..., column : column + columns])
        )
        return at[row + first], other_at[column + second]

    with ThreadPoolExecutor() as pool:  # NumPy lets go of the lock
        for first, second in pool.map(near, blocks):
            for i, j in zip(first.tolist(), second.tolist(), strict=True):
                if others is not None or i < j:
                    yield i, j


def _near(
    mine: UInt64[np.ndarray, "views words mine"], theirs: UInt64[np.ndarray, "views words theirs"]
) -> Bool[np.ndarray, "mine theirs"]:
    shape = mine.shape[2], theirs.shape[2]
    found = np.zeros(shape, bool)
    differing, bits = np.empty(shape, np.uint64), np.empty(shape, np.uint8)
    for view, other in MEETINGS:
        distance = np.zeros(shape, np.uint8)
        for word in range(WORDS):
            np.bitwise_xor(mine[view, word][:, None], theirs[other, word], out=differing)
            distance += np.bitwise_count(differing, out=bits)
        found |= distance <= CANDIDATE_BITS
    return found


def _bits(hashes: Sequence[str | None]) -> tuple[Shaped[np.ndarray, " pictures"], Hashes]:
    at = np.array([i for i, value in enumerate(hashes) if value is not None], np.int64)
    digits = bytes.fromhex("".join(value for value in hashes if value is not None))
    if len(digits) * 8 != len(at) * VIEWS * HASH_BITS:
        raise InputError(
            "a store's picture hashes (phash) are of another version: prepare that store again"
        )
    words = np.frombuffer(digits, np.uint64).reshape(len(at), VIEWS, WORDS)
    return at, np.ascontiguousarray(words.transpose(1, 2, 0))


@dataclass(frozen=True)
class Compared:
    """The small pictures of one picture, and what is computed of them once."""

    small: Small
    spectra: tuple[Complex[np.ndarray, "rows columns"], ...]

    @classmethod
    def of(cls, small: Small) -> "Compared":
        return cls(small, tuple(spectrum(view) for view in small))


def same_picture(one: Compared, other: Compared) -> bool:
    """Whether two pictures are the same one, as a whole or in their centre squares."""
    if all(best_shift(one.spectra[a], other.spectra[b]) < WORTH_ALIGNING for a, b in SHIFTED):
        return False
    return any(
        likeness(one.small[view], other.small[view]) >= SAME_LIKENESS for view in (WHOLE, SQUARE)
    )


def twins(
    hashes: Sequence[str | None],
    small: Callable[[int], Small],
    others: Sequence[str | None] | None = None,
    other_small: Callable[[int], Small] | None = None,
    *,
    known: Callable[[int, int], bool] = lambda i, j: False,
) -> Iterator[tuple[int, int]]:
    """Pairs of positions whose pictures are the same.

    Args:
        hashes: as `picture_hash` gives; None where there is no picture.
        small: the small pictures of a position; asked only for candidates.
        others, other_small: a second list; without it pairs are sought within `hashes`.
        known: pairs that need no answer, such as those of one patient; asked when their turn
            comes, so that it may take in the pairs found before.
    """
    mine = lru_cache(KEPT)(lambda position: Compared.of(small(position)))
    theirs = mine
    if others is not None and other_small is not None:
        theirs = lru_cache(KEPT)(lambda position: Compared.of(other_small(position)))
    for i, j in candidates(hashes, others):
        if not known(i, j) and same_picture(mine(i), theirs(j)):
            yield i, j
