"""Text burnt into pixels, pointed out where it is found: names and dates often stand there.

A row of glyphs is looked for: at least `GLYPHS` bright shapes with sharp edges, as high as each
other, side by side on one line. That finds the overlays of ultrasound, of secondary captures, and
words such as PORTABLE on radiographs. It does not find single letters such as a lead marker's L or
R, handwriting, text that is dark, faint, turned by 90 degrees or smaller than 6 pixels, and it
reads nothing: what it does not find may be there all the same.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage

from radlearn.records.record import Pixels

TOLD = "its header says that text is burnt into its pixels"
FOUND = "a row of letters or digits seems to be burnt into its pixels"
LIST = "may_show_text.csv"

GLYPHS = 4
BRIGHT = (0.85, 0.6, 0.4)  # of the range: a glyph is above one of them,
DARK = 0.7  # and what surrounds it below this part of that
LOWEST = 6  # pixels of a glyph's height
HIGHEST = 1 / 12  # of the picture's side
WIDEST = 1.6  # heights: an M or a W, or two letters that touch
THINNEST, FULLEST = 0.12, 0.92  # part of its box that a glyph fills; bars such as I fill all of it
BAR = 0.45  # heights that a bar is wide at most
APART = 1.2  # heights between neighbours of a line
ALIKE = 0.75  # ratio of two neighbours' heights
MOST = 3000  # candidates; a picture of noise has more, and no text that could be told

Grey = Shaped[np.ndarray, "height width"]
Boxes = Float[np.ndarray, "n 4"]


def text_of(pixels: Pixels) -> str | None:
    """Why a picture may show text that was burnt into it; None where nothing says so."""
    if pixels.header.get("burned_in") == "YES":
        return TOLD
    return FOUND if shows_text(pixels.values) else None


def shows_text(values: Grey) -> bool:
    """Whether a picture has a row of glyphs.

    Args:
        values: of whatever range and type; larger is brighter.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return False
    for level in BRIGHT:
        boxes = _glyphs(
            values > low + level * (high - low), values > low + DARK * level * (high - low)
        )
        if len(boxes) >= GLYPHS and _longest_row(boxes) >= GLYPHS:
            return True
    return False


def _glyphs(
    bright: Bool[np.ndarray, "height width"], around: Bool[np.ndarray, "height width"]
) -> Boxes:
    """Top, bottom, left and right of what may be a letter."""
    labels, count = ndimage.label(bright, np.ones((3, 3)))
    if not count:
        return np.empty((0, 4))
    areas = np.bincount(labels.ravel())[1:]
    highest = max(HIGHEST * max(bright.shape), 2 * LOWEST)
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not LOWEST <= height <= highest or width > WIDEST * height:
            continue
        filled = areas[number - 1] / (height * width)
        if filled < THINNEST or (filled > FULLEST and width > BAR * height):
            continue
        if _is_sharp(labels, around, number, rows, columns):
            found.append((rows.start, rows.stop, columns.start, columns.stop))
            if len(found) > MOST:
                return np.empty((0, 4))
    return np.array(found, np.float64).reshape(-1, 4)


def _is_sharp(
    labels: Shaped[np.ndarray, "height width"],
    around: Bool[np.ndarray, "height width"],
    number: int,
    rows: slice,
    columns: slice,
) -> bool:
    """Whether nearly all that lies two pixels beyond a shape is much darker."""
    box = tuple(slice(max(side.start - 3, 0), side.stop + 3) for side in (rows, columns))
    own = labels[box] == number
    near = ndimage.binary_dilation(own, iterations=1)
    ring = ndimage.binary_dilation(near, iterations=1) & ~near
    return bool(around[box][ring].mean() < 0.1) if ring.any() else False


def _longest_row(boxes: Boxes) -> int:
    """The most glyphs that follow each other on one line."""
    top, bottom, left, right = boxes.T
    height, middle = bottom - top, (top + bottom) / 2
    smaller = np.minimum.outer(height, height)
    larger = np.maximum.outer(height, height)
    level = np.abs(np.subtract.outer(middle, middle)) < 0.25 * larger
    gap = left[None, :] - right[:, None]
    follows = (gap > -0.25 * smaller) & (gap < APART * larger) & (left[None, :] > left[:, None])
    joined = follows & level & (smaller >= ALIKE * larger)
    longest = np.ones(len(boxes), int)
    for at in np.argsort(left, kind="stable"):
        before = joined[:, at]
        if before.any():
            longest[at] = 1 + longest[before].max()
    return int(longest.max())
