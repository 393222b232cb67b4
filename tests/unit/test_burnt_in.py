"""Text in pixels: rows of letters are found, anatomy and noise are not taken for them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from radlearn.records.burnt_in import FOUND, TOLD, shows_text, text_of
from radlearn.records.guard import DEFAULT_LIMITS
from radlearn.records.readers import read_pixels
from unit.made_dicom import RAMP, made


def pictures(folder: Path) -> list[Image.Image]:
    found = [read_pixels(path).values for path in sorted(folder.rglob("*.png"))[:6]]
    return [Image.fromarray(values).resize((512, 512)) for values in found]


def written(picture: Image.Image, text: str, size: int, grey: int) -> np.ndarray:
    with_text = picture.copy()
    font = ImageFont.load_default(size)
    ImageDraw.Draw(with_text).text((12, 12), text, fill=grey, font=font)
    return np.asarray(with_text)


@pytest.mark.parametrize("text", ["DOE JANE", "PORTABLE", "12-07-94", "ID 4711 F 1951"])
@pytest.mark.parametrize("size", [14, 24, 36])
def test_words_and_dates_are_found(phantom_folder: Path, text: str, size: int) -> None:
    for picture in pictures(phantom_folder):
        dark = picture.point(lambda grey: grey * 0.5)
        assert shows_text(written(dark, text, size, 255))
        assert shows_text(written(dark, text, size, 255).astype(np.uint16) * 257)


def test_grey_text_beside_brighter_anatomy_is_found(phantom_folder: Path) -> None:
    for picture in pictures(phantom_folder):
        values = written(picture.point(lambda grey: grey * 0.3), "BERNARD SOPHIE", 20, 160)
        values = values.copy()
        values[300:340, 300:340] = 255
        assert shows_text(values)


def test_pictures_without_text_show_none(phantom_folder: Path) -> None:
    rng = np.random.default_rng(0)
    assert not any(shows_text(np.asarray(picture)) for picture in pictures(phantom_folder))
    assert not shows_text(rng.integers(0, 256, (300, 300), dtype=np.uint8))
    assert not shows_text(np.zeros((50, 50), np.uint8))
    assert not shows_text(np.full((1, 1), 7, np.uint16))
    lattice = np.zeros((200, 200), np.uint8)
    lattice[::10] = lattice[:, ::10] = 255
    assert not shows_text(lattice)


def test_a_header_that_says_so_is_believed(tmp_path: Path) -> None:
    said = read_pixels(made(tmp_path / "a.dcm", RAMP, BurnedInAnnotation="YES"), DEFAULT_LIMITS)
    silent = read_pixels(made(tmp_path / "b.dcm", RAMP), DEFAULT_LIMITS)
    assert (text_of(said), text_of(silent)) == (TOLD, None)


def test_real_ultrasound_shows_text_and_real_slices_do_not(radlearn_data: Path) -> None:
    folder = radlearn_data / "dicom"
    for name in ("2427fdc82d_US1_J2KR.dcm", "164a460beb_OBXXXX1A.dcm"):
        assert text_of(read_pixels(folder / name)) == FOUND
    for name in ("d743aa9631_CTImage.dcm", "2e5cb60878_MR_small_RLE.dcm"):
        assert text_of(read_pixels(folder / name)) is None
