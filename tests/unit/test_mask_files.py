"""Masks written as files: the grid and geometry of the source, read back by other readers."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.seg import segread
from made_dicom import made
from PIL import Image
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    XRayAngiographicImageStorage,
)

from radlearn.errors import InputError, UnreadableError
from radlearn.records.mask_files import ENDINGS, MaskKind, write_mask
from radlearn.records.masks import read_mask
from radlearn.records.readers import read_pixels
from radlearn.records.record import MaskFiles

ORGANS = ("lung", "heart")
RADIOGRAPH = {
    "SOPClassUID": ComputedRadiographyImageStorage,
    "SOPInstanceUID": "1.2.3",
    "StudyInstanceUID": "1.2.7",
    "SeriesInstanceUID": "1.2.8",
    "PatientBirthDate": "19700131",
    "PatientSex": "F",
    "StudyDate": "20200102",
    "AccessionNumber": "A-5",
}
PLACED = {
    "SOPClassUID": CTImageStorage,
    "FrameOfReferenceUID": "1.2.6",
    "ImagePositionPatient": [10, -20, 30],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [0.5, 0.7],
    "SliceThickness": 3,
}


def organs(height: int = 13, width: int = 11) -> np.ndarray:
    drawn = np.zeros((height, width), np.uint8)
    drawn[2:8, 1:6], drawn[5:11, 8:10] = 1, 2
    return drawn


def radiograph(folder: Path, **elements: object) -> Path:
    return made(folder / "chest.dcm", np.zeros((13, 11), np.uint8), **RADIOGRAPH | elements)


def written(folder: Path, mask: np.ndarray, like: Path, kind: MaskKind) -> Path:
    out = folder / f"mask{ENDINGS[kind]}"
    write_mask(mask, ORGANS if mask.max() > 1 else ORGANS[:1], like, out, kind)
    return out


@pytest.mark.parametrize("kind", ["png", "nifti", "dicom-seg"])
@pytest.mark.parametrize("drawn", [organs(), organs() % 2, organs() * 0])
def test_what_is_written_is_read_again(kind: MaskKind, drawn: np.ndarray, tmp_path: Path) -> None:
    like = radiograph(tmp_path)
    path = written(tmp_path, drawn, like, kind)
    names = ORGANS if drawn.max() > 1 else ORGANS[:1]
    np.testing.assert_array_equal(read_mask(MaskFiles((path,), names), image=like), drawn)


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"FrameOfReferenceUID": "1.2.6"},
        {"PixelSpacing": [0.2, 0.2]},
        {"PatientSex": "X", "StudyDate": "2020-01-02", "StudyTime": "late", "PatientAge": "62"},
        {"SOPClassUID": XRayAngiographicImageStorage, "NumberOfFrames": 1},
        {"SOPClassUID": "1.2.840.99999.1"},
        {"SOPClassUID": CTImageStorage},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"},
        PLACED,
    ],
)
def test_highdicom_and_pydicom_read_a_seg_of_any_source(
    elements: dict[str, object], tmp_path: Path
) -> None:
    like = radiograph(tmp_path, **elements)
    path = written(tmp_path, organs(), like, "dicom-seg")
    source, seg = pydicom.dcmread(like), segread(path)
    pixels = seg.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)
    np.testing.assert_array_equal(pixels[0], organs())
    frames = pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(frames, np.stack([organs() == 1, organs() == 2]))
    assert [seg.get_segment_description(n).segment_label for n in (1, 2)] == list(ORGANS)
    assert seg.get_source_image_uids() == [
        (source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)
    ]
    referred = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert referred.ReferencedSOPClassUID == source.SOPClassUID
    kept = ["PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"]
    for keyword in kept:
        assert str(seg[keyword].value) == str(source[keyword].value)
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID


def test_a_seg_passes_the_strict_reading_of_pydicom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = radiograph(tmp_path, PatientAge="62", StudyTime="noon", BodyPartExamined="chest wall!")
    path = written(tmp_path, organs(), like, "dicom-seg")
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    dataset = pydicom.dcmread(path)
    assert len(list(dataset.iterall())) > 60
    assert dataset.PixelData[-1:] == b"\0" or len(dataset.PixelData) % 2 == 0
    assert "FrameOfReferenceUID" not in dataset
    (source,) = (
        dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    )
    assert source.SpatialLocationsPreserved == "YES"


def test_the_same_mask_has_the_same_identifiers(tmp_path: Path) -> None:
    like = radiograph(tmp_path)
    uids = [
        pydicom.dcmread(written(tmp_path, mask, like, "dicom-seg")).SOPInstanceUID
        for mask in (organs(), organs(), organs() % 2)
    ]
    assert uids[0] == uids[1] != uids[2]


def test_a_placed_source_gives_its_place_to_seg_and_nifti(tmp_path: Path) -> None:
    like = radiograph(tmp_path, **PLACED)
    seg = segread(written(tmp_path, organs(), like, "dicom-seg"))
    assert seg.FrameOfReferenceUID == "1.2.6"
    geometry = seg.get_volume_geometry()
    assert geometry is not None
    np.testing.assert_allclose(geometry.position, [10, -20, 30])
    image = nibabel.load(written(tmp_path, organs(), like, "nifti"))
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [-10, 20, 30, 1])
    np.testing.assert_allclose(image.affine @ [10, 12, 0, 1], [-17, 14, 30, 1], rtol=1e-5)
    assert image.header.get_zooms()[:2] == pytest.approx((0.7, 0.5))


def test_a_nifti_source_keeps_its_axes_shape_and_affine(tmp_path: Path) -> None:
    like = tmp_path / "chest.nii.gz"
    stored = np.random.default_rng(0).normal(size=(11, 1, 13)).astype(np.float32)
    affine = np.array([[0.5, 0, 0, 4], [0, 2, 0, 5], [0, 0, 0.7, 6], [0, 0, 0, 1.0]])
    source = nibabel.Nifti1Image(stored, affine)
    source.header["descrip"] = b"Doe^Jane"
    nibabel.save(source, like)
    shown = read_pixels(like).values
    mask = np.zeros(shown.shape, np.uint8)
    mask[shown > np.median(shown)] = 1
    mask[:2] = 2
    path = written(tmp_path, mask, like, "nifti")
    image = nibabel.load(path)
    assert image.shape == (11, 1, 13) and image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, affine)
    values = np.asarray(image.dataobj)
    assert stored[values == 1].min() > stored[values == 0].max(), "each pixel in its own place"
    np.testing.assert_array_equal(read_mask(MaskFiles((path,), ORGANS), image=like), mask)
    assert b"Doe" not in image.header["descrip"].tobytes()
    with pytest.raises(UnreadableError, match="11 x 13 pixels is not of its size"):
        written(tmp_path, np.ascontiguousarray(mask.T), like, "nifti")


def test_png_shows_one_class_white_and_numbers_several(tmp_path: Path) -> None:
    like = radiograph(tmp_path)
    with Image.open(written(tmp_path, organs() % 2, like, "png")) as one:
        assert set(np.unique(np.asarray(one))) == {0, 255} and one.text["Comment"] == "255 lung"
    with Image.open(written(tmp_path, organs(), like, "png")) as several:
        np.testing.assert_array_equal(np.asarray(several), organs())
        assert several.text["Comment"] == "1 lung; 2 heart"


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    like = radiograph(tmp_path)
    picture = tmp_path / "chest.png"
    Image.fromarray(organs()).save(picture)
    with pytest.raises(InputError, match=r"chest\.png is not a DICOM file.*choose png or nifti"):
        written(tmp_path, organs(), picture, "dicom-seg")
    with pytest.raises(UnreadableError, match="5 x 6 pixels is not of its size"):
        written(tmp_path, organs()[:5, :6], like, "dicom-seg")
    unsure = organs() % 2
    unsure[0] = 255
    for kind in ("png", "dicom-seg"):
        with pytest.raises(InputError, match="cannot say where it is not annotated"):
            write_mask(unsure, ORGANS[:1], like, tmp_path / "mask", kind)
    with pytest.raises(UnreadableError, match="no StudyInstanceUID"):
        written(tmp_path, organs(), radiograph(tmp_path, StudyInstanceUID=None), "dicom-seg")
    assert {path.name for path in tmp_path.iterdir()} == {"chest.dcm", "chest.png"}


def test_real_headers_carry_a_seg_that_highdicom_reads(radlearn_data: Path, tmp_path: Path) -> None:
    found = sorted((radlearn_data / "dicom").glob("*_RG[0-9]_*")) + sorted(
        (radlearn_data / "formats").glob("*.dcm")
    )
    found += sorted((radlearn_data / "dicom").glob("*MR_small_RLE*"))
    if not found:
        pytest.skip(f"no radiographs in DICOM below {radlearn_data}")
    read = 0
    for like in found:
        header = pydicom.dcmread(like, stop_before_pixels=True)
        mask = np.zeros((header.Rows, header.Columns), np.uint8)
        mask[header.Rows // 3 : -3, 5:-7], mask[2:9, 3:5] = 1, 2
        path = written(tmp_path, mask, like, "dicom-seg")
        seg = segread(path)
        pixels = seg.get_pixels_by_source_instance([header.SOPInstanceUID], combine_segments=True)
        np.testing.assert_array_equal(pixels[0], mask)
        np.testing.assert_array_equal(read_mask(MaskFiles((path,), ORGANS), image=like), mask)
        assert seg.PatientID == header.PatientID
        read += 1
    assert read == len(found)
