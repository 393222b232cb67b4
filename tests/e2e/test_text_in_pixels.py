"""Text burnt into images is pointed out by the commands that take images in or give them away."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from e2e.conftest import run
from radlearn.records.burnt_in import FOUND, TOLD
from radlearn.records.store import open_store
from unit.made_dicom import made

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def written(text: str) -> np.ndarray:
    """A soft picture of 96 by 200 pixels, and a text on it."""
    picture = Image.fromarray(np.tile(np.linspace(10, 120, 200), (96, 1)).astype(np.uint8))
    font = ImageFont.load_default(18)
    ImageDraw.Draw(picture).text((8, 8), text, fill=255, font=font)
    return np.asarray(picture)


def listed(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def test_a_store_lists_images_that_may_show_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in (("a", "DOE JANE 1951"), ("b", ""), ("c", "L")):
        Image.fromarray(written(text)).save(folder / f"{name}.png")
    made(folder / "d.dcm", written(""), BurnedInAnnotation="YES")
    flags = ("--size", 32, "--val", 0, "--test", 0, "--workers", 0)
    assert run("prepare", "folder", folder, tmp_path / "store", *flags) == 0
    assert "2 images may show burnt-in text" in " ".join(capsys.readouterr().err.split())
    assert listed(tmp_path / "store" / "may_show_text.csv") == {"a.png": FOUND, "d.dcm": TOLD}
    store = open_store(tmp_path / "store")
    assert store.info["may_show_text"] == 2 and store.rows.height == 4
    assert run("check", tmp_path / "store") == 0
    (tmp_path / "store" / "may_show_text.csv").write_text("path,reason\n")
    assert run("check", tmp_path / "store") == 1


def test_deidentified_images_that_seem_to_show_text_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number, text in enumerate(("DOE JANE 1951", "", "L")):
        uids = {name: f"1.2.{place}.{number}" for place, name in enumerate(UIDS, 1)}
        made(tmp_path / "in" / f"{number}.dcm", written(text), BurnedInAnnotation="NO", **uids)
    assert run("deidentify", tmp_path / "in", tmp_path / "out") == 0
    assert "1 of them may show text" in " ".join(capsys.readouterr().err.split())
    assert list(listed(tmp_path / "out.look_at.csv").values()) == [FOUND]
