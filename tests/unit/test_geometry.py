"""Pictures on their square: masks and boxes stay on what they mark."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radlearn.errors import UnreadableError
from radlearn.records.geometry import (
    box_on_square,
    fitted,
    fitted_mask,
    placement,
    unfitted,
    unplaced,
)
from radlearn.records.names import Fit
from radlearn.records.phantoms import phantom
from radlearn.records.record import NOT_ANNOTATED, Box

FITS = get_args(Fit)


def marked(height: int, width: int) -> np.ndarray:
    picture = np.zeros((height, width), np.uint8)
    picture[height // 4 : height // 2, width // 3 : 2 * width // 3] = 255
    return picture


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(90, 60), (60, 90), (64, 64), (20, 31), (7, 300)])
def test_mask_and_box_lie_where_the_image_shows_them(fit: Fit, height: int, width: int) -> None:
    picture = marked(height, width)
    square = fitted(picture, 48, fit, 8)
    mask = fitted_mask((picture > 0).astype(np.uint8), height, width, 48, fit)
    assert square.shape == mask.shape == (48, 48)
    assert ((square >= 128) != mask).mean() < 0.02, "up to half a pixel of an edge"
    rows, columns = height // 2 - height // 4, 2 * width // 3 - width // 3
    box = Box("x", (width // 3) / width, (height // 4) / height, columns / width, rows / height)
    placed = box_on_square(box, height, width, 48, fit)
    covered = np.zeros((48, 48), bool)
    top, left = round(placed.y * 48), round(placed.x * 48)
    covered[
        top : round((placed.y + placed.height) * 48), left : round((placed.x + placed.width) * 48)
    ] = True
    assert (covered != mask.astype(bool)).mean() < 0.04


def test_padding_is_black_and_keeps_the_shape() -> None:
    square = fitted(np.full((100, 50), 200, np.uint8), 40, "pad", 8)
    assert (square[:, 10:30] == 200).all() and not square[:, :10].any() and not square[:, 30:].any()


def test_cropping_keeps_the_middle() -> None:
    picture = np.repeat(np.arange(100, dtype=np.uint8)[:, None], 50, axis=1)
    square = fitted(picture, 50, "crop", 8)
    assert np.array_equal(square[:, 0], np.arange(25, 75))


@pytest.mark.parametrize("fit", FITS)
def test_sixteen_bits_survive_and_eight_bits_span_the_range(fit: Fit) -> None:
    deep = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    assert np.abs(fitted(deep, 64, fit, 16).astype(int) - deep).max() <= 1
    assert np.abs(fitted(deep, 64, fit, 8).astype(int) - deep / 257).max() <= 0.51
    shallow = (deep >> 8).astype(np.uint8)
    widened = fitted(shallow, 64, fit, 16)
    assert widened.dtype == np.uint16 and np.abs(widened.astype(int) - shallow * 257.0).max() <= 1


def test_shrinking_averages_rather_than_skips() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (256, 128))
    small = fitted(stripes, 32, "stretch", 8)
    assert np.abs(small.astype(int) - 128).max() <= 6


def test_a_mask_of_another_shape_is_refused_and_one_of_another_resolution_is_not() -> None:
    with pytest.raises(UnreadableError, match=r"mask is 60 x 90 pixels.*image of 64 x 64"):
        fitted_mask(np.ones((90, 60), np.uint8), 64, 64, 48, "pad")
    half = fitted_mask((marked(46, 30) > 0).astype(np.uint8), 90, 60, 48, "pad")
    full = fitted_mask((marked(90, 60) > 0).astype(np.uint8), 90, 60, 48, "pad")
    assert (half != full).mean() < 0.03


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(FITS))
def test_every_shape_fits_and_comes_back_in_its_shape(height: int, width: int, fit: Fit) -> None:
    place = placement(height, width, 32, fit)
    assert place.height >= 1 and place.width >= 1
    square = fitted(np.full((height, width), 255, np.uint8), 32, fit, 8)
    seen = unplaced(square, height, width, fit)
    assert seen.size and (seen == 255).all()
    if fit != "crop" and min(height, width) >= 40:
        assert abs(seen.shape[1] / seen.shape[0] / (width / height) - 1) < 0.25


def classes(height: int, width: int) -> np.ndarray:
    drawn = np.zeros((height, width), np.uint8)
    drawn[: height // 2, : width // 3] = 1
    drawn[height // 2 :, width // 3 : width // 2] = 2
    drawn[:, -(width // 5) :] = NOT_ANNOTATED
    return drawn


@given(st.integers(8, 60), st.integers(8, 60), st.sampled_from(FITS))
def test_no_pixel_changes_where_nothing_was_resized(height: int, width: int, fit: Fit) -> None:
    side = max(height, width) if fit == "pad" else min(height, width)
    if fit == "stretch":
        height = width = side
    drawn = classes(height, width)
    back = unfitted(fitted_mask(drawn, height, width, side, fit), height, width, fit)
    top, left = -((side - height) // 2), -((side - width) // 2)
    if fit == "crop":
        np.testing.assert_array_equal(
            back[top : top + side, left : left + side], drawn[top : top + side, left : left + side]
        )
        assert not back[:top].any() and not back[:, :left].any(), "what was cut off is background"
    else:
        np.testing.assert_array_equal(back, drawn)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 64), st.sampled_from(FITS))
def test_a_full_mask_stays_full_and_an_empty_one_empty(
    height: int, width: int, size: int, fit: Fit
) -> None:
    for value in (0, 1, 7, NOT_ANNOTATED):
        square = np.full((size, size), value, np.uint8)
        back = unfitted(square, height, width, fit)
        assert back.shape == (height, width)
        place = placement(height, width, size, fit)
        shows = place.height <= size and place.width <= size
        assert set(np.unique(back)) <= ({value} if shows else {value, 0})
        assert (back == value).any()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(301, 257), (256, 256), (190, 310)])
@pytest.mark.parametrize("size", [160, 224])
def test_the_lungs_come_back_from_their_square(
    fit: Fit, height: int, width: int, size: int
) -> None:
    lungs = np.asarray(
        Image.fromarray(phantom(3, 0, 1, 256).lung_mask).resize((width, height)), np.uint8
    )
    lungs[: height // 2] *= 2  # two classes
    square = fitted_mask(lungs, height, width, size, fit)
    back = unfitted(square, height, width, fit)
    seen = unfitted(np.ones((size, size), np.uint8), height, width, fit) > 0
    for value in (1, 2):
        one, other = (lungs == value) & seen, back == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.98


def test_a_class_needs_no_half_where_three_meet() -> None:
    drawn = np.zeros((4, 4), np.uint8)
    drawn[:2, :2], drawn[:2, 2:], drawn[2:, :1] = 1, 2, 1
    assert fitted_mask(drawn, 4, 4, 1, "pad").tolist() == [[1]], "6 of 16, as background; 2 has 4"
