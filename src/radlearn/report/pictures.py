"""Pixels for the page: encoded small, side by side, with what the model looked at on top."""

import io

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8
from matplotlib import colormaps

from radlearn.report.page import Gallery, Image, Picture

LONGEST = 256  # pixels of a picture's longest side on the page
SHARP = 128  # up to here PNG is small enough, and keeps the edges of masked patches

Grey = UInt8[np.ndarray, "height width"]
Colour = UInt8[np.ndarray, "height width 3"]


def encode(image: Grey | Colour) -> Image:
    """PNG when small, else JPEG of at most 256 pixels on its longest side."""
    picture = PIL.Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((LONGEST, LONGEST), PIL.Image.Resampling.LANCZOS)
    out = io.BytesIO()
    if max(picture.size) <= SHARP:
        picture.save(out, "PNG", optimize=True)
        return Image(out.getvalue(), "image/png", *picture.size)
    picture.save(out, "JPEG", quality=88, subsampling=0, optimize=True)
    return Image(out.getvalue(), "image/jpeg", *picture.size)


def reconstructions(
    masked: UInt8[np.ndarray, "n h w"],
    rebuilt: UInt8[np.ndarray, "n h w"],
    true: UInt8[np.ndarray, "n h w"],
    most: int = 8,
) -> Gallery:
    """What the model saw, what it drew and what was there, for the first `most` images."""
    pictures = [
        Picture(
            [
                ("masked", encode(masked[i])),
                ("rebuilt", encode(rebuilt[i])),
                ("true", encode(true[i])),
            ],
            f"Example {i + 1}: masked, rebuilt and true image",
        )
        for i in range(min(most, len(true)))
    ]
    return Gallery("Masked, rebuilt, true", pictures, width=310)


def saliency_overlay(
    image: UInt8[np.ndarray, "height width"], heat: Float[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The image in grey under its heat, scaled to its own range; even heat shows nothing."""
    heat = np.nan_to_num(np.asarray(heat, np.float64), posinf=0.0, neginf=0.0)
    span = heat.max() - heat.min()
    level = (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)
    colour = colormaps["inferno"](0.25 + 0.7 * level)[..., :3]
    alpha = (0.65 * level)[..., None]
    mixed = (1 - alpha) * (image[..., None] / 255.0) + alpha * colour
    return np.rint(255 * mixed).astype(np.uint8)
