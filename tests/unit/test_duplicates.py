"""The same picture is found again whatever was done to the file; two pictures are not one."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_sources import made_picture
from PIL import Image

from radlearn.records.alignment import likeness
from radlearn.records.duplicates import (
    MEETINGS,
    VIEWS,
    candidates,
    picture_hash,
    small_pictures,
    twins,
)
from radlearn.records.phantoms import phantom

COUNT = 12


def resized(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)


def recompressed(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=30)
    return Image.open(file).convert("L")


def brightened(picture: Image.Image) -> Image.Image:
    return Image.fromarray((255 * (np.asarray(picture) / 255) ** 0.7).astype(np.uint8))


def cut(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.crop((width // 50, height // 40, width - width // 60, height - height // 50))


def framed(picture: Image.Image) -> Image.Image:
    frame = Image.new("L", (picture.width + 60, picture.height + 20))
    frame.paste(picture, (45, 10))
    return frame


def squared(picture: Image.Image) -> Image.Image:
    spare = (picture.height - picture.width) // 2
    return picture.crop((0, spare, picture.width, spare + picture.width))


def all_of_it(picture: Image.Image) -> Image.Image:
    return resized(recompressed(brightened(cut(picture))))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Phantom radiographs of 12 patients, taller than wide."""
    drawn = [Image.fromarray(phantom(patient, 0, 5, 256).image) for patient in range(COUNT)]
    return [picture.resize((240, 288), Image.Resampling.BICUBIC) for picture in drawn]


@pytest.mark.parametrize(
    "change", [resized, recompressed, brightened, cut, framed, squared, all_of_it]
)
def test_copies_are_found_and_nothing_else(
    change: Callable[[Image.Image], Image.Image], pictures: list[Image.Image]
) -> None:
    originals = [np.asarray(picture) for picture in pictures]
    copies = [np.asarray(change(picture)) for picture in pictures]
    found = twins(
        [picture_hash(picture) for picture in originals],
        lambda i: small_pictures(originals[i]),
        [picture_hash(picture) for picture in copies],
        lambda i: small_pictures(copies[i]),
    )
    assert set(found) == {(i, i) for i in range(COUNT)}


def test_a_deep_copy_is_the_same_picture(pictures: list[Image.Image]) -> None:
    shallow = np.asarray(pictures[0])
    deep = shallow.astype(np.uint16) * 257
    assert picture_hash(deep) == picture_hash(shallow)


def test_blank_pictures_are_not_compared() -> None:
    blank = np.zeros((80, 80), np.uint8)
    assert picture_hash(blank) is None
    blank[30:40, 30:40] = 255
    assert picture_hash(blank) is None
    assert list(twins([None, None], lambda i: pytest.fail("asked for a blank picture"))) == []


def test_what_is_known_is_not_asked_again(pictures: list[Image.Image]) -> None:
    copies = [np.asarray(pictures[0])] * 5
    met: set[int] = set()

    def known(i: int, j: int) -> bool:
        return {i, j} <= met

    found = []
    hashes = [picture_hash(picture) for picture in copies]
    for pair in twins(hashes, lambda i: small_pictures(copies[i]), known=known):
        found.append(pair)
        met.update(pair)
    assert found == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_candidates_are_those_of_a_comparison_one_by_one() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (150, VIEWS, 256), dtype=np.uint8)
    for copy, flips in ((20, 0), (70, 30), (140, 56), (141, 57)):
        bits[copy] = bits[3]
        bits[copy, :, rng.permutation(256)[:flips]] ^= 1
    hashes = [np.packbits(row).tobytes().hex() for row in bits]

    def near(i: int, j: int) -> bool:
        return any((bits[i, a] != bits[j, b]).sum() <= 56 for a, b in MEETINGS)

    expected = [(i, j) for i in range(150) for j in range(i + 1, 150) if near(i, j)]
    assert (3, 140) in expected and (3, 141) not in expected
    assert sorted(candidates(hashes)) == expected
    across = sorted(candidates(hashes[:10], [None, *hashes]))
    assert across == [(i, j + 1) for i in range(10) for j in range(150) if near(i, j)]


def test_thousands_of_pictures_take_seconds() -> None:
    rng = np.random.default_rng(1)
    hashes = [rng.bytes(32 * VIEWS).hex() for _ in range(6000)]
    hashes.append(hashes[17])
    start = time.process_time()
    assert list(candidates(hashes)) == [(17, 6000)]
    assert time.process_time() - start < 20


def test_likeness_follows_a_shift_a_scale_and_a_tilt_but_not_another_picture() -> None:
    picture = Image.fromarray(made_picture(0, 256, 256))
    original = small_pictures(np.asarray(picture))[0]
    moved = picture.rotate(2, Image.Resampling.BICUBIC).crop((10, 6, 248, 252))
    assert likeness(original, small_pictures(np.asarray(moved))[0]) > 0.9
    other = small_pictures(made_picture(1, 256, 256))[0]
    assert likeness(original, other) < 0.5


def test_real_radiographs_that_are_in_two_collections(radlearn_data: Path) -> None:
    folders = [radlearn_data / "covid" / "images", radlearn_data / "hannover" / "png"]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip("needs covid/images and hannover/png")
    mine, theirs = (sorted(folder.iterdir())[1::2] for folder in folders)

    def read(path: Path) -> np.ndarray:
        return np.asarray(Image.open(path).convert("L"))

    pairs = twins(
        [picture_hash(read(path)) for path in mine],
        lambda i: small_pictures(read(mine[i])),
        [picture_hash(read(path)) for path in theirs],
        lambda i: small_pictures(read(theirs[i])),
    )
    named = [(mine[i].stem, theirs[j].stem) for i, j in pairs]
    again = {path.stem for path in mine} & {path.stem for path in theirs}
    assert all(one == other for one, other in named), "a picture of another name is no twin"
    assert len(named) >= 0.9 * len(again)


def test_real_radiographs_of_different_patients_are_not_joined(radlearn_data: Path) -> None:
    paths = sorted((radlearn_data / "nih" / "images").glob("*.png"))[::5]
    if not paths:
        pytest.skip("needs nih/images")
    pictures = [np.asarray(Image.open(path).convert("L")) for path in paths]
    hashes = [picture_hash(picture) for picture in pictures]
    pairs = list(twins(hashes, lambda i: small_pictures(pictures[i])))
    assert not [(paths[i].name, paths[j].name) for i, j in pairs]
