"""Every picture on one square: where it goes, and how its mask and boxes follow it."""

from math import ceil, floor
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from radlearn.errors import UnreadableError
from radlearn.records.names import Fit
from radlearn.records.record import Box

ASPECT_TOLERANCE = (
    0.02  # a mask may be rounded to other pixels than its image, not be another shape
)


class Placement(NamedTuple):
    """Where the whole source image lies on the square, in pixels of the square.

    With "pad" it lies inside; with "crop" it reaches over the edges (`top` or `left` below 0).
    """

    top: int
    left: int
    height: int
    width: int


def placement(height: int, width: int, size: int, fit: Fit) -> Placement:
    """Where an image of `height` x `width` lies on a square of side `size`.

    "pad" brings the longer side to `size`, "crop" the shorter one, "stretch" both.
    """
    if fit == "stretch":
        return Placement(0, 0, size, size)
    scale = size / (max(height, width) if fit == "pad" else min(height, width))
    on_height, on_width = max(round(height * scale), 1), max(round(width * scale), 1)
    return Placement((size - on_height) // 2, (size - on_width) // 2, on_height, on_width)


def fitted(
    values: Shaped[np.ndarray, "height width"], size: int, fit: Fit, bits: int
) -> Shaped[np.ndarray, "{size} {size}"]:
    """Bring an image to a square: bicubic, antialiased; what padding adds is 0 (air).

    Args:
        values: uint8 or uint16, the full range of its type used.
        size: side of the square, pixels.
        fit: see `placement`.
        bits: 8 for uint8 out, 16 for uint16 out.
    """
    height, width = values.shape
    place = placement(height, width, size, fit)
    box = _visible(place, size, height, width)
    top, left = max(place.top, 0), max(place.left, 0)
    shape = (min(place.height, size), min(place.width, size))
    dtype = np.uint8 if bits == 8 else np.uint16
    if values.dtype == np.uint8 and bits == 8:
        picture = Image.fromarray(values)
        resized = np.asarray(picture.resize(shape[::-1], Image.Resampling.BICUBIC, box))
    else:
        picture = Image.fromarray(values.astype(np.float32) / np.iinfo(values.dtype).max)
        grey = np.asarray(picture.resize(shape[::-1], Image.Resampling.BICUBIC, box))
        resized = np.rint(grey.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)
    square = np.zeros((size, size), dtype)
    square[top : top + shape[0], left : left + shape[1]] = resized
    return square


def fitted_mask(
    mask: UInt8[np.ndarray, "mask_height mask_width"], height: int, width: int, size: int, fit: Fit
) -> UInt8[np.ndarray, "{size} {size}"]:
    """Bring a mask of classes onto the square of its image of `height` x `width`.

    A stored pixel is what most of it is, a class rather than background where both are half; what
    padding adds is background. The mask may have another resolution than its image, but must have
    its shape.

    Raises:
        UnreadableError: the mask's shape is not that of the image.
    """
    mask_height, mask_width = mask.shape
    off = abs(mask_width * height / width - mask_height)
    if off > max(ASPECT_TOLERANCE * mask_height, 1):
        raise UnreadableError(
            f"the mask is {mask_width} x {mask_height} pixels and cannot lie on an image of "
            f"{width} x {height}"
        )
    place = placement(height, width, size, fit)
    box = _visible(place, size, mask_height, mask_width)
    shape = (min(place.height, size), min(place.width, size))
    square = np.zeros((size, size), np.uint8)
    top, left = max(place.top, 0), max(place.left, 0)
    square[top : top + shape[0], left : left + shape[1]] = _resized(
        mask, shape, Image.Resampling.BOX, box
    )
    return square


def unfitted(
    square: UInt8[np.ndarray, "size size"], height: int, width: int, fit: Fit
) -> UInt8[np.ndarray, "{height} {width}"]:
    """Bring a mask of classes from its square back onto its image of `height` x `width`.

    The way back of `fitted_mask`: exact where that did not resize. What "crop" left out of the
    square is background.
    """
    place = placement(height, width, square.shape[0], fit)
    size = square.shape[0]
    per_row, per_column = place.height / height, place.width / width
    rows = _seen(place.top, per_row, size, height)
    columns = _seen(place.left, per_column, size, width)
    top, left = max(place.top, 0), max(place.left, 0)
    shown = square[top : top + place.height, left : left + place.width]
    # Source pixels that only half show reach over the edge: they see its last row or column.
    around = ceil(max(per_row, per_column))
    box = (
        around + place.left + columns.start * per_column - left,
        around + place.top + rows.start * per_row - top,
        around + place.left + columns.stop * per_column - left,
        around + place.top + rows.stop * per_row - top,
    )
    mask = np.zeros((height, width), np.uint8)
    mask[rows, columns] = _resized(
        np.pad(shown, around, mode="edge"),
        (rows.stop - rows.start, columns.stop - columns.start),
        Image.Resampling.BILINEAR,
        box,
    )
    return mask


def _seen(start: int, per_pixel: float, size: int, length: int) -> slice:
    """Source pixels of an axis that show on the square, be it in part."""
    first, last = floor(-start / per_pixel), ceil((size - start) / per_pixel)
    return slice(max(first, 0), min(last, length))


def _resized(
    mask: UInt8[np.ndarray, "height width"],
    shape: tuple[int, int],
    how: Image.Resampling,
    box: tuple[float, float, float, float],
) -> UInt8[np.ndarray, "new_height new_width"]:
    """The value with the largest share of each new pixel; background only where it has most."""
    chosen = np.zeros(shape, np.uint8)
    best, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[1:]) + 1:
        picture = Image.fromarray((mask == value).astype(np.float32))
        share = np.asarray(picture.resize(shape[::-1], how, box))
        chosen[share > best] = value
        best, total = np.maximum(best, share), total + share
    chosen[1 - total > best] = 0
    return chosen


def box_on_square(box: Box, height: int, width: int, size: int, fit: Fit) -> Box:
    """A box in fractions of the source image, in fractions of the square; clipped to it."""
    place = placement(height, width, size, fit)
    x0 = (place.left + box.x * place.width) / size
    y0 = (place.top + box.y * place.height) / size
    x1, y1 = x0 + box.width * place.width / size, y0 + box.height * place.height / size
    x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in (x0, y0, x1, y1))
    return Box(box.finding, x0, y0, x1 - x0, y1 - y0)


def _visible(
    place: Placement, size: int, height: int, width: int
) -> tuple[float, float, float, float]:
    """What shows of a source of `height` x `width`: left, top, right, bottom in its pixels."""
    per_row, per_column = height / place.height, width / place.width
    top, left = max(-place.top, 0), max(-place.left, 0)
    bottom, right = top + min(place.height, size), left + min(place.width, size)
    return left * per_column, top * per_row, right * per_column, bottom * per_row


def unplaced(
    square: Shaped[np.ndarray, "size size"], height: int, width: int, fit: Fit
) -> Shaped[np.ndarray, "seen_height seen_width"]:
    """What shows of a source of `height` x `width` on its square, in about the source's shape."""
    size = square.shape[0]
    if fit == "stretch":
        longest = max(height, width)
        shape = max(round(width * size / longest), 1), max(round(height * size / longest), 1)
        return np.asarray(Image.fromarray(square).resize(shape, Image.Resampling.BOX))
    place = placement(height, width, size, fit)
    top, left = max(place.top, 0), max(place.left, 0)
    return square[top : top + place.height, left : left + place.width]
