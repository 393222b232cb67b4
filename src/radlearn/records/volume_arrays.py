"""Slices and volumes that say nothing of where they are: PNG, JPEG, TIFF and .npy."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.lib import format as npy
from PIL import Image

from radlearn.records.guard import Limits, Refusal, contents, step

NPY = b"\x93NUMPY"
GREY = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")
COLOUR = "RGB where grey is expected"


def check_size(shape: tuple[int, ...], item_bytes: int, limits: Limits) -> None:
    """Refuse a volume whose header claims more than `limits`, before anything is allocated."""
    said = " x ".join(map(str, shape))
    if min(shape) < 1:
        raise Refusal(f"its header claims {said} voxels")
    slice_pixels = math.prod(sorted(shape)[-2:])
    if slice_pixels > limits.pixels or math.prod(shape) * max(item_bytes, 4) > limits.bytes:
        raise Refusal(
            f"its header claims {said} voxels, more than the limit of {limits.pixels} pixels of a "
            f"slice or {limits.bytes} bytes"
        )


def read_raster_volume(
    path: Path, limits: Limits
) -> tuple[Float32[np.ndarray, "i j k"], dict[str, Any]]:
    """Columns, rows and pages of a grey picture, its values as they are stored.

    Raises:
        Refusal: colour, pages of different sizes, damage, or beyond `limits`.
    """
    stream = io.BytesIO(contents(path, limits))
    with (
        step("damaged, or a kind of PNG, JPEG or TIFF that is not read"),
        Image.open(stream, formats=("PNG", "JPEG", "TIFF")) as image,
    ):
        pages = int(getattr(image, "n_frames", 1))
        size, mode, kind = image.size, image.mode, image.format
        if mode not in GREY:
            raise Refusal(f"{COLOUR} (mode {mode})")
        check_size((*size, pages), 4, limits)
        stacked = []
        for page in range(pages):
            image.seek(page)
            if image.size != size or image.mode != mode:
                raise Refusal("its pages differ in size or kind")
            with step("damaged or cut short"):
                stacked.append(np.asarray(image).astype(np.float32))
    values = np.ascontiguousarray(np.stack(stacked).transpose(2, 1, 0))
    return values, {"format": kind, "mode": mode}


def read_npy_volume(
    path: Path, limits: Limits
) -> tuple[Float32[np.ndarray, "i j k"], dict[str, Any]]:
    """Columns, rows and slices of an array (H, W) or (D, H, W).

    Raises:
        Refusal: not two or three dimensions of real numbers, damage, or beyond `limits`.
    """
    raw = contents(path, limits)
    stream = io.BytesIO(raw)
    with step("its .npy header is damaged"):
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    if dtype.kind not in "iufb":
        raise Refusal("complex numbers" if dtype.kind == "c" else "its values are no numbers")
    if len(shape) not in (2, 3):
        raise Refusal(f"{len(shape)}-D; one slice (H, W) or volume (D, H, W) was looked for")
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4:
        raise Refusal(COLOUR)
    check_size(shape, dtype.itemsize, limits)
    if len(raw) < stream.tell() + math.prod(shape) * dtype.itemsize:
        raise Refusal("cut short: its header claims more values than there are")
    stream.seek(0)
    with step("its values cannot be decoded"), np.errstate(over="ignore", invalid="ignore"):
        values = npy.read_array(stream, allow_pickle=False).astype(np.float32)
    if values.ndim == 2:
        values = values[None]
    kept = {"dtype": dtype.str, "dimensions": len(shape)}
    return np.ascontiguousarray(values.transpose(2, 1, 0)), kept
