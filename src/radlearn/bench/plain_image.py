"""A training image in its plain form: the source file, decoded whenever it is seen."""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torchvision import transforms as T

MEAN, STD = 0.4978, 0.2449


def training_view(side: int) -> T.Compose:
    """Random resized crop by bicubic interpolation, flip, tensor, normalised; as the papers'."""
    crop = T.RandomResizedCrop(side, (0.2, 1.0), interpolation=T.InterpolationMode.BICUBIC)
    return T.Compose([crop, T.RandomHorizontalFlip(), *_tensor()])


def scoring_view(side: int) -> T.Compose:
    """Resized and normalised."""
    resize = T.Resize((side, side), interpolation=T.InterpolationMode.BICUBIC)
    return T.Compose([resize, *_tensor()])


def decoded(path: Path, view: T.Compose) -> Float[Tensor, "3 side side"]:
    """The file through a view."""
    with Image.open(path) as file:
        return view(file.convert("RGB"))


def batch_of(paths: list[Path], view: T.Compose) -> Float[Tensor, "batch 3 side side"]:
    return torch.stack([decoded(path, view) for path in paths])


def _tensor() -> list[object]:
    return [T.ToTensor(), T.Normalize([MEAN] * 3, [STD] * 3)]
