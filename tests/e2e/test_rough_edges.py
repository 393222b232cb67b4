"""Odd names, links, places that cannot be written: one clear line each, and no work lost."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2e.conftest import run
from radlearn.records.store import open_store

SIZE = ("--size", 16, "--workers", 0)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(path.name)).integers(0, 256, (20, 20), np.uint8)
    Image.fromarray(values).save(path)
    return path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


def test_a_folder_of_odd_names_is_taken_in_but_for_what_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "exams [/old]"
    first = picture(source / "ü [x]" / "a b.png")
    shutil.copy(first, Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.png")))
    (source / "self.png").symlink_to("self.png")
    (source / "gone.png").symlink_to("nothing.png")
    (source / "round").symlink_to(source)
    (source / "empty.png").touch()
    assert run("prepare", "folder", source, tmp_path / "s [/x]", *SIZE) == 0
    store = open_store(tmp_path / "s [/x]")
    assert store.rows["id"].to_list() == ["ü [x]/a b.png"]
    reasons = {item["path"]: item["reason"] for item in store.info["set_aside"]}
    assert set(reasons) == {"caf\ufffd.png", "self.png", "gone.png", "round", "empty.png"}
    assert "UTF-8" in reasons["caf\ufffd.png"] and "nowhere" in reasons["self.png"]
    assert str(tmp_path / "s [/x]") in capsys.readouterr().err


def test_a_store_below_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = picture(tmp_path / "a" / "x.png")
    assert run("prepare", "folder", tmp_path / "a", file / "store", *SIZE) == 2
    assert "cannot write to the folder" in said(capsys)


def test_masks_within_the_source_are_no_images(tmp_path: Path) -> None:
    for name in "abcd":
        picture(tmp_path / "in" / "images" / f"{name}.png")
        picture(tmp_path / "in" / "masks" / f"{name}.png")
    masks = ("--mask-folder", tmp_path / "in" / "masks", "--patient-from", "file")
    for place, more in (("all", ()), ("named", ("--images", tmp_path / "in" / "images"))):
        store = tmp_path / place
        assert run("prepare", "folder", tmp_path / "in", store, *SIZE, *masks, *more) == 0
        assert (open_store(store).info["images"], open_store(store).info["masks"]) == (4, 4)


def test_a_run_that_is_a_file(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").touch()
    assert run("finetune", lab / "store", "--run", tmp_path / "run") == 2
    assert "cannot write to the folder" in said(capsys)


def test_a_mistaken_setting_does_not_take_the_folder(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (
        "finetune",
        lab / "store",
        "--run",
        tmp_path / "run",
        "--batch",
        4,
        "--tuner",
        "linear",
    )
    assert run(*given, "--steps", 0) == 2
    assert "--steps" in said(capsys)
    assert run(*given, "--steps", 1, "--init", tmp_path / "nowhere") == 2
    assert "nowhere" in said(capsys)
    assert run(*given, "--steps", 1, "--init", lab / "backbone", "--layer-decay", 2) == 2
    assert "layer decay" in said(capsys)
    assert run(*given, "--steps", 1, "--init", lab / "backbone") == 0


def test_predict_writes_nowhere_before_it_has_seen_that_it_can(
    lab: Path, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = picture(tmp_path / "x.png")
    answers = ("predict", lab / "linear", phantom_folder / "dicom", "--saliency", tmp_path / "maps")
    assert run(*answers, "--out", file / "a.csv") == 2
    assert "cannot write to the folder" in said(capsys)
    assert not (tmp_path / "maps").exists()


def test_predict_on_odd_names(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "exams"
    deep = picture(source / ("d" * 100) / ("e" * 100) / f"{'f' * 100}.png")
    shutil.copy(deep, Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.png")))
    picture(source / "deep" / ".thumbs" / "t.png")
    (source / "deep" / ".DS_Store").touch()
    (source / "self.png").symlink_to("self.png")
    notes = source / f"notes [of] {'the day ' * 12}.txt"
    notes.write_text("not a picture")
    out, maps = tmp_path / "new" / "answers.csv", tmp_path / "maps"
    assert run("predict", lab / "linear", source, "--out", out, "--saliency", maps) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("cannot read")] == [
        f"cannot read {notes}: not DICOM, PNG, JPEG, TIFF or NIfTI by its contents"
    ]
    with out.open(encoding="utf-8") as file:
        assert {Path(row["file"]).name for row in csv.DictReader(file)} == {
            "caf\ufffd.png",
            deep.name,
        }
    assert len(list(maps.iterdir())) == 2
