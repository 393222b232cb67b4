"""Boxes of pixels as fractions of their image."""

from collections.abc import Sequence

from radlearn.datasets.tables import number_of
from radlearn.records.record import Box


def fractional(finding: str, cells: Sequence[str], width: int, height: int) -> Box | None:
    """A box from a table's cells x, y, width, height, in pixels of a `width` x `height` image.

    It is cut at the image's border; None where a cell is no number or nothing is left.
    """
    numbers = [number_of(cell) for cell in cells]
    if len(numbers) != 4 or any(n is None for n in numbers):
        return None
    x, y, w, h = (n for n in numbers if n is not None)
    left, top = max(x / width, 0.0), max(y / height, 0.0)
    right, bottom = min((x + w) / width, 1.0), min((y + h) / height, 1.0)
    if right <= left or bottom <= top:
        return None
    return Box(finding, left, top, right - left, bottom - top)
