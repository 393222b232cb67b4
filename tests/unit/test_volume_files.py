"""What is written lies where its source lies, and every reader agrees."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image

from radlearn.errors import InputError, UnreadableError
from radlearn.records.volume import Volume, read_volume
from radlearn.records.volume_files import Told, write_field, write_volume
from unit.made_mr import NAME, write_mr

TOLD = Told("T2 made from T1", "T2 computed from T1; not acquired", 0.0, 900.0)
RNG = np.random.default_rng(0)
CHANGED = {"datatype", "bitpix", "scl_slope", "scl_inter", "cal_min", "cal_max", "vox_offset"}
KEPT = (
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "PatientName",
    "PatientID",
    "BurnedInAnnotation",
    "LossyImageCompression",
)


def oblique(order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.diag([0.9, 1.1, 2.5])[:, order] * signs
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    affine[:3, 3] = 11, -7, 3
    return turn @ affine


def nifti(path: Path, affine: np.ndarray, shape: tuple[int, ...] = (5, 6, 7), **said: Any) -> Path:
    values = RNG.integers(0, 900, shape).astype(np.int16)
    kind = said.pop("kind", nibabel.Nifti1Image)
    image = kind(values, affine)
    image.header["descrip"] = b"TE=12;Time=101500"
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, said.pop("qform", 1))
    image.set_sform(affine, said.pop("sform", 1))
    for name, value in said.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("order", "signs"), list(zip(permutations(range(3)), product((1, -1), repeat=3), strict=False))
)
def test_nifti_keeps_every_field_but_those_of_its_values(
    tmp_path: Path, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    path = nifti(tmp_path / "a.nii", oblique(order, signs), sform=0, qform=2)
    volume = read_volume(path)
    made = write_volume(tmp_path / "b", volume.values + 0.25, volume, TOLD)
    assert made == tmp_path / "b.nii.gz"
    before, after = nibabel.load(path), nibabel.load(made)
    assert np.array_equal(before.affine, after.affine)
    different = {
        name
        for name in before.header
        if before.header[name].tobytes() != after.header[name].tobytes()
    }
    assert different <= CHANGED
    assert np.array_equal(after.get_fdata(), before.get_fdata() + 0.25)
    assert after.header["cal_max"] == 900


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 1)])
def test_nifti_keeps_axes_of_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = read_volume(nifti(tmp_path / "a.nii.gz", np.eye(4), shape))
    made = nibabel.load(write_volume(tmp_path / "b", volume.values, volume, TOLD))
    assert made.shape == shape
    assert np.array_equal(np.ravel(made.get_fdata()), np.ravel(volume.values))


def test_nifti_2_stays_nifti_2(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", oblique((0, 1, 2), (1, 1, 1)), kind=nibabel.Nifti2Image)
    volume = read_volume(path)
    made = nibabel.load(write_volume(tmp_path / "b", volume.values, volume, TOLD))
    assert isinstance(made, nibabel.Nifti2Image)
    assert np.array_equal(made.affine, nibabel.load(path).affine)


def test_metres_lie_where_they_lay(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.diag([0.001, 0.002, 0.003, 1.0]), xyzt_units=1)
    volume = read_volume(path)
    again = read_volume(write_volume(tmp_path / "b", volume.values, volume, TOLD))
    assert np.allclose(again.affine, np.diag([1.0, 2.0, 3.0, 1.0]), atol=1e-4)


def series(tmp_path: Path, **elements: Any) -> Path:
    slices = RNG.integers(0, 900, (4, 6, 9)).astype(np.uint16)
    return write_mr(tmp_path / "t1", slices, **elements)


def test_a_dicom_series_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path))
    answer = (volume.values * 2.5).astype(np.float32)
    made = write_volume(tmp_path / "t2", answer, volume, TOLD)
    again = read_volume(made)
    assert np.array_equal(again.affine, volume.affine)
    assert np.abs(again.values - answer).max() < 0.02
    assert sorted(path.name for path in made.iterdir()) == [f"000{n}.dcm" for n in range(1, 5)]


def test_large_whole_numbers_are_stored_without_a_slope(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path))
    told = TOLD._replace(low=-1000.0, high=2000.0)
    made = write_volume(tmp_path / "t2", volume.values - 1000, volume, told)
    header = pydicom.dcmread(made / "0001.dcm")
    assert (header.RescaleSlope, header.RescaleIntercept) == (1, -1000)
    assert np.array_equal(read_volume(made).values, volume.values - 1000)


def test_a_dicom_series_says_what_it_is(tmp_path: Path) -> None:
    source = series(tmp_path, LossyImageCompression="01")
    volume = read_volume(source)
    made = write_volume(tmp_path / "t2", volume.values, volume, TOLD)
    files = [pydicom.dcmread(path) for path in sorted(made.iterdir())]
    sources = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, source.iterdir())}
    assert len({one.SOPInstanceUID for one in files}) == len(files)
    assert len({one.SeriesInstanceUID for one in files}) == 1
    for one in files:
        own = sources[one.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert one.SeriesInstanceUID != own.SeriesInstanceUID
        for keyword in KEPT:
            assert one[keyword].value == own[keyword].value, keyword
        assert list(one.ImageType) == ["DERIVED", "SECONDARY", "M", "ND"]
        assert one.SeriesDescription == TOLD.description
        assert "not acquired" in one.DerivationDescription
        assert one.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert "SmallestImagePixelValue" not in one
        assert not [element for element in one if element.tag.is_private]
    assert NAME not in " ".join(path.name for path in made.iterdir())


def test_the_same_answer_has_the_same_identifiers_and_another_has_others(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path))

    def instance(name: str, values: np.ndarray) -> str:
        made = write_volume(tmp_path / name, values, volume, TOLD)
        return str(pydicom.dcmread(made / "0001.dcm").SOPInstanceUID)

    first = instance("a", volume.values)
    assert instance("a", volume.values) == first
    assert instance("a", volume.values + 1) != first


def test_a_folder_of_other_files_is_not_replaced(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path))
    (tmp_path / "t2").mkdir()
    (tmp_path / "t2" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        write_volume(tmp_path / "t2", volume.values, volume, TOLD)
    assert (tmp_path / "t2" / "thesis.txt").read_text() == "mine"


def test_a_header_that_cannot_be_written_again_leaves_nothing(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path))
    del volume.header[2].PixelSpacing
    with pytest.raises(UnreadableError, match="do not say where"):
        write_volume(tmp_path / "t2", volume.values, volume, TOLD)
    assert [path.name for path in tmp_path.iterdir()] == ["t1"]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_keeps_its_bits(tmp_path: Path, kind: type) -> None:
    values = RNG.integers(0, np.iinfo(kind).max, (6, 9)).astype(kind)
    Image.fromarray(values).save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    moved = np.where(volume.values > 100, volume.values + 0.4, -5).astype(np.float32)
    with Image.open(write_volume(tmp_path / "b", moved, volume, TOLD)) as made:
        assert made.format == "PNG"
        assert np.array_equal(np.asarray(made), np.where(values > 100, values, 0))


def test_tiff_of_floats_keeps_its_pages_and_fractions(tmp_path: Path) -> None:
    pages = [Image.fromarray(RNG.random((6, 9)).astype(np.float32)) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    volume = read_volume(tmp_path / "a.tif")
    made = write_volume(tmp_path / "b", volume.values, volume, TOLD)
    assert np.array_equal(read_volume(made).values, volume.values)


@pytest.mark.parametrize("shape", [(6, 9), (4, 6, 9)])
def test_arrays_keep_their_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = RNG.random(shape)
    np.save(tmp_path / "a.npy", values)
    volume = read_volume(tmp_path / "a.npy")
    made = np.load(write_volume(tmp_path / "b", volume.values, volume, TOLD))
    assert made.dtype == np.float32
    assert np.array_equal(made, values.astype(np.float32))


@pytest.mark.parametrize(("order", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))])
def test_itk_reads_a_field_as_the_displacement_it_is(
    tmp_path: Path, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    path = nifti(tmp_path / "a.nii.gz", oblique(order, signs))
    volume = read_volume(path)
    step = np.array([1, 0, 2])  # voxels: what is written at x comes from x + step
    millimetres = volume.affine[:3, :3] @ step
    field = np.broadcast_to(millimetres.reshape(3, 1, 1, 1), (3, *volume.values.shape))
    write_field(tmp_path / "field.nii.gz", field.astype(np.float32), volume)
    image = SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat32)
    read = SimpleITK.ReadImage(str(tmp_path / "field.nii.gz"), SimpleITK.sitkVectorFloat64)
    transform = SimpleITK.DisplacementFieldTransform(read)
    moved = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, image, transform)).transpose(
        2, 1, 0
    )
    assert np.allclose(moved[:-1, :, :-2], volume.values[1:, :, 2:], atol=0.1)


def test_a_volume_of_another_kind_gets_a_header_with_its_affine(tmp_path: Path) -> None:
    volume = read_volume(series(tmp_path))
    write_field(tmp_path / "f.nii.gz", np.zeros((3, *volume.values.shape), np.float32), volume)
    made = nibabel.load(tmp_path / "f.nii.gz")
    assert np.allclose(made.affine, volume.affine, atol=1e-4)
    assert made.shape == (*volume.values.shape, 1, 3)
    assert isinstance(volume, Volume)
