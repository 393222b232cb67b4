"""PNG, JPEG and TIFF in every mode that radiographs come in."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radlearn.errors import UnreadableError
from radlearn.records.guard import Limits
from radlearn.records.raster import read_raster

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def read(path: Path) -> np.ndarray:
    return read_raster(path, Limits()).values


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_stays_exact_in_every_mode(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.fromarray(GREY)
    if mode == "P":
        image = image.copy()
        image.putpalette([channel for grey in range(256) for channel in [grey] * 3])
    path = saved(tmp_path / name, image if mode == "P" else image.convert(mode))
    shown = read(path)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, GREY)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_full_sixteen_bits_stay_exact(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (40, 30)).astype(np.uint16)
    np.testing.assert_array_equal(read(saved(tmp_path / name, Image.fromarray(values))), values)


def test_twelve_bits_in_sixteen_fill_the_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (40, 30)).astype(np.uint16)
    values[0, :2] = 0, 4095
    shown = read(saved(tmp_path / "a.png", Image.fromarray(values)))
    np.testing.assert_allclose(shown, values * (65535 / 4095), atol=0.51)


def test_float_tiff_is_windowed(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 2500, dtype=np.float32).reshape(50, 50)
    values[0, 0] = np.nan
    shown = read(saved(tmp_path / "a.tif", Image.fromarray(values))).ravel()
    assert shown.dtype == np.uint16
    assert (shown[0], shown[1], shown[-1]) == (0, 0, 65535)
    assert (np.diff(shown[1:].astype(int)) >= 0).all()


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random((9, 11)) > 0.5
    shown = read(saved(tmp_path / "a.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(shown, bits * 255)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    image = Image.new("RGB", (3, 3), (255, 0, 0))
    assert read(saved(tmp_path / "a.png", image))[0, 0] == 76
    assert abs(int(read(saved(tmp_path / "a.jpg", image.convert("CMYK")))[1, 1]) - 76) <= 3


def test_what_is_transparent_is_dark(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[0, :, 3], pixels[1, :, 3] = 0, 128
    shown = read(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert shown[0, 0] == 0
    assert shown[1, 0] == pytest.approx(100, abs=1)
    assert (shown[2:] == 200).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_orientation_of_the_camera_is_undone(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 16, 1).repeat(8, 0))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter, clockwise
    shown = read(saved(tmp_path / name, image, exif=exif))
    assert shown[:, :6].min() > 250
    assert shown[:, 10:].max() < 5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_zero_is_white_is_turned_over(tmp_path: Path, dtype: type) -> None:
    top = np.iinfo(dtype).max
    values = (GREY.astype(np.uint32) * (top // 255)).astype(dtype)
    path = saved(tmp_path / "a.tif", Image.fromarray(top - values))
    raw = bytearray(path.read_bytes())
    entry = raw.find(struct.pack("<HHIHH", 262, 3, 1, 1, 0))
    struct.pack_into("<H", raw, entry + 8, 0)
    path.write_bytes(raw)
    np.testing.assert_array_equal(read(path), values)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    page = Image.fromarray(GREY)
    path = saved(tmp_path / "a.tif", page, save_all=True, append_images=[page])
    with pytest.raises(UnreadableError, match=r"a\.tif: several pages"):
        read(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    path = saved(tmp_path / name, Image.fromarray(noise))
    raw = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(raw[: int(len(raw) * share)])
        with pytest.raises(UnreadableError, match=name):
            read(path)


def png(width: int, height: int, packed: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("side", [9000, 60000])
def test_a_png_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, zlib.compress(bytes(1000))))
    with pytest.raises(UnreadableError, match=r"bomb\.png"):
        read(path)


def test_limits_are_settings(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(GREY))
    with pytest.raises(UnreadableError, match="limit of 255 pixels"):
        read_raster(path, Limits(pixels=255))
    with pytest.raises(UnreadableError, match="larger than the limit of 50 bytes"):
        read_raster(path, Limits(bytes=50))
