"""Transforms as ITK writes them in text: from points of one space to those of another."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radlearn.records.guard import Refusal, head, refusals, step

if TYPE_CHECKING:
    import SimpleITK

FIRST_LINE = b"#Insight Transform File"
MOST_BYTES = 2**16  # a rigid or affine one has hundreds; displacement fields are not read


def read_transform(path: Path) -> "SimpleITK.Transform":
    """A linear transform from its ITK text file; it maps points in millimetres, LPS.

    Raises:
        UnreadableError: not such a file, not three-dimensional, not linear, or not invertible.
    """
    import SimpleITK

    with refusals(path):
        start = head(path, MOST_BYTES + 1)
        if not start.startswith(FIRST_LINE) or len(start) > MOST_BYTES:
            raise Refusal("not a linear transform in ITK's text format")
        with step("damaged, or a kind of transform that is not read"):
            values = _numbers(start)
            if not np.isfinite(values).all():
                raise Refusal("its parameters are not finite")
            transform = SimpleITK.ReadTransform(str(path))
            if transform.GetDimension() != 3 or not transform.IsLinear():
                raise Refusal("not a linear transform in three dimensions")
        try:
            return transform.GetInverse().GetInverse()
        except RuntimeError:
            raise Refusal("a transform that cannot be inverted") from None


def between(grid_side: Path | None, volume_side: Path | None) -> "SimpleITK.Transform | None":
    """From points of one scan to those of another, each with its file from a common space.

    Args:
        grid_side: maps the common space to the scan whose grid is resampled onto; None is the
            identity.
        volume_side: maps the common space to the scan that is resampled.

    Returns:
        p -> volume_side(grid_side^-1(p)), or None where both are the identity.

    Raises:
        UnreadableError: a file cannot be read.
    """
    import SimpleITK

    if grid_side is None and volume_side is None:
        return None
    composite = SimpleITK.CompositeTransform(3)
    if volume_side is not None:
        composite.AddTransform(read_transform(volume_side))
    if grid_side is not None:  # what is added last is applied first
        composite.AddTransform(read_transform(grid_side).GetInverse())
    return composite


def _numbers(text: bytes) -> np.ndarray:
    lines = text.decode("ascii").splitlines()
    said = [line.split(":", 1)[1] for line in lines if "Parameters:" in line]
    return np.array(" ".join(said).split(), np.float64)
