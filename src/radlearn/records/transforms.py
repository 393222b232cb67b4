"""From stored pixels to what a model sees; every random choice a pure function of its keys."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from jaxtyping import Float, UInt8, UInt16
from torch import Tensor

from radlearn.records.randaugment import erased, randaugmented

StoredImage = UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]
Interpolation = Literal["bicubic", "bilinear"]


def generator(*keys: int) -> np.random.Generator:
    """A generator that is a pure function of its keys, such as (seed, step, record)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(keys)))


@dataclass(frozen=True)
class Preprocessing:
    """What belongs to a model so that nobody has to know it: saved with the weights.

    Attributes:
        size: side of the square that the model sees, pixels.
        mean: of grey values in [0, 1]; one for each channel where a model of photographs has its
            own, one number where all are alike.
        std: of grey values in [0, 1], as `mean`.
        channels: 1, or 3 with the grey repeated.
        resize: side the image is brought to before the centre crop to `size`.
        interpolation: by which pictures are resized.
    """

    size: int
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    channels: int = 3
    resize: int | None = None
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, _statistic(getattr(self, name), self.channels))
        least = min(self.std) if isinstance(self.std, tuple) else self.std
        known = self.interpolation in ("bicubic", "bilinear")
        if self.size < 1 or self.channels not in (1, 3) or not least > 0 or not known:
            raise ValueError(f"not a preprocessing: {self}")

    @property
    def averaged(self) -> "Preprocessing":
        """The same with colours averaged to grey: one mean and one std."""
        mean, std = (
            sum(value) / len(value) if isinstance(value, tuple) else value
            for value in (self.mean, self.std)
        )
        return replace(self, mean=mean, std=std)

    def statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std in the type and on the device of `like`: (C, 1, 1), C being 1 or channels.

        They are to be applied to grey values in [0, 1].
        """
        mean, std = (
            torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
            for value in (self.mean, self.std)
        )
        return mean, std


def _statistic(value: float | Sequence[float], channels: int) -> float | tuple[float, ...]:
    """One number where all channels have the same, else one for each of them."""
    if not isinstance(value, list | tuple):
        return value  # type: ignore[return-value]
    if len(set(value)) == 1:
        return float(value[0])
    if len(value) != channels:
        raise ValueError(f"{len(value)} statistics for {channels} channels")
    return tuple(float(one) for one in value)


def as_tensor(image: StoredImage) -> Tensor:
    """(1, H, W): uint8 stays uint8, uint16 becomes float32 in [0, 255]."""
    if image.dtype == np.uint16:
        return torch.from_numpy(image.astype(np.float32) / 257.0)[None]
    return torch.tensor(image)[None]


def resized(image: Tensor, size: int, interpolation: Interpolation = "bicubic") -> Tensor:
    """With antialiasing, clipped to the range of grey values."""
    if image.shape[-2:] == (size, size):
        return image
    # what torchvision's resize ends in, without what it asks itself on the way there
    several = image if image.ndim == 4 else image[None]
    shape = (size, size)
    out = F.interpolate(several, shape, mode=interpolation, align_corners=False, antialias=True)
    out = out if image.ndim == 4 else out[0]
    return out if image.dtype == torch.uint8 else out.clamp(0, 255)


def random_resized_crop(
    image: Tensor,
    size: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A random part of the image, by area and aspect ratio, brought to (1, size, size)."""
    height, width = image.shape[-2:]
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return resized(image[..., top : top + h, left : left + w], size)
    side = min(height, width)
    return resized(TF.center_crop(image, [side, side]), size)


def augmented(
    image: StoredImage, size: int, rng: np.random.Generator, scale: tuple[float, float]
) -> Tensor:
    """Random resized crop and horizontal flip, as MRM and MED-PEFT train: (1, size, size)."""
    crop = random_resized_crop(as_tensor(image), size, rng, scale)
    return crop.flip(-1) if rng.random() < 0.5 else crop


def strongly_augmented(
    image: StoredImage, size: int, rng: np.random.Generator, scale: tuple[float, float]
) -> Float[Tensor, "1 size size"]:
    """`augmented`, then RandAugment and random erasing, as CXR-MAE fine-tunes; a function of `rng`.

    Operations and magnitudes: `records.randaugment`. They are defined for whole grey values, so 16
    bits are rounded to 8.

    Returns:
        Grey values of [0, 255], float32; erased parts are noise that may lie outside.
    """
    crop = augmented(image, size, rng, scale)
    whole = crop if crop.dtype == torch.uint8 else crop.round().to(torch.uint8)
    return erased(randaugmented(whole, rng).float(), rng)


def evaluated(image: StoredImage, preprocessing: Preprocessing) -> Tensor:
    """The one deterministic view that validation, test and prediction use: (1, size, size)."""
    tensor, by = as_tensor(image), preprocessing.interpolation
    if preprocessing.resize is None:
        return resized(tensor, preprocessing.size, by)
    return TF.center_crop(resized(tensor, preprocessing.resize, by), [preprocessing.size] * 2)


def normalised(
    images: UInt8[Tensor, "batch 1 height width"] | Float[Tensor, "batch 1 height width"],
    preprocessing: Preprocessing,
) -> Float[Tensor, "batch channels height width"]:
    """Grey values in [0, 255] to what the model was trained on; on the images' own device."""
    grey = images.float().div(255)
    mean, std = preprocessing.mean, preprocessing.std
    if isinstance(mean, tuple) or isinstance(std, tuple):
        means, stds = preprocessing.statistics(grey)
        return grey.sub(means).div(stds).expand(-1, preprocessing.channels, -1, -1)
    return grey.sub(mean).div(std).expand(-1, preprocessing.channels, -1, -1)
