"""Known displacements of phantoms in two contrasts are found again, and none is made up."""

import numpy as np
import pytest
from scipy import ndimage

from radlearn.errors import InputError
from radlearn.misalignment import Apart, advise
from radlearn.records.displacement import Displacement, displacement
from radlearn.records.shared_information import residual, told_more

SPACING = (2.0, 2.0, 2.0)
SHAPE = (40, 64, 56)


def drawn(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    turn: float,
    shift: tuple[float, ...],
    scale: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """(source, target): the head of two contrasts; the source scaled, turned in plane (degrees),
    shifted (mm)."""
    rng = np.random.default_rng(5)
    axes = len(shape)
    lumps = [(rng.uniform(-32, 32, axes), rng.uniform(6, 12)) for _ in range(40)]

    def tissue(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        radius = np.sqrt(
            sum((p / r) ** 2 for p, r in zip(places, (34, 56, 48)[-axes:], strict=True))
        )
        grey = sum(
            np.exp(-sum((p - c) ** 2 for p, c in zip(places, centre, strict=True)) / size**2)
            * (1 if i % 2 else -1)
            for i, (centre, size) in enumerate(lumps)
        )
        inside = 1 / (1 + np.exp((radius - 1) * 20))
        return inside, np.tanh(grey)

    places = np.stack(
        [
            (index - (side - 1) / 2) * step
            for index, side, step in zip(np.indices(shape), shape, spacing, strict=True)
        ]
    )
    back = (places - np.array(shift).reshape(-1, *[1] * axes)) / scale
    sine, cosine = np.sin(np.radians(turn)), np.cos(np.radians(turn))
    y, x = back[-2].copy(), back[-1].copy()
    back[-2], back[-1] = cosine * y + sine * x, -sine * y + cosine * x
    inside, grey = tissue(back)
    source = inside * (1.1 + 0.6 * grey) - 1
    inside, grey = tissue(places)
    target = inside * (0.9 - 0.6 * grey + 0.3 * grey**2) - 1
    noise = rng.normal(0, 0.02, (2, *shape))
    return source + noise[0] * (source > -0.9), target + noise[1] * (target > -0.9)


def truth(
    found: Displacement, turn: float, shift: tuple[float, ...], scale: float = 1.0
) -> np.ndarray:
    """The displacement of every foreground voxel, mm."""
    steps = np.array(found.spacing).reshape(-1, 1, 1, 1)
    sides = np.array(found.field.shape[1:]).reshape(-1, 1, 1, 1)
    places = ((np.indices(found.field.shape[1:]) - (sides - 1) / 2) * steps)[:, found.foreground]
    sine, cosine = np.sin(np.radians(turn)), np.cos(np.radians(turn))
    there = places.copy()
    there[1] = cosine * places[1] - sine * places[2]
    there[2] = sine * places[1] + cosine * places[2]
    return scale * there + np.array(shift)[:, None] - places


@pytest.mark.parametrize(
    ("turn", "shift", "scale"),
    [
        (0.0, (0.0, 0.0, 0.0), 1.0),
        (0.0, (1.5, -2.0, 1.0), 1.0),
        (4.0, (0.0, 3.0, -1.0), 1.0),
        (-3.0, (2.0, 0.0, 4.0), 1.1),
    ],
    ids=["aligned", "shifted", "turned", "grown"],
)
def test_a_known_displacement_is_found(
    turn: float, shift: tuple[float, float, float], scale: float
) -> None:
    source, target = drawn(SHAPE, SPACING, turn, shift, scale)
    found = displacement(source[None], target[None], SPACING)
    wrong = found.field[:, found.foreground] - truth(found, turn, shift, scale)
    assert np.median(np.linalg.norm(wrong, axis=0)) < 0.35
    assert found.affine == (scale != 1)
    assert found.degrees == pytest.approx(abs(turn), abs=0.4)
    assert found.floor() > 0.3  # no more is claimed than was seen on real exams
    if scale == 1:
        assert found.left < 0.05
    else:
        assert found.left > 1
    if not turn and not any(shift):
        assert np.median(found.lengths()) < 0.35
    else:
        assert found.information.after > found.information.before


def test_a_bend_is_no_displacement_but_is_told() -> None:
    source, target = drawn(SHAPE, SPACING, 0.0, (0.0, 0.0, 0.0))
    straight = displacement(source[None], target[None], SPACING)
    places = np.indices(SHAPE, np.float64)
    places[1] += 2 * np.sin(places[2] / SHAPE[2] * 2 * np.pi * 1.5)  # rows: 4 mm
    source = ndimage.map_coordinates(source, places, order=1, mode="nearest")
    bent = displacement(source[None], target[None], SPACING)
    assert bent.bend[1] > 1.5 * straight.bend[1]
    assert 1 < bent.bend[1] < 4


def test_slices_are_taken_one_by_one() -> None:
    shift = (2.0, -3.0)
    source, target = drawn((96, 96), (1.5, 1.5), 0.0, shift)
    found = displacement(source[None, None], target[None, None], (1.0, 1.5, 1.5))
    assert found.field.shape[:2] == (3, 1)
    assert not found.field[0].any()
    assert np.median(found.lengths()) == pytest.approx(np.hypot(*shift), abs=0.3)
    assert found.floor((0,)) == found.bend[0] == 0
    assert found.information.after > 2 * found.information.chance
    aligned = displacement(target[None, None], target[None, None], (1.0, 1.5, 1.5))
    assert np.median(aligned.lengths()) < 0.2


def test_one_seed_gives_the_same_bits() -> None:
    source, target = drawn((96, 96), (1.5, 1.5), 2.0, (1.0, 1.0))
    one, other = (
        displacement(source[None, None], target[None, None], (1.0, 1.5, 1.5)) for _ in range(2)
    )
    np.testing.assert_array_equal(one.field, other.field)
    assert one.information == other.information


def test_a_map_that_was_fitted_to_noise_tells_no_more() -> None:
    source, target = drawn((64, 64), (2.0, 2.0), 0.0, (0.0, 0.0))
    off, _ = drawn((64, 64), (2.0, 2.0), 0.0, (4.0, 0.0))
    shown = target > -0.9
    more, error = told_more(off, source, target, shown)
    assert more > 2 * error > 0
    assert told_more(source, off, target, shown)[0] == pytest.approx(-more)


@pytest.mark.parametrize("by", [-1.2, 0.0, 1.2])
def test_what_is_left_is_found_in_every_block(by: float) -> None:
    source, target = drawn((64, 64), (2.0, 2.0), 0.0, (0.0, by))
    left = residual(source, target, target > -0.9, (2.0, 2.0))
    assert np.median(left[1]) == pytest.approx(by, abs=0.4)
    assert np.median(left[0]) == pytest.approx(0, abs=0.4)


def test_the_field_of_a_slice_is_that_of_the_volume() -> None:
    source, target = drawn((96, 96), (0.5, 0.5), 0.0, (1.0, 0.0))
    found = displacement(source[None, None], target[None, None], (1.0, 0.5, 0.5))
    assert found.field.shape[2:] == (48, 48)
    at = found.slice_at(0, (1, 96, 96))
    assert at.shape == (3, 96, 96)
    np.testing.assert_allclose(at[1].mean(), found.field[1].mean(), atol=0.1)


def test_nothing_in_common_is_a_clear_line() -> None:
    empty = np.full((1, 1, 64, 64), -1.0)
    with pytest.raises(InputError, match="in common on 0 points"):
        displacement(empty, empty, (1.0, 1.0, 1.0))


NEAR = Apart(
    median_px=0.49,
    p90_px=0.99,
    through_slices=0.49,
    side_px=128,
    bend_px=0.99,
    shift_mm=0.5,
    left_mm=0.2,
    shared=5.0,
)


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "p2p"),
        ({"median_px": 0.5}, "nc+r"),
        ({"p90_px": 1.0}, "nc+r"),
        ({"through_slices": 0.5}, "nc+r"),
        ({"bend_px": 1.0}, "nc+r"),
        ({"p90_px": 25.6, "median_px": 20.0}, "nc+r"),
        ({"p90_px": 25.7, "median_px": 20.0}, "c"),
        ({"shared": 2.0}, "p2p"),
        ({"shared": 1.99}, "c"),
    ],
)
def test_the_advice_at_its_borders(changes: dict[str, float], mode: str) -> None:
    advised, reasons = advise(NEAR._replace(**changes))
    assert advised == mode
    assert reasons and all(reasons)


def test_the_advice_says_what_would_help() -> None:
    far = NEAR._replace(median_px=2.0, p90_px=3.0, through_slices=0.8, shift_mm=2.87)
    words = " ".join(advise(far)[1])
    assert "--transforms" in words and "0.20 of the median 2.87 mm" in words
    assert "--dims 3" in words
    stretched = " ".join(advise(far._replace(left_mm=1.5, through_slices=0.2))[1])
    assert "--transforms" not in stretched and "--dims" not in stretched
    assert "bent by 1.4 px unseen" in " ".join(advise(NEAR._replace(bend_px=1.4))[1])
