"""Grids: what a viewer would show, exact copies, resampling by geometry, and the way back."""

from itertools import permutations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from data.mri_pairs import PLAIN, head
from radlearn.records.grid import Grid, back, grid_of, onto
from radlearn.records.volume import Volume

SIDES = (14, 17, 20)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """A head in any order and direction of axes, oblique by up to 20 degrees, any spacing."""
    order = draw(st.permutations([0, 1, 2]))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    zooms = draw(st.tuples(*[st.floats(0.4, 5)] * 3))
    tilt = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-20, 20)] * 3)), degrees=True)
    affine = np.eye(4)
    affine[:3, :3] = tilt.as_matrix() @ np.eye(3)[:, order] @ np.diag(np.multiply(signs, zooms))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return Volume(head(draw(st.integers(0, 99)), SIDES), affine)


@given(volumes(), st.sampled_from(["axial", "coronal", "sagittal"]), st.integers(20, 33))
@settings(max_examples=60, deadline=None)
def test_without_a_spacing_the_way_there_and_back_is_exact(
    volume: Volume, axis: str, size: int
) -> None:
    grid = grid_of(volume, axis, size, None)
    laid = onto(volume, grid, fill=-7.0)
    assert laid.shape == grid.shape
    assert grid.shape[1:] == (size, size)
    kept = back(laid, grid, volume, fill=-7.0)
    assert kept.shape == volume.values.shape
    inside = kept != -7.0
    np.testing.assert_array_equal(kept[inside], volume.values[inside])
    assert inside[volume.values > 0].mean() == 1.0, "some of the head was cut off"
    if size >= 2 * max(SIDES):
        assert inside.all()


@given(volumes(), st.sampled_from(["axial", "coronal", "sagittal"]))
@settings(max_examples=30, deadline=None)
def test_a_voxel_is_where_the_affine_says(volume: Volume, axis: str) -> None:
    """Copying and resampling agree on where things are, and so do the grid's own millimetres."""
    grid = grid_of(volume, axis, 40, None)
    copied = onto(volume, grid, fill=0.0)
    resampled = onto(volume, grid, SimpleITK.AffineTransform(3), fill=0.0)
    np.testing.assert_allclose(copied, resampled, atol=0.5)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_slices_are_shown_as_a_viewer_shows_them(order: tuple[int, int, int]) -> None:
    """Single bright voxels at the patient's left, back and top, whatever the axes' order."""
    marks = {"left": (-30, 0, 0), "back": (0, -30, 0), "top": (0, 0, 30)}
    affine = np.eye(4)
    affine[:3, :3] = 2 * np.eye(3)[:, order] * [1, -1, 1]
    values = np.zeros((41, 41, 41), np.float32)
    values[18:23, 18:23, 18:23] = 1
    affine[:3, 3] = -affine[:3, :3] @ [20, 20, 20]
    for number, place in enumerate(marks.values()):
        i, j, k = np.rint(np.linalg.solve(affine[:3, :3], np.array(place) - affine[:3, 3]))
        values[int(i), int(j), int(k)] = 2 + number
    expected = {  # slice, row, column of left, back and top, from the middle
        "axial": [(0, 0, 15), (0, 15, 0), (15, 0, 0)],
        "coronal": [(0, 0, 15), (15, 0, 0), (0, -15, 0)],
        "sagittal": [(15, 0, 0), (0, 0, 15), (0, -15, 0)],
    }
    for axis, places in expected.items():
        laid = onto(
            Volume(values, affine), grid_of(Volume(values, affine), axis, None, None), fill=0
        )
        for number, place in enumerate(places):
            found = np.argwhere(laid == 2 + number)[0] - 20
            assert tuple(found) == place, (axis, list(marks)[number])


@given(volumes(), st.floats(0.8, 3))
@settings(max_examples=20, deadline=None)
def test_a_spacing_keeps_the_field_of_view(volume: Volume, spacing: float) -> None:
    grid = grid_of(volume, "axial", None, spacing)
    own = grid_of(volume, "axial", None, None)
    assert grid.spacing == pytest.approx((own.spacing[0], spacing, spacing))
    np.testing.assert_allclose(grid.affine @ middle(grid), own.affine @ middle(own), atol=1e-6)
    for side, mm, before, own_mm in zip(
        grid.shape, grid.spacing, own.shape, own.spacing, strict=True
    ):
        assert -1e-3 <= side * mm - before * own_mm <= mm


def middle(grid: Grid) -> np.ndarray:
    return np.array([*((np.array(grid.shape) - 1) / 2), 1.0])


def test_a_finer_spacing_and_back_loses_little() -> None:
    volume = Volume(head(shape=(30, 30, 30)), PLAIN)
    grid = grid_of(volume, "axial", 70, (1.0, 1.0, 1.0))
    kept = back(onto(volume, grid, fill=0.0), grid, volume, fill=0.0)
    inside = volume.values > 250
    error = np.abs(kept - volume.values)[inside]
    assert error.mean() < 0.03 * volume.values.max()


def test_another_space_is_met_by_millimetres() -> None:
    """The same head scanned on two grids: after resampling one onto the other it is there."""
    fine = Volume(head(shape=(30, 30, 30)), PLAIN)
    turned = np.array(PLAIN)
    turned[:3, :3] = Rotation.from_euler("z", 12, degrees=True).as_matrix() * [1.5, -1.5, 2.5]
    turned[:3, 3] = [5, 40, -3]
    grid = Grid((36, 36, 24), turned)
    other = Volume(onto(fine, grid, fill=0.0), turned)
    again = onto(other, Grid(fine.values.shape, PLAIN), fill=0.0)
    both = (again > 250) & (fine.values > 250)
    assert both.sum() > 0.6 * (again > 250).sum()
    assert np.abs(again - fine.values)[both].mean() < 30


def test_what_does_not_overlap_is_all_fill() -> None:
    volume = Volume(head(), PLAIN)
    far = PLAIN.copy()
    far[:3, 3] = 1000
    assert (onto(volume, Grid((5, 6, 7), far), fill=-3.0) == -3).all()


def test_a_transform_maps_the_grids_points_to_the_volumes() -> None:
    """LPS: a shift of +6 mm along x fetches values from 3 voxels further to the patient's left."""
    volume = Volume(head(), PLAIN)
    grid = Grid(volume.values.shape, PLAIN)
    shift = SimpleITK.TranslationTransform(3, (6.0, 0.0, 0.0))
    moved = onto(volume, grid, shift, fill=0.0)
    np.testing.assert_allclose(moved[3:], volume.values[:-3], atol=1e-2)


def test_a_grid_is_kept_as_json() -> None:
    grid = grid_of(Volume(head(), PLAIN), "coronal", 30, 1.3)
    again = Grid.from_json(grid.to_json())
    assert again.shape == grid.shape
    np.testing.assert_array_equal(again.affine, grid.affine)
