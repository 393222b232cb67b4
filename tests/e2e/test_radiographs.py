"""The way of a lab with radiographs, by the real commands: from files to answers."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import timm
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file

from e2e.conftest import TUNERS, run
from radlearn.finetuning.tuned import load_tuned
from radlearn.metrics.predictions import read_predictions
from radlearn.models.model_folders import read_model
from radlearn.records.store import open_store
from radlearn.records.transforms import evaluated, normalised


def sources(lab: Path, phantom_folder: Path, split: str) -> dict[str, Path]:
    """The files of a split's labelled records, by their ids."""
    labelled = pl.any_horizontal(pl.col("^label:.*$").is_not_null())
    rows = open_store(lab / "store").rows.filter(pl.col("split") == split, labelled)
    return dict(zip(rows["id"], (phantom_folder / place for place in rows["source"]), strict=True))


def test_the_store_holds_every_phantom_once(lab: Path, phantom_folder: Path) -> None:
    store = open_store(lab / "store")
    with (phantom_folder / "records.csv").open() as file:
        told = list(csv.DictReader(file))
    assert store.info["images"] == len(told) == store.info["masks"]
    assert store.info["reports"] == sum(bool(row["report"]) for row in told)
    assert store.info["set_aside"] == []
    by_patient = store.rows.group_by("patient").agg(pl.col("split").n_unique())
    assert (by_patient["split"] == 1).all()


@pytest.mark.parametrize("name", ["backbone", *TUNERS])
def test_every_run_leaves_a_page_that_needs_no_network(lab: Path, name: str) -> None:
    page = (lab / name / "report.html").read_text(encoding="utf-8")
    assert "data:image/" in page
    assert 'src="http' not in page and "<script" not in page


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_run_says_what_its_backbone_learnt_from(lab: Path, tuner: str) -> None:
    config = json.loads((lab / tuner / "config.json").read_text())
    results = json.loads((lab / tuner / "results.json").read_text())
    sources = json.loads((lab / "store" / "store.json").read_text())["sources"]
    assert config["learnt_from"] == results["learnt_from"] == sources
    assert config["marks"] == [], "one store keeps patients apart"
    assert "The backbone learnt from" in (lab / tuner / "report.html").read_text("utf-8")


def test_the_backbone_loads_strictly_with_timm(lab: Path) -> None:
    folder = lab / "backbone" / "model"
    config = json.loads((folder / "config.json").read_text())
    model = timm.create_model(config["architecture"], **config["model_args"])
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)


@pytest.mark.parametrize("tuner", TUNERS)
def test_predict_repeats_what_the_run_said_of_its_test_records(
    lab: Path, phantom_folder: Path, tmp_path: Path, tuner: str
) -> None:
    places = sources(lab, phantom_folder, "test")
    table = tmp_path / "answers.parquet"
    given = ("--out", table, "--precision", "float32", "--batch", 7)
    assert run("predict", lab / tuner, *places.values(), *given) == 0
    said = read_predictions(lab / tuner).filter(pl.col("split") == "test")
    answers = dict(pl.read_parquet(table).select("file", "Effusion").iter_rows())
    before = {i: said.filter(pl.col("id") == i)["probability:Effusion"][0] for i in places}
    for name, place in places.items():
        assert answers[str(place)] == pytest.approx(before[name], abs=0.01)  # bfloat16 before


def test_a_lora_run_loads_with_plain_peft_on_plain_timm(lab: Path, phantom_folder: Path) -> None:
    model = lab / "lora" / "model"
    backbone = read_model(model / "backbone")
    tuned = load_tuned(lab / "lora")
    plain = timm.create_model(
        backbone.config.architecture,
        **backbone.config.model_args,
        num_classes=len(tuned.labels),
        global_pool="avg",
    )
    plain.load_state_dict(backbone.state, strict=False)
    adapted = PeftModel.from_pretrained(plain, model / "adapter").eval()
    pictures = list(sources(lab, phantom_folder, "test").values())[:4]
    stored = [np.array(Image.open(path).convert("L")) for path in pictures]
    batch = torch.stack([evaluated(image, tuned.preprocessing).float() for image in stored])
    seen = normalised(batch, tuned.preprocessing)
    with torch.no_grad():
        torch.testing.assert_close(adapted(seen), tuned.model(seen), rtol=1e-5, atol=1e-5)


