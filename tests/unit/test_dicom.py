"""DICOM: every kind of grey comes out alike, larger is brighter, over the full range."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_dicom import RAMP, made, read
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)


def lookup(entries: list[int], first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


@pytest.mark.parametrize(
    "dtype, stored, shift",
    [
        (np.uint8, 8, 0),
        (np.int8, 8, -128),
        (np.uint16, 10, 0),
        (np.uint16, 12, 0),
        (np.int16, 12, -2048),
        (np.uint16, 16, 0),
        (np.int16, 16, -30000),
        (np.uint32, 32, 0),
        (np.int32, 32, -100000),
    ],
)
def test_every_depth_and_sign_is_shown_in_order_over_the_full_range(
    tmp_path: Path, dtype: type, stored: int, shift: int
) -> None:
    scale = 1 if stored <= 8 else 2 ** (stored - 9)
    values = (RAMP.astype(np.int64) * scale + shift).astype(dtype)
    shown = read(made(tmp_path / "a.dcm", values, BitsStored=stored))
    assert shown.dtype == (np.uint8 if stored <= 8 else np.uint16)
    assert shown.min() == 0
    assert shown.max() == np.iinfo(shown.dtype).max
    assert (np.diff(shown.ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(30, 20), (30, 20, 3)])
def test_eight_bits_without_a_window_are_taken_as_they_are(
    tmp_path: Path, dtype: type, shape: tuple[int, ...]
) -> None:
    values = np.random.default_rng(0).integers(20, 200, (30, 20)).astype(dtype)
    stored = values if len(shape) == 2 else np.stack([values] * 3, -1)
    shown = read(made(tmp_path / "a.dcm", stored, BitsStored=8))
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, values)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random((16, 16)) > 0.5
    packed = np.packbits(bits, bitorder="little").tobytes()
    one = {"BitsAllocated": 1, "BitsStored": 1, "PixelData": packed}
    shown = read(made(tmp_path / "a.dcm", bits.astype(np.uint8), **one))
    np.testing.assert_array_equal(shown, bits * 255)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_every_native_transfer_syntax_gives_the_same(tmp_path: Path, syntax: str) -> None:
    values = RAMP * 16
    expected = read(made(tmp_path / "plain.dcm", values))
    np.testing.assert_array_equal(read(made(tmp_path / "a.dcm", values, syntax=syntax)), expected)


def test_a_file_without_preamble_or_meta_is_read(tmp_path: Path) -> None:
    path = made(tmp_path / "a.dcm", RAMP, syntax=ImplicitVRLittleEndian)
    raw = path.read_bytes()
    meta_length = struct.unpack("<I", raw[140:144])[0]
    (tmp_path / "bare").write_bytes(raw[144 + meta_length :])
    np.testing.assert_array_equal(read(tmp_path / "bare"), read(path))


@given(data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_order_is_kept_and_a_complement_in_monochrome1_is_the_same_picture(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("dicom")
    bits = data.draw(st.sampled_from([8, 10, 12, 16]))
    top = 2**bits - 1
    size = data.draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    numbers = st.lists(st.integers(0, top), min_size=size[0] * size[1], max_size=size[0] * size[1])
    dtype = np.uint8 if bits == 8 else np.uint16
    values = np.array(data.draw(numbers), dtype).reshape(size)
    window: dict[str, Any] = {}
    if function := data.draw(st.sampled_from(["", "LINEAR", "LINEAR_EXACT"])):
        center = data.draw(st.integers(0, top))
        window = {"VOILUTFunction": function, "WindowCenter": center, "WindowWidth": top // 4 * 2}
    shown = read(made(folder / "a.dcm", values, BitsStored=bits, **window))

    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()
    if function:  # LINEAR is about c - 0.5
        window["WindowCenter"] = top - center + (function == "LINEAR")
    turned = made(
        folder / "b.dcm",
        (top - values).astype(dtype),
        BitsStored=bits,
        PhotometricInterpretation="MONOCHROME1",
        **window,
    )
    np.testing.assert_array_equal(read(turned), shown)


def test_an_image_and_its_complement_are_rounded_alike(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint8)
    window = {"VOILUTFunction": "LINEAR_EXACT", "WindowWidth": 60}  # many ends in one half
    plain = made(tmp_path / "a.dcm", values, WindowCenter=60, **window)
    turned = {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 195, **window}
    np.testing.assert_array_equal(
        read(made(tmp_path / "b.dcm", 255 - values, **turned)), read(plain)
    )


def test_inverse_presentation_is_turned_over(tmp_path: Path) -> None:
    plain = read(made(tmp_path / "a.dcm", RAMP * 8))
    turned = read(made(tmp_path / "b.dcm", RAMP * 8, PresentationLUTShape="INVERSE"))
    np.testing.assert_array_equal(turned, plain[::-1, ::-1])


def test_the_first_window_is_applied_after_the_rescale(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.dcm",
        RAMP,
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=[100.5, 0],
        WindowWidth=[201, 10],
    )
    expected = np.clip((RAMP.astype(float) * 2 - 100) / 200, 0, 1) * 65535
    np.testing.assert_allclose(read(path), expected, atol=0.51)


def test_window_functions_follow_the_standard(tmp_path: Path) -> None:
    window = {"WindowCenter": 128, "WindowWidth": 100}
    exact = read(made(tmp_path / "e.dcm", RAMP, VOILUTFunction="LINEAR_EXACT", **window))
    sigmoid = read(made(tmp_path / "s.dcm", RAMP, VOILUTFunction="SIGMOID", **window))
    values = RAMP.astype(float)
    np.testing.assert_allclose(exact, np.clip((values - 78) / 100, 0, 1) * 65535, atol=0.51)
    np.testing.assert_allclose(sigmoid, 65535 / (1 + np.exp(-4 * (values - 128) / 100)), atol=0.51)


@pytest.mark.parametrize(
    "center, width",
    [(0, 0), (128, -5), (90000, 10), (-90000, 10), (0, 1e9), ("", ""), (128, 1)],
)
def test_a_window_that_shows_nothing_gives_way_to_percentiles(
    tmp_path: Path, center: Any, width: Any
) -> None:
    expected = read(made(tmp_path / "plain.dcm", RAMP * 4))
    path = made(tmp_path / "a.dcm", RAMP * 4, WindowCenter=center, WindowWidth=width)
    np.testing.assert_array_equal(read(path), expected)


def test_percentiles_leave_out_a_bright_marker(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(500, 600, (64, 64)).astype(np.uint16)
    values[0, :8] = 4095
    shown = read(made(tmp_path / "a.dcm", values, BitsStored=12))
    assert shown[1:].astype(float).std() > 15000


def test_lookup_tables_of_modality_and_voi(tmp_path: Path) -> None:
    falling = lookup(list(range(65535, 65535 - 256, -1)), 0, 16)
    path = made(tmp_path / "m.dcm", RAMP, ModalityLUTSequence=falling)
    np.testing.assert_array_equal(
        read(path), read(made(tmp_path / "p.dcm", RAMP[::-1, ::-1].copy()))
    )
    steps = lookup([0, 1000, 2000, 4000], 100, 12)
    shown = read(made(tmp_path / "v.dcm", RAMP, VOILUTSequence=steps)).ravel()
    assert [shown[0], shown[100], shown[255]] == [0, 0, 65535]
    assert shown[101] == pytest.approx(65535 / 4, abs=1)


def test_a_damaged_voi_lookup_leaves_the_window(tmp_path: Path) -> None:
    broken = lookup([1, 2], 0, 12)
    del broken[0].LUTDescriptor
    window = {"WindowCenter": 128, "WindowWidth": 256}
    path = made(tmp_path / "a.dcm", RAMP, VOILUTSequence=broken, **window)
    np.testing.assert_array_equal(read(path), read(made(tmp_path / "b.dcm", RAMP, **window)))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_dark_and_takes_no_part_in_the_window(tmp_path: Path, photometric: str) -> None:
    values = np.random.default_rng(2).integers(1000, 1200, (40, 40)).astype(np.int16)
    inner = read(made(tmp_path / "in.dcm", values[10:], PhotometricInterpretation=photometric))
    values[:10] = -2000
    path = made(
        tmp_path / "a.dcm",
        values,
        PhotometricInterpretation=photometric,
        PixelPaddingValue=-2000,
    )
    shown = read(path)
    assert not shown[:10].any()
    np.testing.assert_array_equal(shown[10:], inner)


def test_colour_becomes_luma_and_grey_in_colour_stays_exact(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shown = read(made(tmp_path / "g.dcm", np.stack([grey] * 3, -1)))
    np.testing.assert_array_equal(shown, grey)
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[0], colours[1], colours[2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert read(made(tmp_path / "c.dcm", colours))[:, 0].tolist() == [76, 150, 29, 0]


def test_ybr_becomes_grey(tmp_path: Path) -> None:
    ybr = np.full((16, 16, 3), 128, np.uint8)
    ybr[..., 0] = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shown = read(made(tmp_path / "a.dcm", ybr, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_array_equal(shown, ybr[..., 0])


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    table = (np.arange(256, dtype=np.uint16)[::-1] * 257).tobytes()
    channels = ("Red", "Green", "Blue")
    palette: dict[str, Any] = {f"{c}PaletteColorLookupTableData": table for c in channels}
    palette |= {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in channels}
    path = made(tmp_path / "a.dcm", indices, PhotometricInterpretation="PALETTE COLOR", **palette)
    np.testing.assert_array_equal(read(path), indices[::-1, ::-1])


def test_single_frame_functional_groups_are_found(tmp_path: Path) -> None:
    macro, group = Dataset(), Dataset()
    macro.WindowCenter, macro.WindowWidth = 128, 256
    group.FrameVOILUTSequence = Sequence([macro])
    groups = {"SharedFunctionalGroupsSequence": Sequence([group]), "NumberOfFrames": 1}
    expected = made(tmp_path / "b.dcm", RAMP, WindowCenter=128, WindowWidth=256)
    np.testing.assert_array_equal(read(made(tmp_path / "a.dcm", RAMP, **groups)), read(expected))
