"""Volumes read from every kind of file, and refused with a reason."""

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.mri_pairs import PLAIN, head, write_nifti, write_series, write_slice
from radlearn.errors import UnreadableError
from radlearn.records.grid import grid_of, onto
from radlearn.records.guard import Limits
from radlearn.records.volume import Volume, read_volume


def laid(volume: Volume) -> np.ndarray:
    return onto(volume, grid_of(volume, "axial", None, None), fill=0.0)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_keeps_values_affine_and_header(tmp_path: Path, suffix: str) -> None:
    affine = np.array([[0, -2, 0.1, 5], [1.5, 0, 0, -7], [0, 0.2, 3, 1], [0, 0, 0, 1.0]])
    values = head(shape=(9, 11, 13))
    volume = read_volume(write_nifti(tmp_path / f"x{suffix}", values, affine))
    np.testing.assert_array_equal(volume.values, values)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert volume.kind == "nifti"
    again = nibabel.Nifti1Image(volume.values, volume.affine, volume.header)
    assert again.header.get_zooms() == pytest.approx(np.linalg.norm(affine[:3, :3], axis=0))


def test_scaled_integers_and_metres_are_read_as_meant(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4) * 0.002)
    image.header.set_slope_inter(0.5, 10)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "x.nii")
    volume = read_volume(tmp_path / "x.nii")
    stored = nibabel.load(tmp_path / "x.nii").get_fdata()
    np.testing.assert_allclose(volume.values, stored, rtol=1e-6)
    assert np.linalg.norm(volume.affine[:3, 0]) == pytest.approx(2.0)


def test_a_series_is_where_its_headers_say(tmp_path: Path) -> None:
    """Columns to the patient's left, rows to the back, slices upwards: DICOM's plain axial."""
    values = np.rint(head())
    write_series(tmp_path / "s", values, RescaleSlope=2, RescaleIntercept=-10)
    (tmp_path / "s" / "notes.txt").write_text("not DICOM")
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.values, values * 2 - 10)
    corner = volume.affine @ [1, 2, 3, 1]
    np.testing.assert_allclose(corner[:3], [20 - 2, 30 - 4, 6])
    assert len(volume.header) == values.shape[2]
    assert "PixelData" not in volume.header[0]
    np.testing.assert_array_equal(laid(volume), volume.values.transpose(2, 1, 0))


def test_a_tilted_gantry_shears_and_one_slice_has_its_thickness(tmp_path: Path) -> None:
    (tmp_path / "tilted").mkdir()
    for k in range(5):
        place = [0.0, 0.5 * k, 3.0 * k]
        rows = head()[:, :, 10 + k].T
        write_slice(tmp_path / "tilted" / f"{k}", rows, k, ImagePositionPatient=place)
    volume = read_volume(tmp_path / "tilted")
    np.testing.assert_allclose(volume.affine[:3, 2], [0, -0.5, 3.0], atol=1e-9)
    one = read_volume(write_slice(tmp_path / "one", head()[:, :, 12].T, 0, SliceThickness=4.0))
    assert one.values.shape[2] == 1
    np.testing.assert_allclose(one.affine[:3, 2], [0, 0, 4.0])


