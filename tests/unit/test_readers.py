"""What a file is, its contents say; whatever is no picture is refused by its name."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from radlearn.errors import UnreadableError
from radlearn.records.readers import Limits, is_image, read_pixels

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_names_do_not_matter(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "picture.dcm", format="PNG")
    nibabel.save(nibabel.Nifti1Image(GREY.T, np.diag([-1.0, -1, 1, 1])), tmp_path / "b.nii")
    (tmp_path / "b.nii").rename(tmp_path / "b.png")
    for name in ("picture.dcm", "b.png"):
        assert is_image(tmp_path / name)
        np.testing.assert_array_equal(read_pixels(tmp_path / name).values, GREY)


def test_a_dicom_file_whose_preamble_is_tiff_is_dicom(tmp_path: Path) -> None:
    raw = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    (tmp_path / "a").write_bytes(b"II*\0" + raw[4:])
    assert read_pixels(tmp_path / "a").header["modality"] == "CT"


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"x",
        b"patient,label\n1,0\n",
        bytes(5000),
        b"\x1f\x8b garbage",
        b"PK\x03\x04" + bytes(99),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(contents)
    assert not is_image(path)
    with pytest.raises(UnreadableError, match=r"notes\.png: not DICOM, PNG"):
        read_pixels(path)


def test_folders_pipes_and_absent_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, reason in (("pipe", "regular"), ("folder", "regular"), ("gone.png", "no such")):
        assert not is_image(tmp_path / name)
        with pytest.raises(UnreadableError, match=reason):
            read_pixels(tmp_path / name)


def test_limits_reach_every_reader(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    nibabel.save(nibabel.Nifti1Image(GREY, np.eye(4)), tmp_path / "a.nii")
    for path in (
        tmp_path / "a.png",
        tmp_path / "a.nii",
        Path(str(get_testdata_file("CT_small.dcm"))),
    ):
        with pytest.raises(UnreadableError, match="limit of 100 pixels"):
            read_pixels(path, Limits(pixels=100))


def test_damaged_files_never_raise_anything_else(tmp_path: Path) -> None:
    """Random bytes changed in a file of each kind: read, or refused with its name."""
    rng = np.random.default_rng(0)
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "a.jpg")
    nibabel.save(nibabel.Nifti1Image(GREY, np.eye(4)), tmp_path / "a.nii")
    dicoms = ("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm")
    sources = [tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "a.nii"]
    sources += [Path(str(get_testdata_file(name))) for name in dicoms]
    for source in sources:
        for _ in range(60):
            raw = np.frombuffer(source.read_bytes(), np.uint8).copy()
            reach = min(len(raw), int(rng.choice([1500, len(raw)])))
            raw[rng.integers(0, reach, 4)] = rng.integers(0, 256, 4)
            (tmp_path / "damaged").write_bytes(raw.tobytes())
            try:
                assert read_pixels(tmp_path / "damaged").values.ndim == 2
            except UnreadableError as error:
                assert str(error).startswith("damaged: ")
