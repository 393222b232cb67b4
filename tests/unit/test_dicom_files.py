"""DICOM files that are no single picture are refused with a reason; headers tell their facts."""

import csv
import logging
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_dicom import RAMP, made, refused
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    RTPlanStorage,
)

from radlearn.errors import UnreadableError
from radlearn.records.dicom import read_dicom, read_header
from radlearn.records.guard import Limits
from radlearn.records.record import View


def test_several_frames_are_refused_with_their_number(tmp_path: Path) -> None:
    path = made(tmp_path / "a.dcm", RAMP, Rows=8, NumberOfFrames=2)
    assert "2 frames" in refused(path)
    assert read_header(path).frames == 2


def test_files_without_a_picture_say_what_they_are(tmp_path: Path) -> None:
    none = {"PixelData": None, "Rows": None, "Columns": None}
    plan = made(tmp_path / "plan.dcm", RAMP, SOPClassUID=RTPlanStorage, **none)
    assert "RT Plan" in refused(plan)
    listing = made(tmp_path / "DICOMDIR", RAMP, DirectoryRecordSequence=Sequence([]), **none)
    assert "DICOMDIR" in refused(listing)
    assert "no pixel data" in refused(made(tmp_path / "cut.dcm", RAMP, PixelData=None))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    raw = made(tmp_path / "a.dcm", RAMP).read_bytes()
    for length in range(0, len(raw), 29):
        path = tmp_path / "cut.dcm"
        path.write_bytes(raw[:length])
        refused(path)
    path.write_bytes(raw[:-100])
    assert "cut short" in refused(path)


@pytest.mark.parametrize(
    "claims",
    [
        {"Rows": 32},
        {"Columns": 15},
        {"BitsAllocated": 8},
        {"BitsAllocated": 17},
        {"Rows": 0},
        {"SamplesPerPixel": 4},
        {"PhotometricInterpretation": "HSV"},
    ],
)
def test_headers_that_do_not_fit_the_data_are_refused(
    tmp_path: Path, claims: dict[str, Any]
) -> None:
    refused(made(tmp_path / "a.dcm", RAMP, **claims))


def test_claims_beyond_the_limits_are_refused_before_decoding(tmp_path: Path) -> None:
    assert "limit" in refused(made(tmp_path / "a.dcm", RAMP, Rows=65535, Columns=65535))
    path = made(tmp_path / "b.dcm", RAMP)
    assert "limit" in refused(path, Limits(pixels=255))
    assert "limit" in refused(path, Limits(bytes=200))


def test_a_deflate_bomb_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "a.dcm", RAMP, syntax=DeflatedExplicitVRLittleEndian)
    raw = path.read_bytes()
    start = 144 + struct.unpack("<I", raw[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = zlib.decompress(raw[start:], -zlib.MAX_WBITS)
    path.write_bytes(raw[:start] + packer.compress(body + bytes(2**24)) + packer.flush())
    assert path.stat().st_size < 2**17
    limits = Limits(bytes=2**20)
    tracemalloc.start()
    assert "unpacks" in refused(path, limits)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    with pytest.raises(UnreadableError, match="unpacks"):
        read_header(path, limits)


def test_a_compressed_frame_of_another_size_than_claimed_is_refused(tmp_path: Path) -> None:
    siz = struct.pack(">HHHIIIIIIIIH", 0xFF51, 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1)
    frame = b"\xff\x4f" + siz + b"\x0f\x01\x01" + bytes(200)
    elements = {"syntax": JPEG2000Lossless, "PixelData": encapsulate([frame])}
    assert "60000 x 60000" in refused(made(tmp_path / "a.dcm", RAMP, **elements))
    # A JP2 box of no length, at which a walk over the boxes would stand still for ever.
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40)
    elements["PixelData"] = encapsulate([boxes])
    assert "no readable header" in refused(made(tmp_path / "b.dcm", RAMP, **elements))


def test_run_lengths_that_overflow_their_frame_are_refused(tmp_path: Path) -> None:
    segment = b"\x81\xff" * 300
    frame = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    elements = {"syntax": RLELossless, "PixelData": encapsulate([frame])}
    assert "RLE" in refused(made(tmp_path / "a.dcm", RAMP, **elements))


def test_sequences_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "a.dcm", RAMP)
    start = path.read_bytes()
    nested = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(start[: 144 + struct.unpack("<I", start[140:144])[0]] + nested * 50000)
    refused(path)