def test_slices_and_arrays_are_shown_as_they_are_stored(tmp_path: Path) -> None:
    picture = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(picture).save(tmp_path / "x.png")
    volume = read_volume(tmp_path / "x.png")
    assert volume.kind == "raster"
    np.testing.assert_array_equal(laid(volume)[0], picture)
    stack = np.random.default_rng(0).normal(size=(5, 20, 30))
    np.save(tmp_path / "x.npy", stack)
    volume = read_volume(tmp_path / "x.npy")
    assert volume.kind == "array"
    np.testing.assert_array_equal(laid(volume), stack.astype(np.float32))
    for axis in ("coronal", "sagittal"):
        assert grid_of(volume, axis, None, None).shape == (5, 20, 30)
    pages = [Image.fromarray((picture // 200 + n).astype(np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    assert laid(read_volume(tmp_path / "x.tif")).shape == (3, 20, 30)


def test_what_is_not_finite_becomes_background_and_is_told(tmp_path: Path) -> None:
    values = head()
    values[0], values[12, 12, 12] = np.nan, np.inf
    volume = read_volume(write_nifti(tmp_path / "x.nii", values))
    assert (volume.values[0] == 0).all()
    assert volume.values[12, 12, 12] == 0
    assert volume.notes == ("577 values that are not finite became the background",)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    values = head(shape=(8, 8, 8))
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    nowhere = np.diag([1.0, 1.0, np.nan, 1.0])
    bomb = bytearray(write_nifti(folder / "b.nii", values).read_bytes())
    bomb[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    (folder / "bomb.nii").write_bytes(bomb)
    (folder / "bomb.nii.gz").write_bytes(gzip.compress(bytes(bomb[:352]) + bytes(2**21)))
    singular = nibabel.Nifti1Image(values, None)
    singular.header["sform_code"] = 1
    for name, affine in (("flat", flat), ("nowhere", nowhere)):
        for row, key in enumerate(("srow_x", "srow_y", "srow_z")):
            singular.header[key] = affine[row]
        (folder / f"{name}.nii").write_bytes(singular.header.binaryblock + bytes(4 + 4 * 512))
    np.save(folder / "object.npy", np.array([{}]), allow_pickle=True)
    np.save(folder / "four.npy", np.zeros((2, 2, 2, 2)))
    np.save(folder / "rgb.npy", np.zeros((8, 8, 3)))
    (folder / "huge.npy").write_bytes(npy_header((2**20, 2**20)) + bytes(64))
    (folder / "short.npy").write_bytes(npy_header((8, 8)) + bytes(64))
    Image.new("RGBA", (8, 8)).save(folder / "rgba.png")
    (folder / "empty").mkdir()
    nibabel.save(nibabel.Nifti1Pair(values, PLAIN), folder / "pair.hdr")
    complex_ = nibabel.Nifti1Image(values.astype(np.complex64), PLAIN)
    nibabel.save(complex_, folder / "complex.nii")
    return {
        "bomb.nii": (folder / "bomb.nii", "more than the limit"),
        "bomb.nii.gz": (folder / "bomb.nii.gz", "unpacks to more"),
        "flat": (folder / "flat.nii", "does not place voxels"),
        "nowhere": (folder / "nowhere.nii", "does not place voxels"),
        "object": (folder / "object.npy", "no numbers"),
        "4-D": (folder / "four.npy", "4-D"),
        "rgb": (folder / "rgb.npy", "RGB where grey"),
        "huge": (folder / "huge.npy", "more than the limit"),
        "short": (folder / "short.npy", "cut short"),
        "rgba": (folder / "rgba.png", "RGB where grey"),
        "empty": (folder / "empty", "without DICOM"),
        "pair": (folder / "pair.hdr", "separate .img"),
        "complex": (folder / "complex.nii", "complex"),
        "missing": (folder / "nothing.nii", "no such file"),
    }


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def test_what_is_no_volume_is_refused_with_its_name_and_reason(tmp_path: Path) -> None:
    for path, reason in bad_files(tmp_path).values():
        with pytest.raises(UnreadableError, match=rf"^{path.name}: .*{reason}"):
            read_volume(path, Limits(bytes=2**20))


@given(at=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 3000))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_nifti_is_read_or_refused_never_worse(
    tmp_path: Path, at: int, byte: int, cut: int
) -> None:
    path, whole = tmp_path / "x.nii", tmp_path / "whole.nii"
    if not whole.exists():
        write_nifti(whole, head(shape=(8, 8, 8)))
    raw = bytearray(whole.read_bytes())
    raw[at] = byte
    path.write_bytes(raw[: len(raw) - cut])
    try:
        volume = read_volume(path, Limits(bytes=2**20))
    except UnreadableError as error:
        assert str(error).startswith("x.nii: ")
    else:
        assert np.isfinite(volume.values).all()
        assert np.isfinite(volume.affine).all()
