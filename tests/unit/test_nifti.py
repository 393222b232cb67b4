"""NIfTI: one slice, as a radiological viewer shows it; volumes are refused."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from radlearn.errors import UnreadableError
from radlearn.records.guard import Limits
from radlearn.records.nifti import read_nifti

SCREEN = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5  # rows, columns
LEFT_POSTERIOR = np.diag([-1.0, -1, 1, 1])  # as DICOM's own axes: nothing is turned


def saved(path: Path, data: np.ndarray, affine: np.ndarray = LEFT_POSTERIOR) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def read(path: Path) -> np.ndarray:
    return read_nifti(path, Limits()).values


def refused(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(UnreadableError) as caught:
        read_nifti(path, limits or Limits())
    assert str(caught.value).startswith(f"{path.name}: ")
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("slices", [(), (1,), (1, 1)])
def test_a_single_slice_of_bytes_is_exact(
    tmp_path: Path, name: str, slices: tuple[int, ...]
) -> None:
    path = saved(tmp_path / name, SCREEN.T.reshape(8, 6, *slices))
    np.testing.assert_array_equal(read(path), SCREEN)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "RPS", "LAS", "PLS", "ARS"])
def test_however_an_axial_slice_is_stored_it_is_shown_alike(tmp_path: Path, axes: str) -> None:
    stored = nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    wanted = nibabel.orientations.axcodes2ornt(tuple(axes))
    turn = nibabel.orientations.ornt_transform(stored, wanted)
    image = nibabel.Nifti1Image(SCREEN.T[..., None], LEFT_POSTERIOR).as_reoriented(turn)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii"), SCREEN)


def test_a_coronal_slice_has_the_head_up_and_the_left_on_the_right(tmp_path: Path) -> None:
    data = np.zeros((4, 1, 5), np.uint8)  # right to left is axis 0, foot to head is axis 2
    data[0, 0, 4] = 255  # most left, most superior
    path = saved(tmp_path / "a.nii", data, np.diag([-1.0, 1, 1, 1]))
    shown = read(path)
    assert shown.shape == (5, 4)
    assert np.argwhere(shown == 255).tolist() == [[0, 0]]  # axis 0 runs to the left from here
    mirrored = read(saved(tmp_path / "b.nii", data, np.diag([1.0, 1, 1, 1])))
    assert np.argwhere(mirrored == 255).tolist() == [[0, 3]]


def test_floats_are_windowed_and_what_is_no_number_is_dark(tmp_path: Path) -> None:
    data = np.linspace(-2, 2, 2500, dtype=np.float32).reshape(50, 50)
    data[3, :4] = np.nan, np.inf, -np.inf, 0
    shown = read(saved(tmp_path / "a.nii", data)).T
    assert shown.dtype == np.uint16
    assert shown[3, :3].tolist() == [0, 65535, 0]
    assert (shown.min(), shown.max()) == (0, 65535)
    assert (np.diff(shown[10:].ravel().astype(int)) >= 0).all()


def test_nothing_finite_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", np.full((5, 5), np.nan, np.float32))
    assert "no finite" in refused(path)


def test_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(2500, dtype=np.int16).reshape(50, 50), LEFT_POSTERIOR)
    image.header.set_slope_inter(-1, 5)
    nibabel.save(image, tmp_path / "a.nii")
    shown = read(tmp_path / "a.nii")
    assert shown[0, 0] == 65535
    assert shown[-1, -1] == 0


def test_spacing_is_in_millimetres_rows_first(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", SCREEN.T, np.diag([-0.5, -0.25, 1, 1]))
    assert read_nifti(path, Limits()).spacing == (0.25, 0.5)


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(SCREEN.T, LEFT_POSTERIOR), tmp_path / "a.nii")
    np.testing.assert_array_equal(read(tmp_path / "a.nii"), SCREEN)


def test_volumes_and_complex_values_are_refused(tmp_path: Path) -> None:
    assert "mri-pairs" in refused(saved(tmp_path / "v.nii", np.zeros((4, 5, 6), np.uint8)))
    assert "mri-pairs" in refused(saved(tmp_path / "t.nii", np.zeros((4, 5, 1, 3), np.uint8)))
    assert "complex" in refused(saved(tmp_path / "c.nii", np.zeros((4, 5), np.complex64)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, np.random.default_rng(0).random((20, 20)).astype(np.float32))
    raw = path.read_bytes()
    for share in (0.05, 0.3, 0.9):
        path.write_bytes(raw[: int(len(raw) * share)])
        refused(path)


def test_bombs_and_false_claims_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", SCREEN.T)
    raw = path.read_bytes()
    packed = tmp_path / "bomb.nii.gz"
    packed.write_bytes(gzip.compress(raw + bytes(2**24)))
    assert "unpacks" in refused(packed, Limits(bytes=2**20))
    claims = bytearray(raw)
    claims[42:46] = (30000).to_bytes(2, "little") * 2
    path.write_bytes(claims)
    assert "limit" in refused(path)
    claims[42:46] = (300).to_bytes(2, "little") * 2
    path.write_bytes(claims)
    assert "cut short" in refused(path)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    colours = np.zeros((8, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for channel in "RGB":
        colours[channel] = SCREEN.T
    np.testing.assert_array_equal(read(saved(tmp_path / "a.nii", colours)), SCREEN)
