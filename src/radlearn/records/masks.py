"""Masks from run-lengths and from mask images."""

import numpy as np
from jaxtyping import UInt8

from radlearn.errors import UnreadableError
from radlearn.records.guard import DEFAULT_LIMITS, Limits
from radlearn.records.readers import read_pixels
from radlearn.records.record import MaskFiles, MaskSource, RunLengths


def decode_runs(mask: RunLengths) -> UInt8[np.ndarray, "height width"]:
    """0/1 pixels of runs that go down the columns, each start counted from the last run's end.

    That is how SIIM-ACR Pneumothorax (2019) encodes; several encodings of an image are united.

    Raises:
        UnreadableError: an encoding is not pairs of numbers, or leaves the image.
    """
    size = mask.height * mask.width
    changes = np.zeros(size + 1, np.int64)  # +1 where a run starts, -1 where it has ended
    for runs in mask.runs:
        words = runs.split()
        if len(words) % 2 or not all(word.isascii() and word.isdigit() for word in words):
            raise UnreadableError("run-lengths are not pairs of numbers")
        if any(len(word) > 18 for word in words):
            raise UnreadableError("a run-length of more than 18 digits")
        steps = np.array([min(int(word), size + 1) for word in words], np.int64)
        edges = np.cumsum(steps)
        if len(edges) and edges[-1] > size:
            raise UnreadableError(
                f"run-lengths end at pixel {edges[-1]} of {mask.height} x {mask.width}"
            )
        np.add.at(changes, edges[0::2], 1)
        np.add.at(changes, edges[1::2], -1)
    inside = np.cumsum(changes[:-1]) > 0
    return np.ascontiguousarray(inside.reshape(mask.width, mask.height).T.astype(np.uint8))


def read_mask(
    source: MaskSource, limits: Limits = DEFAULT_LIMITS
) -> UInt8[np.ndarray, "height width"]:
    """The mask as 0/1 pixels, in the size that it was drawn in.

    Raises:
        UnreadableError: a file or an encoding cannot be read, is beyond `limits`, or the files of
            one mask differ in size.
    """
    if isinstance(source, RunLengths):
        if not 0 < source.height * source.width <= limits.pixels:
            raise UnreadableError(f"a mask of {source.height} x {source.width} pixels")
        return decode_runs(source)
    return _united(source, limits)


def _united(source: MaskFiles, limits: Limits) -> UInt8[np.ndarray, "height width"]:
    drawn = [read_pixels(path, limits).values > 0 for path in source.paths]
    if not drawn:
        raise UnreadableError("a mask of no files")
    if len({mask.shape for mask in drawn}) > 1:
        names = ", ".join(path.name for path in source.paths)
        raise UnreadableError(f"the files of one mask differ in size: {names}")
    return np.logical_or.reduce(drawn).astype(np.uint8)
