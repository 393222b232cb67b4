"""Near-duplicate pictures: the same radiograph resized, recompressed, cropped to its centre square.

Two steps. A perceptual hash (of the whole picture, and of its centre square, which is what many
collections keep) proposes pairs; the correlation of small pictures confirms them, since radiographs
of different patients look alike to any hash.
"""

from collections.abc import Callable, Sequence

import imagehash
import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt64
from PIL import Image

HASH_SIDE = 16  # 256 bits; with 64, a pair in 500 of different patients' radiographs is a candidate
CANDIDATE_BITS = 60
SMALL_SIDE = 64
SAME_CORRELATION = 0.98
CHUNK = 1024

Small = Float[np.ndarray, "views 64 64"]


def picture_hash(values: Shaped[np.ndarray, "height width"]) -> str:
    """Perceptual hashes of the whole picture and of its centre square: 64 hex digits each."""
    grey = as_grey(values)
    return "".join(str(imagehash.phash(view, HASH_SIDE)) for view in (grey, centre_square(grey)))


def small_pictures(values: Shaped[np.ndarray, "height width"]) -> Small:
    """The whole picture and its centre square, small, in [0, 255]."""
    grey = as_grey(values)
    return np.stack(
        [
            np.asarray(view.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.BOX), np.float32)
            for view in (grey, centre_square(grey))
        ]
    )


def as_grey(values: Shaped[np.ndarray, "height width"]) -> Image.Image:
    return Image.fromarray(values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8))


def centre_square(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def candidates(
    hashes: Sequence[str | None], others: Sequence[str | None] | None = None
) -> Integer[np.ndarray, "pairs 2"]:
    """Pairs of positions whose pictures may be the same.

    Args:
        hashes: as `picture_hash` gives; None where there is no picture.
        others: a second list; without it pairs are sought within `hashes` (first < second).
    """
    at, views = _bits(hashes)
    other_at, other_views = (at, views) if others is None else _bits(others)
    found = []
    for start in range(0, len(at), CHUNK):
        first = start if others is None else 0
        near = np.zeros((len(at[start : start + CHUNK]), len(other_at) - first), bool)
        for view in range(2):
            distance = np.zeros(near.shape, np.uint16)
            for word in range(views.shape[2]):
                mine = views[view, start : start + CHUNK, word]
                theirs = other_views[view, first:, word]
                distance += np.bitwise_count(mine[:, None] ^ theirs[None])
            near |= distance <= CANDIDATE_BITS
        rows, columns = np.nonzero(near)
        if others is None:
            rows, columns = rows[columns > rows], columns[columns > rows]
        found.append(np.stack([at[start + rows], other_at[first + columns]], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _bits(
    hashes: Sequence[str | None],
) -> tuple[Integer[np.ndarray, " pictures"], UInt64[np.ndarray, "2 pictures words"]]:
    at = np.array([i for i, value in enumerate(hashes) if value is not None], np.int64)
    digits = "".join(value for value in hashes if value is not None)
    words = np.frombuffer(bytes.fromhex(digits), np.uint64).reshape(len(at), 2, HASH_SIDE**2 // 64)
    return at, np.ascontiguousarray(words.transpose(1, 0, 2))


def same_picture(one: Small, other: Small) -> bool:
    """Whether two pictures are the same one, by the better of their two views."""
    return max(_correlation(a, b) for a, b in zip(one, other, strict=True)) >= SAME_CORRELATION


def _correlation(a: Float[np.ndarray, "64 64"], b: Float[np.ndarray, "64 64"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def twins(
    hashes: Sequence[str | None],
    small: Callable[[int], Small],
    others: Sequence[str | None] | None = None,
    other_small: Callable[[int], Small] | None = None,
) -> list[tuple[int, int]]:
    """Pairs of positions whose pictures are the same.

    Args:
        hashes: as `picture_hash` gives; None where there is no picture.
        small: the small pictures of a position; asked only for candidates.
        others, other_small: a second list; without it pairs are sought within `hashes`.
    """
    found = []
    for i, j in candidates(hashes, others).tolist():
        if same_picture(small(i), (other_small or small)(j)):
            found.append((i, j))
    return found
