"""DICOM SEG as masks: segments by label, frames by the image they refer to, hostile files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, SegmentDescription
from made_dicom import made
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, generate_uid

from radlearn.errors import UnreadableError
from radlearn.records.dicom_seg import read_segments, seg_facts
from radlearn.records.guard import Limits
from radlearn.records.mask_files import write_mask
from radlearn.records.masks import read_mask
from radlearn.records.readers import read_pixels
from radlearn.records.record import MaskFiles

ORGANS = ("lung", "heart")
STUDY = {"StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.8", "SOPInstanceUID": "1.2.3"}


def organs() -> np.ndarray:
    drawn = np.zeros((13, 11), np.uint8)  # no whole number of bytes
    drawn[2:8, 1:6], drawn[5:11, 8:10] = 1, 2
    return drawn


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return made(tmp_path / "image.dcm", np.zeros((13, 11), np.uint8), **STUDY)


@pytest.fixture
def seg(tmp_path: Path, image: Path) -> Path:
    write_mask(organs(), ORGANS, image, tmp_path / "seg.dcm", "dicom-seg")
    return tmp_path / "seg.dcm"


def edited(path: Path, change: Callable[[Dataset], Any]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def slices(folder: Path, count: int) -> list[Path]:
    """A stack of axial slices, 2 mm apart."""
    return [
        made(
            folder / f"slice-{number}.dcm",
            np.zeros((13, 11), np.uint8),
            **STUDY | {"SOPInstanceUID": f"1.2.9.{number + 1}", "SOPClassUID": CTImageStorage},
            FrameOfReferenceUID="1.2.6",
            ImagePositionPatient=[0, 0, 2 * number],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
            SliceThickness=2,
            **dict.fromkeys(
                ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "PatientBirthDate"), ""
            ),
            PatientSex="F",
        )
        for number in range(count)
    ]


def segmented(
    path: Path, sources: list[Path], pixels: np.ndarray, kind: str = "BINARY", **more: Any
) -> Path:
    """A SEG as highdicom writes it."""
    count = 2 if pixels.max() > 1 else 1
    Segmentation(
        source_images=[pydicom.dcmread(source) for source in sources],
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[
            SegmentDescription(number, name, codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
            for number, name in enumerate(ORGANS[:count], 1)
        ],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
        **more,
    ).save_as(path)
    return path


def test_segments_become_classes_by_their_labels(seg: Path, image: Path) -> None:
    facts = seg_facts(seg)
    assert facts is not None and facts.labels == ORGANS and facts.instances == {"1.2.3"}
    mask = read_mask(MaskFiles((seg,), ORGANS), image=image)
    np.testing.assert_array_equal(mask, organs())
    swapped = read_mask(MaskFiles((seg,), ("Heart", "LUNG")), image=image)
    np.testing.assert_array_equal(swapped, np.array([0, 2, 1])[organs()])
    np.testing.assert_array_equal(read_mask(MaskFiles((seg,)), image=image), organs() > 0)
    assert seg_facts(image) is None
    with pytest.raises(UnreadableError, match="no segment is labelled liver; there are lung, hea"):
        read_mask(MaskFiles((seg,), ("liver",)), image=image)


def test_a_segment_in_two_files_of_a_mask_is_refused(seg: Path, image: Path) -> None:
    with pytest.raises(UnreadableError, match="the segment heart is in two files"):
        read_mask(MaskFiles((seg, seg), ORGANS), image=image)


def test_frames_are_those_of_the_image(tmp_path: Path) -> None:
    sources = slices(tmp_path, 4)
    stack = np.stack([organs() * 0, organs(), (organs() == 1).astype(np.uint8), organs()[::-1]])
    path = segmented(tmp_path / "seg.dcm", sources, stack)
    for source, drawn in zip(sources, stack, strict=True):
        mask = read_mask(MaskFiles((path,), ORGANS), image=source)
        np.testing.assert_array_equal(mask, drawn)
    with pytest.raises(UnreadableError, match="several frames of one segment"):
        read_mask(MaskFiles((path,), ORGANS), image=None)
    other = made(tmp_path / "other.dcm", organs(), **STUDY | {"SOPInstanceUID": "1.2.99"})
    with pytest.raises(UnreadableError, match="drawn on another image"):
        read_mask(MaskFiles((path,), ORGANS), image=other)


def test_frames_without_references_are_found_by_their_place(tmp_path: Path) -> None:
    sources = slices(tmp_path, 3)
    stack = np.stack([organs(), organs()[::-1], organs()[:, ::-1]])

    def forget(dataset: Dataset) -> None:
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            frame.DerivationImageSequence = []

    path = edited(segmented(tmp_path / "seg.dcm", sources, stack), forget)
    mask = read_mask(MaskFiles((path,), ORGANS), image=sources[1])
    np.testing.assert_array_equal(mask, stack[1])


@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_label_maps_and_fractions(kind: str, tmp_path: Path) -> None:
    sources = slices(tmp_path, 1)
    if kind == "LABELMAP":
        path = segmented(tmp_path / "seg.dcm", sources, organs()[None], kind)
        mask = read_mask(MaskFiles((path,), ORGANS), image=sources[0])
        np.testing.assert_array_equal(mask, organs())
        return
    shares = np.linspace(0, 1, 13 * 11, dtype=np.float32).reshape(1, 13, 11)
    path = segmented(tmp_path / "seg.dcm", sources, shares, kind)
    mask = read_mask(MaskFiles((path,), ORGANS[:1]), image=sources[0])
    np.testing.assert_array_equal(mask, shares[0] >= 0.5)


def test_a_picture_of_another_kind_takes_a_seg_of_one_frame_a_segment(
    seg: Path, tmp_path: Path
) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    mask = read_mask(MaskFiles((seg,), ORGANS), image=tmp_path / "image.png")
    np.testing.assert_array_equal(mask, organs())


def _frames(dataset: Dataset) -> list[Dataset]:
    return list(dataset.PerFrameFunctionalGroupsSequence)


def _moved(dataset: Dataset) -> None:
    _frames(dataset)[0].DerivationImageSequence[0].SourceImageSequence[
        0
    ].SpatialLocationsPreserved = "NO"


def _unknown(dataset: Dataset) -> None:
    _frames(dataset)[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: setattr(d, "NumberOfFrames", 10**9), "frames of 13 x 11 pixels, more than the"),
        (lambda d: setattr(d, "NumberOfFrames", 7), "claims 7 frames and describes 2"),
        (lambda d: setattr(d, "NumberOfFrames", -1), "claims -1 frames"),
        (lambda d: (setattr(d, "Rows", 65535), setattr(d, "Columns", 65535)), "more than the limi"),
        (lambda d: setattr(d, "Rows", 0), "0 x 11 pixels"),
        (lambda d: setattr(d, "Rows", 800), "cut short"),
        (lambda d: setattr(d, "PixelData", b"\0\0"), "cut short"),
        (lambda d: setattr(d, "BitsAllocated", 64), "claims 64 bits"),
        (lambda d: setattr(d, "SegmentSequence", []), "without segments"),
        (lambda d: delattr(d.SegmentSequence[0], "SegmentNumber"), "description of segments"),
        (lambda d: delattr(d, "PerFrameFunctionalGroupsSequence"), "describes 0"),
        (_moved, "does not lie on its source image"),
        (_unknown, "a frame of segment 9, which it does not describe"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    change: Callable[[Dataset], Any], reason: str, seg: Path, image: Path
) -> None:
    with pytest.raises(UnreadableError, match=reason) as error:
        read_mask(MaskFiles((edited(seg, change),), ORGANS), image=image)
    assert str(error.value).startswith("seg.dcm: ") and "\n" not in str(error.value)
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "another orientation"),
        ("ImagePositionPatient", [0, 40, 2], "another place"),
        ("PixelSpacing", [3, 3], "another place"),
    ],
)
def test_another_geometry_than_the_images_is_refused(
    keyword: str, value: list[float], reason: str, tmp_path: Path
) -> None:
    sources = slices(tmp_path, 2)
    path = segmented(tmp_path / "seg.dcm", sources, np.stack([organs(), organs()]))
    edited(sources[1], lambda d: setattr(d, keyword, value))
    with pytest.raises(UnreadableError, match=reason):
        read_mask(MaskFiles((path,), ORGANS), image=sources[1])


def test_a_long_or_unprintable_label_is_not_repeated(seg: Path) -> None:
    edited(seg, lambda d: setattr(d.SegmentSequence[0], "SegmentLabel", "a\tb"))
    edited(seg, lambda d: setattr(d.SegmentSequence[1], "SegmentLabel", ""))
    assert set(read_segments(seg)) == {"segment 1", "segment 2"}


def test_a_seg_is_no_picture(seg: Path, tmp_path: Path) -> None:
    one = segmented(tmp_path / "one.dcm", slices(tmp_path, 1), organs()[None] // 2)
    for path in (seg, one):
        with pytest.raises(UnreadableError, match="a DICOM SEG, which is a mask"):
            read_pixels(path)


def test_damage_gives_a_mask_or_a_reason(seg: Path, image: Path) -> None:
    whole = bytearray(seg.read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        spoilt = bytearray(whole)
        for place in rng.integers(132, len(whole), 4):
            spoilt[place] = int(rng.integers(256))
        seg.write_bytes(spoilt)
        try:
            mask = read_mask(MaskFiles((seg,)), Limits(bytes=2**20), image)
            assert mask.dtype == np.uint8
        except UnreadableError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 0
    seg.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableError):
        read_mask(MaskFiles((seg,)), image=image)


def test_published_segs_are_read_or_refused_with_a_reason(
    radlearn_data: Path, tmp_path: Path
) -> None:
    found = sorted((radlearn_data / "dicom").glob("*liver*"))
    if not found:
        pytest.skip(f"no published DICOM SEG in {radlearn_data / 'dicom'}")
    drawn = []
    for path in found:
        facts = seg_facts(path)
        assert facts is not None and facts.labels == ("Liver",) and len(facts.instances) == 3
        dataset = pydicom.dcmread(path)
        shape = (int(dataset.Rows), int(dataset.Columns))
        for number, frame in enumerate(_frames(dataset)):
            derived = frame.DerivationImageSequence[0].SourceImageSequence[0]
            own = STUDY | {"SOPInstanceUID": derived.ReferencedSOPInstanceUID}
            image = made(tmp_path / "image.dcm", np.zeros(shape, np.uint8), **own)
            try:
                mask = read_mask(MaskFiles((path,), ("liver",)), image=image)
            except UnreadableError as error:
                assert "not supported" in str(error) or "cannot be decoded" in str(error)
                continue
            np.testing.assert_array_equal(mask, dataset.pixel_array[number])
            drawn.append(mask.any())
    assert any(drawn)
