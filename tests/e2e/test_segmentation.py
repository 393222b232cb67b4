"""The way of a lab with masks, by the real commands: from a store to masks of new pictures."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from e2e.conftest import run
from radlearn.errors import InputError
from radlearn.evaluate import evaluate_run
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import read_json, write_json
from radlearn.finetuning.segmentation import MASKS, unpacked
from radlearn.metrics.segmentation import mask_score
from radlearn.records.record import NOT_ANNOTATED
from radlearn.records.store import open_store

STEPS = 24
TUNERS = ("lora", "full", "linear")


def command(lab: Path, folder: Path, *more: object) -> list[str]:
    small = ("--steps", STEPS, "--batch", 8, "--evaluations", 2, "--decoder-width", 16)
    given = ("finetune", lab / "store", "--task", "segmentation", "--run", folder)
    return [str(one) for one in (*given, "--init", lab / "backbone", *small, *more)]


@pytest.fixture(scope="session")
def segmented(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run a tuner, and one by windows; read only."""
    folder = tmp_path_factory.mktemp("segmented")
    for tuner in TUNERS:
        assert run(*command(lab, folder / tuner, "--tuner", tuner, "--lr", 3e-3)) == 0
    sliding = ("--tuner", "full", "--lr", 3e-3, "--inference", "sliding")
    assert run(*command(lab, folder / "sliding", *sliding)) == 0
    return folder


def test_masks_are_learned_with_every_tuner(segmented: Path) -> None:
    for tuner in TUNERS:
        found = evaluate_run(segmented / tuner, EvaluateConfig(resamples=50))
        (scores,) = (one["scores"] for one in found["classes"].values())
        assert scores["dice"]["value"] > 0.5, tuner
        assert scores["dice"]["low"] <= scores["dice"]["value"] <= scores["dice"]["high"]
        assert scores["hd95"]["value"] > 0 and scores["hd95_mm"]["value"] is None


def test_what_is_kept_is_what_was_scored(lab: Path, segmented: Path) -> None:
    store = open_store(lab / "store")
    rows = dict(zip(store.rows["id"], range(store.rows.height), strict=True))
    masks = pl.read_parquet(segmented / "full" / MASKS).filter(pl.col("split") == "test")
    scores = pl.read_parquet(segmented / "full" / "predictions.parquet")
    scores = scores.filter(pl.col("split") == "test")
    assert masks.height == scores.height == store.info["splits"]["test"]["records"]
    for name, png in masks.select("id", "mask").iter_rows():
        truth = store.mask(rows[name])
        assert truth is not None
        told = scores.filter(pl.col("id") == name).row(0, named=True)
        assert mask_score(truth, unpacked(png), 1).dice == told["dice"]


