"""Batch k of segmentation, from (seed, k) alone: one transform for an image and its mask."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torchvision.transforms.v2.functional as TF
from jaxtyping import Shaped, UInt8
from torch import Tensor

from radlearn.records.batches import Batch, batch_positions, part_of
from radlearn.records.record import NOT_ANNOTATED
from radlearn.records.store import Selection
from radlearn.records.transforms import as_tensor, generator, resized

RECORD_STREAM = 0x5E63  # keeps what happens to a record apart from the order of records
ASPECT = 4 / 3
DEGREES = 15.0
HIDDEN = (0.02, 0.2)  # share of the image's area
CONTRAST, BRIGHTNESS = 0.25, 25.0  # share, and grey values of 255

Augment = Literal["none", "plain", "strong"]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SegmentationBatches:
    """Makes batch k; picklable, so that a loader's worker can do it.

    Attributes:
        size: side of what the model sees, pixels.
        augment: plain: random crops and, with `flips`, mirroring; strong: turned, in other contrast
            and brightness, and half of the time with a part hidden, too.
        crop: smallest and largest share of the area that a crop keeps.
        sliding: what is seen is a window of the stored picture in its own resolution, half of the
            time around a pixel that is not background; else the whole picture, or a random crop
            of it, brought to `size`.
        flips: whether left and right may be exchanged.
        rank: which of `world` processes this is; each makes its share of the batch.
    """

    records: Selection
    size: int
    batch: int
    seed: int
    augment: Augment
    crop: tuple[float, float] = (0.2, 1.0)
    sliding: bool = False
    flips: bool = True
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> Batch:
        whole = batch_positions(self.seed, step, len(self.records), self.batch)
        part = part_of(whole, self.rank, self.world)
        ids = self.records.take(part.positions).ids
        return self.of(part.positions, step) | {"ids": ids} | part.told(len(whole), self.world)

    def of(self, positions: np.ndarray, step: int) -> Batch:
        """The batch of these records, as step `step` would see them.

        Returns:
            "image" (B, 1, size, size), grey values in [0, 255]; "mask" (B, size, size), uint8.
        """
        pairs = [self._pair(int(at), step) for at in positions]
        return {
            "image": torch.stack([image for image, _ in pairs]),
            "mask": torch.stack([mask[0] for _, mask in pairs]),
        }

    def _pair(self, at: int, step: int) -> Pair:
        stored, mask = self.records.image(at), self.records.mask(at)
        assert stored is not None and mask is not None
        rng = generator(self.seed, RECORD_STREAM, step, at)
        pair = as_tensor(stored), as_tensor(mask)
        if self.sliding:
            top, left = window_at(mask, self.size, rng)
            pair = cropped(pair, top, left, self.size, self.size)
        elif self.augment != "none":
            height, width = mask.shape
            pair = cropped(pair, *_box(height, width, rng, self.crop))
        pair = fitted(pair, self.size)
        if self.augment != "none" and self.flips and rng.random() < 0.5:
            pair = pair[0].flip(-1), pair[1].flip(-1)
        return _strong(pair, rng) if self.augment == "strong" else pair


def cropped(pair: Pair, top: int, left: int, height: int, width: int) -> Pair:
    """The same rectangle of an image and its mask."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    return pair[0][..., rows, columns], pair[1][..., rows, columns]


def fitted(pair: Pair, size: int) -> Pair:
    """Both at (1, size, size): the image as in evaluation, the mask by its nearest pixels."""
    nearest = TF.InterpolationMode.NEAREST_EXACT  # centres of pixels, as bicubic has them
    return resized(pair[0], size), TF.resize(pair[1], [size, size], nearest)


def window_at(
    mask: Shaped[np.ndarray, "height width"], size: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Top and left of a window: half of the time around a pixel of some class, if there is one."""
    most = [max(length - size, 0) for length in mask.shape]
    if rng.random() < 0.5:
        inside = np.flatnonzero((mask > 0) & (mask != NOT_ANNOTATED))
        if len(inside):
            pixel = np.unravel_index(rng.choice(inside), mask.shape)
            corner = [int(at) - size // 2 for at in pixel]
            return min(max(corner[0], 0), most[0]), min(max(corner[1], 0), most[1])
    return int(rng.integers(most[0] + 1)), int(rng.integers(most[1] + 1))


def may_flip(classes: tuple[str, ...]) -> bool:
    """Whether mirroring leaves every class what it is: none says that it is left or right."""
    words = {word for name in classes for word in name.lower().replace("_", " ").split()}
    return not words & {"left", "right"}


def _box(
    height: int, width: int, rng: np.random.Generator, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part by area and aspect ratio."""
    area = rng.uniform(*scale)
    aspect = math.exp(rng.uniform(-math.log(ASPECT), math.log(ASPECT)))
    h = min(max(round(height * math.sqrt(area / aspect)), 1), height)
    w = min(max(round(width * math.sqrt(area * aspect)), 1), width)
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w


def _strong(pair: Pair, rng: np.random.Generator) -> Pair:
    angle = rng.uniform(-DEGREES, DEGREES)
    contrast = rng.uniform(1 - CONTRAST, 1 + CONTRAST)
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    image = TF.rotate(pair[0].float(), angle, TF.InterpolationMode.BILINEAR, fill=[0.0])
    mask: UInt8[Tensor, "1 size size"] = TF.rotate(
        pair[1], angle, TF.InterpolationMode.NEAREST, fill=[float(NOT_ANNOTATED)]
    )
    mean = image.mean()
    image = ((image - mean) * contrast + mean + brightness).clamp(0, 255)
    return _partly_hidden(image, rng), mask


def _partly_hidden(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the time a rectangle of the image becomes one grey, as what covers an organ may.

    The mask stays: what is hidden has to be drawn from what is around it.
    """
    if rng.random() < 0.5:
        return image
    height, width = image.shape[-2:]
    top, left, h, w = _box(height, width, rng, HIDDEN)
    image = image.clone()
    image[..., top : top + h, left : left + w] = float(rng.uniform(0, 255))
    return image
