"""PNG, JPEG and TIFF."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps

from radlearn.records.display import Grey, Rendering, rendered, unchanged
from radlearn.records.guard import Limits, Refusal, contents, refusals, step
from radlearn.records.record import Pixels

JPEG = b"\xff\xd8\xff"
MAGIC = (b"\x89PNG\r\n\x1a\n", JPEG, b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PHOTOMETRIC = 262  # the TIFF tag that says whether zero is white


def is_raster(head: bytes) -> bool:
    """Whether a file's first bytes are those of PNG, JPEG or TIFF."""
    return head.startswith(MAGIC)


def read_raster(path: Path, limits: Limits) -> Pixels:
    """Read a PNG, JPEG or single-page TIFF, upright by its EXIF orientation.

    Eight bits are taken as they are; colour becomes luma (grey kept in colour stays exact); what
    is transparent is dark. Sixteen bits and more are stretched so that the bits really used fill
    uint16, and by percentiles where that shows nothing or where values are floats.

    Raises:
        UnreadableError: damaged, cut short, several pages, or beyond `limits`. Pillow's own limit
            of 179 million pixels holds beside them.
    """
    with _opened(path, limits) as image:
        mode, kind = image.mode, str(image.format)
        zero_is_white = _zero_is_white(image)
        values = _grey(ImageOps.exif_transpose(image), zero_is_white)
    return Pixels(values=values, header={"format": kind, "mode": mode})


def read_codes(path: Path, limits: Limits) -> Shaped[np.ndarray, "height width"]:
    """The numbers that a PNG or TIFF holds, one a pixel, upright; of a palette its places.

    Raises:
        UnreadableError: a JPEG, whose numbers are not those that were drawn; colours; and see
            `read_raster`.
    """
    with _opened(path, limits) as image:
        if image.format in ("JPEG", "MPO"):
            raise Refusal("a JPEG changes the values of pixels: draw classes in PNG")
        upright = ImageOps.exif_transpose(image)
        values = np.asarray(upright)
        bands = upright.getbands()
        if len(bands) > 1:
            colours = values[..., : len(bands) - (bands[-1] == "A")]
            values = colours[..., 0]
            if (colours != values[..., None]).any():
                raise Refusal("colours where one value a class is expected")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[Image.Image]:
    with refusals(path):
        stream = io.BytesIO(contents(path, limits))
        with (
            step("damaged, or a kind of PNG, JPEG or TIFF that is not read"),
            Image.open(stream, formats=("PNG", "JPEG", "TIFF")) as image,
        ):
            limits.check(image.height, image.width, 4)
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise Refusal("several pages or frames; only single pictures are taken in")
            with step("damaged or cut short"):
                image.load()
            yield image


def _zero_is_white(image: Image.Image) -> bool:
    """Pillow itself turns over one and eight bits, and leaves the others."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(PHOTOMETRIC) == 0 and image.mode not in ("1", "L", "P")


def _grey(image: Image.Image, inverted: bool) -> Grey:
    if image.mode.startswith(("I", "F")):
        stored = np.asarray(image)
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return rendered(stored, _bits_used(stored), inverted=inverted, bits=16)[0]
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image.alpha_composite(clear)
    if image.mode in ("RGBA", "P"):
        image = image.convert("RGB")
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def _bits_used(stored: np.ndarray) -> tuple[Rendering, ...]:
    if not np.issubdtype(stored.dtype, np.integer) or stored.min() < 0:
        return ()
    top = float(2 ** max(8, int(stored.max()).bit_length()) - 1)
    return (Rendering("bits used", unchanged, 0.0, top),)
