"""What a model sees of a picture: its own preprocessing, and augmentation by the rng alone."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from PIL import Image, ImageEnhance, ImageOps
from timm.data.auto_augment import _RAND_INCREASING_TRANSFORMS

from radlearn.records import randaugment
from radlearn.records.randaugment import OPERATIONS, erased, randaugmented
from radlearn.records.transforms import (
    Preprocessing,
    evaluated,
    generator,
    normalised,
    strongly_augmented,
)

COLOURS = Preprocessing(8, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def picture(seed: int = 0, side: int = 48, bits: int = 8) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side] / side
    noise = np.random.default_rng(seed).random((side, side))
    values = (rows * 0.5 + columns * 0.3 + noise * 0.2).clip(0, 1)
    return (values * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def test_every_channel_has_its_own_statistics() -> None:
    grey = torch.full((2, 1, 4, 4), 100, dtype=torch.uint8)
    seen = normalised(grey, COLOURS)
    assert seen.shape == (2, 3, 4, 4)
    for at in range(3):
        expected = (100 / 255 - COLOURS.mean[at]) / COLOURS.std[at]
        torch.testing.assert_close(seen[:, at], torch.full((2, 4, 4), expected))


def test_preprocessing_comes_back_from_json() -> None:
    for one in (COLOURS, Preprocessing(8, 0.5, 0.2, 1, 9, "bilinear")):
        assert Preprocessing(**json.loads(json.dumps(asdict(one)))) == one
    assert Preprocessing(8, (0.5,) * 3, 0.2) == Preprocessing(8, 0.5, 0.2)
    assert COLOURS.averaged == Preprocessing(8, 0.449, 0.226)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"std": 0.0},
        {"std": (0.1, 0.0, 0.1)},
        {"mean": (0.1, 0.2)},
        {"channels": 2},
        {"interpolation": "lanczos"},
        {"std": float("nan")},
    ],
)
def test_what_is_no_preprocessing_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"preprocessing|statistics"):
        Preprocessing(**{"size": 8, "mean": 0.5, "std": 0.2} | wrong)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pictures_are_resized_as_the_preprocessing_says(interpolation: str) -> None:
    image = picture(side=40)
    chosen = Preprocessing(24, 0.5, 0.2, resize=30, interpolation=interpolation)  # type: ignore[arg-type]
    mode = TF.InterpolationMode(interpolation)
    whole = TF.resize(torch.from_numpy(image)[None], [30, 30], mode, antialias=True)
    assert torch.equal(evaluated(image, chosen), TF.center_crop(whole, [24, 24]))


@pytest.mark.parametrize("bits", [8, 16])
def test_strong_augmentation_is_a_function_of_the_rng(bits: int) -> None:
    image = picture(bits=bits)
    seen = [strongly_augmented(image, 32, generator(0, at), (0.2, 1.0)) for at in range(40)]
    again = [strongly_augmented(image, 32, generator(0, at), (0.2, 1.0)) for at in range(40)]
    for one, other in zip(seen, again, strict=True):
        assert one.shape == (1, 32, 32) and one.dtype == torch.float32
        assert torch.equal(one, other)
    assert len({one.numpy().tobytes() for one in seen}) == len(seen)


def test_a_quarter_is_erased_a_half_of_two_operations_done() -> None:
    flat = torch.full((1, 32, 32), 100.0)
    changed = [erased(flat, generator(1, at)) for at in range(400)]
    shares = [float((one != flat).float().mean()) for one in changed]
    hit = [share for share in shares if share > 0]
    assert 70 < len(hit) < 130
    assert min(hit) > 0.01 and max(hit) < 0.36
    assert torch.equal(flat, torch.full((1, 32, 32), 100.0))
    whole = torch.from_numpy(picture())[None]
    same = sum(torch.equal(randaugmented(whole, generator(2, at)), whole) for at in range(300))
    assert 60 < same < 125  # a quarter has neither, and some have only colours


def test_operations_are_timms() -> None:
    """As many as in timm's set, and each against Pillow at the same magnitude."""
    assert len(_RAND_INCREASING_TRANSFORMS) == len(OPERATIONS)
    image = picture()
    grey, tensor = Image.fromarray(image), torch.from_numpy(image)[None]

    def ours(name: str, m: float = 0.9) -> np.ndarray:
        return OPERATIONS[name](tensor, m, generator(3))[0].numpy()  # draws a plus first

    sign = randaugment._sign(generator(3))
    factor = max(0.1, 1 + 0.81 * sign)
    exact = {
        "autocontrast": ImageOps.autocontrast(grey),
        "equalize": ImageOps.equalize(grey),
        "invert": ImageOps.invert(grey),
        "posterize": ImageOps.posterize(grey, 1),
        "solarize": ImageOps.solarize(grey, 26),
        "contrast": ImageEnhance.Contrast(grey).enhance(factor),
        "brightness": ImageEnhance.Brightness(grey).enhance(factor),
        "sharpness": ImageEnhance.Sharpness(grey).enhance(factor),
    }
    for name, expected in exact.items():
        assert np.abs(ours(name).astype(int) - np.asarray(expected)).max() <= 2, name
    added = np.where(image < 128, np.minimum(image.astype(int) + 99, 255), image)
    assert np.array_equal(ours("solarize-add"), added)
    angle = grey.rotate(-27 * sign, Image.Resampling.BILINEAR, fillcolor=122)
    assert np.abs(ours("rotate").astype(int) - np.asarray(angle)).mean() < 2
    by = 0.27 * sign
    for name, matrix in {"shear-x": (1, by, 0, 0, 1, 0), "shear-y": (1, 0, 0, by, 1, 0)}.items():
        sheared = [
            grey.transform(grey.size, Image.Transform.AFFINE, one, Image.Resampling.BILINEAR)
            for one in (matrix, tuple(np.array(matrix) * np.where(np.isin(matrix, by), -1, 1)))
        ]
        outside = [np.asarray(one) == 0 for one in sheared]
        close = [
            np.abs(ours(name).astype(int) - np.asarray(one))[~out].mean()
            for one, out in zip(sheared, outside, strict=True)
        ]
        assert min(close) < 3, name
    moved = ours("translate-x").astype(int)
    shift = round(0.405 * 48)
    part = moved[:, shift:] if sign > 0 else moved[:, :-shift]
    own = image[:, : 48 - shift] if sign > 0 else image[:, shift:]
    assert np.abs(part[:, 2:-2] - own[:, 2:-2]).mean() < 12
    assert (moved == 122).mean() > 0.35