def test_the_backbone_beside_an_adapter_costs_no_disk(lab: Path) -> None:
    ours = lab / "lora" / "model" / "backbone" / "model.safetensors"
    assert ours.samefile(lab / "backbone" / "model" / "model.safetensors")


def test_an_adapter_refuses_another_backbone(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], phantom_folder: Path
) -> None:
    moved = tmp_path / "lora"
    shutil.copytree(lab / "lora", moved)
    other = ("--image-size", 32, "--patch", 8, "--batch", 16, "--epochs", 1, "--words", 200)
    place = tmp_path / "other"
    assert run("pretrain", lab / "store", "--run", place, "--model", "tiny", *other) == 0
    swapped = moved / "model" / "backbone" / "model.safetensors"
    swapped.unlink()
    shutil.copy(place / "model" / "model.safetensors", swapped)
    capsys.readouterr()
    assert run("predict", moved, phantom_folder / "dicom", "--out", tmp_path / "a.csv") == 2
    assert "belongs to the backbone" in capsys.readouterr().err


def test_predict_answers_for_pictures_and_names_what_it_cannot_read(
    lab: Path, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(phantom_folder / "dicom", mixed / "dicom")
    picture = next(iter(sources(lab, phantom_folder, "test").values()))
    shutil.copy(picture, mixed / "picture.png")
    (mixed / "notes.txt").write_text("not a picture")
    out, maps = tmp_path / "answers.csv", tmp_path / "maps"
    assert run("predict", lab / "lora", mixed, "--out", out, "--saliency", maps) == 1
    with out.open() as file:
        rows = list(csv.DictReader(file))
    names = {Path(row["file"]).name for row in rows}
    assert names == {"picture.png", *(path.name for path in (mixed / "dicom").iterdir())}
    assert all(0 <= float(row["Effusion"]) <= 1 for row in rows)
    assert "notes.txt" in capsys.readouterr().err
    assert len(list(maps.glob("*.png"))) == len(rows)


def test_another_evaluation_does_not_move_what_predict_calls(lab: Path) -> None:
    before = load_tuned(lab / "linear").thresholds
    assert any(threshold is not None for threshold in before.values())
    given = ("--rule", "sensitivity>=0.99", "--labels", "Effusion", "--resamples", 20)
    assert run("evaluate", lab / "linear", *given) == 0
    assert load_tuned(lab / "linear").thresholds == before


def test_evaluate_scores_runs_and_their_differences(lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "difference.json"
    given = ("--out", out, "--resamples", 50)
    assert run("evaluate", lab / "lora", lab / "full", *given) == 0
    pair = json.loads(out.read_text())["pairs"][0]
    low, high = pair["mean"]["difference"]["low"], pair["mean"]["difference"]["high"]
    value = pair["mean"]["difference"]["value"]
    assert low <= value <= high
    assert f"{value:+.3f}" in out.with_suffix(".html").read_text()


def test_the_same_command_twice_gives_the_same_bits(lab: Path, tmp_path: Path) -> None:
    given = ("--steps", 6, "--batch", 8, "--evaluations", 2)
    again = tmp_path / "again"
    init = ("--init", lab / "backbone", "--tuner", "lora")
    assert run("finetune", lab / "store", "--run", again, *init, *given, "--workers", 2) == 0
    for file in ("metrics.jsonl", "model/adapter/adapter_model.safetensors"):
        assert (again / file).read_bytes() == (lab / "lora" / file).read_bytes()


def test_a_finished_run_is_not_trained_again(lab: Path) -> None:
    before = (lab / "full" / "results.json").stat().st_mtime_ns
    given = ("--init", lab / "backbone", "--steps", 6, "--batch", 8, "--evaluations", 2)
    assert run("finetune", lab / "store", "--run", lab / "full", "--tuner", "full", *given) == 0
    assert (lab / "full" / "results.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("objective", ["image", "report"])
def test_images_alone_and_reports_alone_train(lab: Path, tmp_path: Path, objective: str) -> None:
    small = ("--image-size", 32, "--patch", 8, "--batch", 16, "--epochs", 1, "--words", 200)
    given = ("--objective", objective, "--model", "tiny", "--run", tmp_path / "run")
    assert run("pretrain", lab / "store", *given, *small) == 0
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").open()]
    terms = {name for row in rows for name in row} & {"image", "report"}
    assert terms == {objective}