def test_predict_draws_what_the_run_drew_in_the_grid_of_the_picture(
    lab: Path, segmented: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    rows = open_store(lab / "store").rows.filter(pl.col("split") == "test")
    places = dict(zip(rows["id"], (phantom_folder / one for one in rows["source"]), strict=True))
    for name in ("lora", "full", "sliding"):
        out = tmp_path / name
        given = ("--out", out, "--masks", "png", "--precision", "float32", "--batch", 3)
        assert run("predict", segmented / name, *places.values(), *given) == 0
        kept = pl.read_parquet(segmented / name / MASKS)
        before = dict(kept.filter(pl.col("split") == "test").select("id", "mask").iter_rows())
        table = {row["file"]: row for row in pl.read_csv(out / "masks.csv").iter_rows(named=True)}
        for record, place in places.items():
            drawn = np.asarray(Image.open(out / table[str(place)]["mask"]))
            assert set(np.unique(drawn)) <= {0, 255}
            same = (drawn > 0) == (unpacked(before[record]) > 0)
            assert same.mean() > 0.98  # bfloat16 before
            assert table[str(place)].get("mask pixels", (drawn > 0).sum()) == (drawn > 0).sum()


def test_predict_writes_every_kind_and_names_what_it_cannot(
    segmented: Path, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exams = tmp_path / "exams"
    shutil.copytree(phantom_folder / "dicom", exams / "ct")
    shutil.copy(next((phantom_folder / "images").rglob("*.png")), exams / "000.png")
    (exams / "000.txt").write_text("no picture")
    for kind, ending in (("png", ".png"), ("nifti", ".nii.gz"), ("dicom-seg", ".dcm")):
        out = tmp_path / kind
        assert run("predict", segmented / "full", exams, "--out", out, "--masks", kind) == 1
        captured = capsys.readouterr()
        said = captured.out + captured.err
        assert "000.txt" in said and ("000.png" in said) == (kind == "dicom-seg")
        written = {path.relative_to(out).as_posix() for path in out.rglob(f"*{ending}")}
        assert {f"ct/00{at}{ending}" for at in range(4)} <= written
        assert (len(written) == 5) == (kind != "dicom-seg")


def test_two_runs_are_compared(
    segmented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "difference.json"
    runs = [segmented / name for name in ("linear", "full")]
    assert run("evaluate", *runs, "--resamples", 50, "--out", out) == 0
    captured = capsys.readouterr()
    assert "full less linear" in captured.out + captured.err
    (pair,) = read_json(out, "a comparison")["pairs"]
    (found,) = pair["classes"].values()
    first, second = (
        evaluate_run(one, EvaluateConfig(resamples=50))["mean"]["scores"]["dice"]["value"]
        for one in runs
    )
    assert found["dice"]["difference"]["value"] == pytest.approx(second - first)
    assert "Runs side by side" in out.with_suffix(".html").read_text(encoding="utf-8")


def test_the_page_draws_masks_and_needs_no_network(segmented: Path) -> None:
    page = (segmented / "full" / "report.html").read_text(encoding="utf-8")
    assert "best: Dice" in page and "worst: Dice" in page and "data:image/" in page
    assert 'src="http' not in page and "<script" not in page


def test_killed_and_started_again_it_ends_with_the_same_bits(
    lab: Path, segmented: Path, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", segmented / "lora"
    wanted = command(lab, killed, "--tuner", "lora", "--lr", 3e-3)
    process = subprocess.Popen(
        [sys.executable, "-m", "radlearn.cli", *wanted],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )
    rows, until = killed / "metrics.jsonl", time.monotonic() + 300
    while not rows.exists() or len(rows.read_bytes().splitlines()) < STEPS // 3:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (killed / "results.json").exists(), "it ended before it was stopped"
    assert run(*wanted) == 0
    files = [*whole.glob("model/**/*.safetensors"), whole / "metrics.jsonl", whole / MASKS]
    for file in files:
        assert (killed / file.relative_to(whole)).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--labels", "Effusion"), "--labels is not for segmentation"),
        (("--inference", "sliding", "--image-size", 96), "larger than its window of 96 px"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    lab: Path, tmp_path: Path, flags: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command(lab, tmp_path / "run", *flags)) == 2
    assert reason in capsys.readouterr().err


def test_stores_without_masks_or_with_empty_ones_are_refused(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    shutil.copytree(lab / "store", store)
    for file in store.glob("masks-*.npy"):
        np.save(file, np.zeros_like(np.load(file)))
    given = ("--task", "segmentation", "--run", tmp_path / "run", "--model", "tiny")
    assert run("finetune", store, *given, "--steps", 2, "--image-size", 32) == 2
    assert "training masks are empty" in capsys.readouterr().err
    rows = pl.read_parquet(store / "records.parquet").with_columns(has_mask=pl.lit(False))
    rows.write_parquet(store / "records.parquet")
    with pytest.raises(InputError, match="with mask"):
        from radlearn.records.store import Split, select

        select([open_store(store)], split=Split.TRAIN, needs=frozenset({"mask"}))


def test_another_store_is_answered_as_the_own_one_is(
    lab: Path, segmented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "run"
    shutil.copytree(segmented / "lora", there)
    own = evaluate_run(there, EvaluateConfig(resamples=20))["mean"]["scores"]["dice"]["value"]
    assert run("evaluate", there, "--on", lab / "store", "--resamples", 20) == 0
    found = read_json(there / "on" / "store" / "evaluation.json", "an evaluation")
    assert found["mean"]["scores"]["dice"]["value"] == pytest.approx(own, abs=0.01)
    assert (there / "on" / "store" / "report.html").exists()
    swapped = tmp_path / "swapped"
    shutil.copytree(lab / "store", swapped)
    rows = pl.read_parquet(swapped / "records.parquet")
    turned = {"train": "test", "test": "train"}
    rows.with_columns(pl.col("split").replace(turned)).write_parquet(swapped / "records.parquet")
    assert run("evaluate", there, "--on", swapped) == 2
    assert "was trained on" in capsys.readouterr().err.replace("\n", " ")


def test_several_classes_and_pixels_that_nobody_annotated(lab: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(lab / "store", store)
    for file in store.glob("masks-*.npy"):
        masks = np.load(file)
        masks[:, :, 32:] *= 2
        masks[:, :8] = NOT_ANNOTATED
        np.save(file, masks)
    info = read_json(store / "store.json", "a store")
    write_json(store / "store.json", info | {"mask_names": ["right lung", "left lung"]})
    out, small = tmp_path / "run", ("--steps", 12, "--lr", 3e-3, "--tuner", "full")
    assert run(*command(lab, out, *small)[:1], store, *command(lab, out, *small)[2:]) == 0
    found = evaluate_run(out, EvaluateConfig(resamples=20))
    assert list(found["classes"]) == ["right lung", "left lung"]
    for one in found["classes"].values():
        assert one["scores"]["dice"]["value"] > 0.3
    drawn = [unpacked(png) for png in pl.read_parquet(out / MASKS)["mask"]]
    assert set(np.unique(drawn)) == {0, 1, 2}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Segmentation of right lung, left lung" in page