def test_header_facts(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.dcm",
        RAMP,
        StudyInstanceUID="1.2.9",
        ViewPosition="PA",
        PatientAge="018M",
        PatientSex="F",
        ImagerPixelSpacing=[0.2, 0.1],
        BurnedInAnnotation="YES",
    )
    header = read_header(path)
    assert (header.patient, header.study, header.instance) == ("SECRET-7", "1.2.9", "1.2.3")
    assert (header.age, header.sex, header.modality) == (1.5, "F", "DX")
    assert (header.frames, header.rows, header.photometric) == (1, 16, "MONOCHROME2")
    pixels = read_dicom(path, Limits())
    assert (pixels.view, pixels.age, pixels.sex) == (View.FRONTAL, 1.5, "F")
    assert pixels.spacing == (0.2, 0.1)
    assert pixels.header["burned_in"] == "YES"
    assert "SECRET" not in repr(pixels)


@pytest.mark.parametrize(
    "elements, view",
    [
        ({"ViewPosition": "AP"}, View.FRONTAL),
        ({"ViewPosition": "LL"}, View.LATERAL),
        ({"ViewPosition": "RL"}, View.LATERAL),
        ({"ViewPosition": "LATERAL"}, View.LATERAL),
        ({"ViewPosition": "LLD"}, View.UNKNOWN),
        ({"ViewPosition": "LAO"}, View.UNKNOWN),
        ({"ViewPosition": "", "SeriesDescription": "Chest_LAT"}, View.LATERAL),
        ({"SeriesDescription": "W chest p.a."}, View.FRONTAL),
        ({"SeriesDescription": "CHEST PA AND LATERAL"}, View.UNKNOWN),
        ({"SeriesDescription": "left lateral decubitus"}, View.UNKNOWN),
        ({"SeriesDescription": "paediatric flat apex"}, View.UNKNOWN),
        ({"ViewPosition": "PA", "SeriesDescription": "lateral"}, View.FRONTAL),
        ({}, View.UNKNOWN),
    ],
)
def test_views(tmp_path: Path, elements: dict[str, str], view: View) -> None:
    assert read_header(made(tmp_path / "a.dcm", RAMP, **elements)).view == view


@pytest.mark.parametrize(
    "written, years", [("034Y", 34), ("006M", 0.5), ("34", 34), ("999Y", None), ("", None)]
)
def test_ages(tmp_path: Path, written: str, years: float | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = made(tmp_path / "a.dcm", RAMP, PatientAge=written)
    assert read_header(path).age == years


def test_nothing_of_a_bad_header_is_logged_or_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    path = made(tmp_path / "a.dcm", RAMP, StudyInstanceUID="1.2.345678")
    path.write_bytes(path.read_bytes().replace(b"345678", b"SECRET"))
    recwarn.clear()
    dcmread(path).get("StudyInstanceUID")
    assert "SECRET" in str(recwarn.pop().message)  # what must not come through
    with caplog.at_level(logging.DEBUG):
        read_dicom(path, Limits())
        path.write_bytes(path.read_bytes()[:-300])
        refused(path)
    assert not caplog.records
    assert not recwarn.list


def test_every_file_of_the_collection_is_read_or_refused_with_a_reason(
    radlearn_data: Path,
) -> None:
    folder = radlearn_data / "dicom"
    with (folder / "inventory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    unread, blank = [], 0
    for row in rows:
        path = folder / row["file"]
        decoded = row["pylibjpeg_decode"]
        several = decoded.startswith("ok") and _frames_of(decoded, row["samples_per_pixel"]) > 1
        try:
            values = read_dicom(path, Limits()).values
            assert not several, path.name
            assert values.dtype in (np.uint8, np.uint16)
            blank += values.max() == values.min()
        except UnreadableError as error:
            assert len(str(error)) > len(path.name) + 10
            assert "frames" in str(error) or "SEG" in str(error) or not several, path.name
            if decoded.startswith("ok") and not several:
                unread.append(str(error))
    assert rows
    assert not unread
    assert blank <= 0.05 * len(rows)


def _frames_of(decoded: str, samples: str) -> int:
    """Frames from the inventory's words, such as "ok (10, 64, 64) uint16"."""
    shape = [int(part) for part in decoded.split("(")[1].split(")")[0].split(",")]
    return shape[0] if len(shape) > (3 if float(samples) > 1 else 2) else 1


def test_a_run_length_decoder_that_panics_is_refused_without_a_word_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path / "a.dcm", RAMP)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = RLELossless
    high, low = b"\x81\x00" * 5, b"\x81\x00" * 2  # 128 zeros each, of a picture of 256
    header = struct.pack("<16I", 2, 64, 64 + len(high), *[0] * 13)
    dataset.PixelData = encapsulate([header + high + low])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    assert "PanicException" in refused(path)
    assert capfd.readouterr() == ("", "")
