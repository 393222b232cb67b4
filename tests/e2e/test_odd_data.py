"""Data as it comes: each is handled, or refused in one clear line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2e.conftest import run
from radlearn.records.store import open_store

COUNT = 40
SMALL = ("--model", "tiny", "--image-size", 16, "--patch", 8, "--steps", 2, "--batch", 4,
         "--evaluations", 1, "--device", "cpu", "--precision", "float32")  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """store/ of 40 patients: half of the masks are empty, one is of another shape."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rows = []
    for n in range(COUNT):
        values = np.random.default_rng(n).integers(0, 255, (24, 24), np.uint8)
        Image.fromarray(values).save(folder / "images" / f"{n}.png")
        mask = np.zeros((24, 36) if n == 5 else (24, 24), np.uint8)
        mask[:8] = 255 * (n % 2)
        Image.fromarray(mask).save(folder / "masks" / f"{n}.png")
        text = "pneumonia" if n % 2 else "clear"
        rows.append([f"images/{n}.png", f"p{n}", n % 2, 1, text])
    with (folder / "table.csv").open("w") as file:
        csv.writer(file).writerows([["image", "patient", "sick", "always", "text"], *rows])
    labels = ("--label-columns", "sick", "always", "--mask-folder", folder / "masks")
    assert _prepare(folder, "store", *labels, "--val", 0.2, "--test", 0.5, "--bits", 8) == 0
    return folder


def _prepare(folder: Path, store: str, *more: object) -> int:
    given = ("prepare", "folder", folder, folder / store, "--table", folder / "table.csv")
    return run(*given, "--size", 16, "--workers", 1, *more)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_masks_that_are_empty_or_of_another_shape(odd: Path) -> None:
    store = open_store(odd / "store")
    (aside,) = store.info["set_aside"]
    assert aside["path"] == "images/5.png" and "36 x 24 pixels" in aside["reason"]
    assert store.info["masks"] == COUNT - 1 and store.info["images"] == COUNT
    segment = ("finetune", odd / "store", "--task", "segmentation", "--decoder-width", 16)
    assert run(*segment, "--run", odd / "masks-run", *SMALL) == 0
    evaluation = json.loads((odd / "masks-run" / "evaluation.json").read_text())
    (drawn,) = evaluation["classes"].values()
    assert 0 < drawn["positives"] < evaluation["records"]
    assert np.isfinite(drawn["scores"]["dice"]["value"])


def test_labels_of_text_or_of_one_class(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _prepare(odd, "text", "--label-columns", "text") == 0
    assert "40 set aside" in said(capsys)
    reasons = {one["reason"] for one in open_store(odd / "text").info["set_aside"]}
    assert reasons == {
        f"{word!r} is not 0, 1 or -1; the record is kept without it"
        for word in ("pneumonia", "clear")
    }
    tune = ("finetune", odd / "text", "--run", odd / "no", *SMALL)
    assert run(*tune) == 2 and "label" in said(capsys)
    assert (
        run("finetune", odd / "store", "--run", odd / "always", "--labels", "always", *SMALL) == 0
    )
    assert "of always the training records have one class only" in said(capsys)
    evaluation = json.loads((odd / "always" / "evaluation.json").read_text())
    assert evaluation["labels"]["always"]["reason"].startswith("one class only")
    alone = ("--task", "single-label", "--labels", "always")
    assert run("finetune", odd / "store", "--run", odd / "no", *alone, *SMALL) == 2
    assert "always is one class; name two" in said(capsys)


def test_a_group_of_three_patients(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = open_store(odd / "store").rows
    tested = rows.filter(rows["split"] == "test")["id"].to_list()
    with (odd / "table.csv").open() as file:
        table = list(csv.reader(file))
    for row in table[1:]:
        row.append("small" if any(row[0].startswith(one) for one in tested[:3]) else "large")
    with (odd / "table.csv").open("w") as file:
        csv.writer(file).writerows([[*table[0], "ward"], *table[1:]])
    more = ("--label-columns", "sick", "--extra-columns", "ward", "--val", 0.2, "--test", 0.5)
    assert _prepare(odd, "wards", *more) == 0
    assert run("finetune", odd / "wards", "--run", odd / "wards-run", *SMALL) == 0
    capsys.readouterr()
    assert run("evaluate", odd / "wards-run", "--groups", "ward", "--resamples", 20) == 0
    groups = json.dumps(json.loads((odd / "wards-run" / "evaluation.json").read_text())["groups"])
    assert "3 patients, and a test needs 10" in groups
