"""Pairs are brought out of line by known amounts, the same ones for the same keys."""

import numpy as np
import pytest
import torch

from radlearn.errors import InputError
from radlearn.models.registration import folding_share, warp
from radlearn.translation.misalign import (
    Affine,
    Misalignment,
    affine_field,
    deformed,
    draw_affine,
    draw_fields,
    elastic_field,
    generator,
    misaligned,
)

SHAPE = (48, 64)


def pair(shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return tuple(rng.uniform(-1, 1, (1, *shape)).astype(np.float32) for _ in range(2))


def turned(affine: Affine, image: np.ndarray) -> np.ndarray:
    return deformed(image, affine_field(affine, image.shape[1:]))


def test_content_is_shifted_by_the_fraction_of_its_side_and_leaves_background_behind() -> None:
    image, _ = pair()
    moved = turned(Affine((0.0,), (0.25, -0.125), 1.0), image)
    np.testing.assert_allclose(moved[:, 12:, :56], image[:, :36, 8:], atol=1e-6)
    assert (moved[:, :12] == -1).all()
    assert (moved[:, :, 56:] == -1).all()


def test_a_quarter_turn_and_back() -> None:
    image, _ = pair((32, 32))
    quarter = turned(Affine((90.0,), (0.0, 0.0), 1.0), image)
    rotated = [np.rot90(image[0], turns) for turns in (1, 3)]
    assert min(np.abs(quarter[0, 1:-1, 1:-1] - r[1:-1, 1:-1]).max() for r in rotated) < 1e-5


def test_a_scale_above_one_enlarges() -> None:
    image = np.full((1, 40, 40), -1.0)
    image[:, 15:25, 15:25] = 1.0
    larger = turned(Affine((0.0,), (0.0, 0.0), 1.5), image)
    assert (larger > 0).sum() > 1.8 * (image > 0).sum()


def test_three_dimensions_turn_in_three_planes() -> None:
    field = affine_field(Affine((90.0, 0.0, 0.0), (0.0,) * 3, 1.0), (8, 8, 10))
    np.testing.assert_allclose(field[2], 0, atol=1e-12)
    assert np.abs(field[0]).max() > 3
    assert len(draw_affine(2, 3, generator(1)).degrees) == 3


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_draws_stay_within_the_level_and_come_near_its_ends(level: int) -> None:
    draws = [draw_affine(level, 2, generator(7, k)) for k in range(400)]
    spread = {
        "degrees": (np.array([d.degrees for d in draws]), level),
        "shift": (np.array([d.shift for d in draws]), 0.02 * level),
        "scale": (np.array([d.scale for d in draws]) - 1, 0.02 * level),
    }
    for values, most in spread.values():
        assert 0.95 * most < np.abs(values).max() <= most
        assert abs(values.mean()) < 0.1 * most


def test_level_0_moves_both_alike_and_the_others_each_on_its_own() -> None:
    source, target = draw_fields(Misalignment(0), SHAPE, 1, 2)
    assert np.array_equal(source, target)
    assert np.abs(source).max() > 0
    source, target = draw_fields(Misalignment(1), SHAPE, 1, 2)
    assert np.abs(source - target).max() > 0.1


@pytest.mark.parametrize("asked", [Misalignment(3), Misalignment(None, 3.0), Misalignment(0, 2.0)])
def test_the_same_keys_give_the_same_pair_and_others_another(asked: Misalignment) -> None:
    first, again, other = (misaligned(*pair(), asked, 5, key) for key in (8, 8, 9))
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not any(np.array_equal(x, y) for x, y in zip(first, other, strict=True))
    assert first[0].dtype == np.float32
    assert first[0].min() >= -1 and first[0].max() <= 1


def test_background_stays_background_to_the_bit() -> None:
    source = np.full((1, *SHAPE), -1, dtype=np.float32)
    for key in range(5):
        for image in misaligned(source, source, Misalignment(5, 4.0), key):
            assert (image == -1).all()


def test_fields_are_those_of_the_registration_network() -> None:
    image, _ = pair()
    field, _ = draw_fields(Misalignment(3, 2.0), SHAPE, 4)
    places = np.indices(SHAPE) + field
    inside = ((places >= 0) & (places <= np.array(SHAPE).reshape(2, 1, 1) - 1)).all(0)
    warped = warp(torch.from_numpy(image)[None], torch.from_numpy(field)[None])[0].numpy()
    assert inside.mean() > 0.5
    np.testing.assert_allclose(deformed(image, field)[0][inside], warped[0][inside], atol=1e-5)


def test_nothing_asked_changes_nothing() -> None:
    source, target = pair()
    moved = misaligned(source, target, Misalignment(), 1)
    assert moved[0] is source and moved[1] is target


@pytest.mark.parametrize("shape", [(48, 64), (16, 20, 24)])
def test_elastic_fields_are_as_large_as_asked_and_never_fold(shape: tuple[int, ...]) -> None:
    for key in range(10):
        field = elastic_field(4.0, shape, generator(2, key))
        largest = np.abs(field).reshape(len(shape), -1).max(1) / np.array(shape)
        assert (largest > 0.015).all() and (largest < 0.06).all()
        assert folding_share(torch.from_numpy(field)[None]).item() == 0


@pytest.mark.parametrize("wrong", [{"level": 6}, {"level": -1}, {"elastic": 5.0}])
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=r"0 to [45]"):
        Misalignment(**wrong)
