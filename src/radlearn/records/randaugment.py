"""RandAugment and random erasing on grey pictures, as MAE and CXR-MAE fine-tune with them.

timm's `rand-m9-mstd0.5-inc1`, operation by operation: two of `OPERATIONS` are drawn for a picture,
each done with a chance of one half, at a magnitude m drawn from a normal of mean 9 and deviation
0.5, cut to 0 to 10. (Cubuk et al. 2020; Zhong et al. 2020; timm's `auto_augment`.)

Where ours differs: pictures turn with bilinear in place of bicubic interpolation, and colours, of
which grey pictures have none, are left as they are.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from jaxtyping import Float, UInt8
from torch import Tensor

Picture = UInt8[Tensor, "1 height width"]
Operation = Callable[[Picture, float, np.random.Generator], Picture]

LAYERS, CHANCE = 2, 0.5
MAGNITUDE, DEVIATION, MOST = 9.0, 0.5, 10.0
FILL = 122.0
"""Grey where a turned or moved picture has none: CXR-MAE's mean, 0.4785."""

ERASING = 0.25
ERASED_AREA, ERASED_ASPECT = (0.02, 1 / 3), (0.3, 1 / 0.3)
MEAN, STD = 0.4785 * 255, 0.2834 * 255
"""Of the noise that takes the place of what is erased: N(0, 1) as CXR-MAE's models see it."""


def randaugmented(image: Picture, rng: np.random.Generator) -> Picture:
    """Two random operations at a random magnitude; a pure function of `rng`."""
    for at in rng.integers(len(OPERATIONS), size=LAYERS):
        done, level = rng.random() < CHANCE, rng.normal(MAGNITUDE, DEVIATION)
        if done:
            share = min(max(level, 0.0), MOST) / MOST
            image = OPERATIONS[list(OPERATIONS)[at]](image, share, rng)
    return image


def erased(
    image: Float[Tensor, "1 height width"], rng: np.random.Generator
) -> Float[Tensor, "1 height width"]:
    """With a chance of a quarter a rectangle, 2 to 33 % of the area, becomes noise.

    The noise is that of normalised pictures, so it may lie outside of [0, 255].
    """
    if rng.random() >= ERASING:
        return image
    height, width = image.shape[-2:]
    for _ in range(10):
        area = height * width * rng.uniform(*ERASED_AREA)
        aspect = math.exp(rng.uniform(*np.log(ERASED_ASPECT)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            noise = MEAN + STD * rng.standard_normal((1, h, w), dtype=np.float32)
            image = image.clone()
            image[:, top : top + h, left : left + w] = torch.from_numpy(noise)
            break
    return image


def _sign(rng: np.random.Generator) -> float:
    return -1.0 if rng.random() < 0.5 else 1.0


def _moved(
    image: Picture,
    angle: float = 0.0,
    translate: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Picture:
    return TF.affine(
        image,
        angle,
        list(translate),
        1.0,
        [math.degrees(math.atan(part)) for part in shear],
        TF.InterpolationMode.BILINEAR,
        [FILL],
        [0, 0] if any(shear) else None,
    )


def _rotate(image: Picture, m: float, rng: np.random.Generator) -> Picture:
    return _moved(image, angle=30 * m * _sign(rng))


def _shear(at: int) -> Operation:
    def shear(image: Picture, m: float, rng: np.random.Generator) -> Picture:
        share = 0.3 * m * _sign(rng)
        return _moved(image, shear=(share, 0.0) if at == 0 else (0.0, share))

    return shear


def _translate(at: int) -> Operation:
    def translate(image: Picture, m: float, rng: np.random.Generator) -> Picture:
        share = 0.45 * m * _sign(rng)
        height, width = image.shape[-2:]
        return _moved(image, translate=(share * width, 0.0) if at == 0 else (0.0, share * height))

    return translate


def _enhance(change: Callable[[Picture, float], Picture]) -> Operation:
    """Contrast and the like: factor 1 leaves a picture as it is."""

    def enhance(image: Picture, m: float, rng: np.random.Generator) -> Picture:
        return change(image, max(0.1, 1 + 0.9 * m * _sign(rng)))

    return enhance


def _posterize(image: Picture, m: float, rng: np.random.Generator) -> Picture:
    """The highest 4 bits kept at m = 0, none at 10."""
    bits = 4 - int(4 * m)
    return image & (256 - 2 ** (8 - bits))


def _solarize(image: Picture, m: float, rng: np.random.Generator) -> Picture:
    """What is as bright as the threshold, or brighter, is inverted."""
    threshold = 256 - int(256 * m)
    return torch.where(image >= threshold, 255 - image, image)


def _solarize_add(image: Picture, m: float, rng: np.random.Generator) -> Picture:
    """What is darker than 128 is made brighter."""
    brighter = (image.int() + min(128, int(110 * m))).clamp(max=255).to(torch.uint8)
    return torch.where(image < 128, brighter, image)


OPERATIONS: dict[str, Operation] = {
    "autocontrast": lambda image, m, rng: TF.autocontrast(image),
    "equalize": lambda image, m, rng: TF.equalize(image),
    "invert": lambda image, m, rng: 255 - image,
    "rotate": _rotate,  # up to 30 degrees
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize-add": _solarize_add,  # up to 110
    "colour": lambda image, m, rng: image,
    "contrast": _enhance(TF.adjust_contrast),  # by a factor 1 -+ 0.9
    "brightness": _enhance(TF.adjust_brightness),
    "sharpness": _enhance(TF.adjust_sharpness),
    "shear-x": _shear(0),  # up to 0.3
    "shear-y": _shear(1),
    "translate-x": _translate(0),  # up to 45 % of the width
    "translate-y": _translate(1),
}
"""By name, each of (picture, m / 10 in [0, 1], rng); what is said is what m = 10 does."""
