"""Backbones of other families by the real commands: tuned, asked, imported and exported."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import timm
import torch
import transformers

from e2e.conftest import run
from radlearn.finetuning.tuned import load_tuned
from radlearn.models.backbone import BackboneConfig, build_backbone
from radlearn.models.model_folders import save_model
from radlearn.records.transforms import Preprocessing

COLOURS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CONVNEXT = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
DINOV2 = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14}
SWIN = {
    "img_size": 64,
    "patch_size": 4,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [1, 2],
}
SMALL = ("--steps", 2, "--batch", 4, "--evaluations", 1)


def convnext(folder: Path) -> Path:
    torch.manual_seed(0)
    model = transformers.ConvNextModel(transformers.ConvNextConfig(**CONVNEXT))
    model.save_pretrained(folder)
    said = {"size": {"shortest_edge": 64}, "crop_pct": 0.8, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(said | COLOURS))
    return folder


def dinov2(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.Dinov2WithRegistersConfig(**DINOV2, image_size=70)
    transformers.Dinov2WithRegistersModel(config).save_pretrained(folder)
    said = {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}}
    text = json.dumps(said | COLOURS | {"do_center_crop": True})
    (folder / "preprocessor_config.json").write_text(text)
    return folder


def swin(folder: Path) -> Path:
    torch.manual_seed(0)
    config = BackboneConfig("swin_tiny_patch4_window7_224", SWIN)
    save_model(folder, build_backbone(config), config, Preprocessing(64, 0.5, 0.25))
    return folder


MADE = {"convnext": convnext, "dinov2": dinov2, "swin": swin}
GIVEN = {
    "convnext": ("--tuner", "full", "--layer-decay", 0.7, "--augment", "strong"),
    "dinov2": ("--tuner", "lora", "--image-size", 42),
    "swin": ("--tuner", "linear", "--image-size", 96, "--channels", 1),
}


@pytest.mark.parametrize("name", MADE)
def test_tuned_asked_imported_and_exported(
    lab: Path, phantom_folder: Path, tmp_path: Path, name: str
) -> None:
    init = MADE[name](tmp_path / "theirs")
    place, answers, maps = tmp_path / "run", tmp_path / "answers.parquet", tmp_path / "maps"
    given = ("--init", init, *GIVEN[name], *SMALL)
    assert run("finetune", lab / "store", "--run", place, *given) == 0
    pictures = phantom_folder / "dicom"
    asked = ("--out", answers, "--saliency", maps, "--precision", "float32")
    assert run("predict", place, pictures, *asked) == 0
    rows = pl.read_parquet(answers)
    assert len(rows) == len(list(maps.glob("*.png"))) == len(list(pictures.iterdir()))
    assert np.isfinite(rows["Effusion"].to_numpy()).all()

    assert run("export", place, "--to", "timm", "--out", tmp_path / "timm") == 0
    theirs = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    tuned = load_tuned(place)
    seen = torch.randn(2, tuned.preprocessing.channels, *[tuned.preprocessing.size] * 2)
    with torch.no_grad():
        torch.testing.assert_close(theirs(seen), tuned.model(seen), rtol=1e-5, atol=1e-5)

    assert run("import", init, "--out", tmp_path / "ours") == 0
    assert run("export", tmp_path / "ours", "--to", "timm", "--out", tmp_path / "plain") == 0
    again = ("--init", tmp_path / "ours", *GIVEN[name], *SMALL)
    assert run("finetune", lab / "store", "--run", tmp_path / "again", *again) == 0
    assert load_tuned(tmp_path / "again").preprocessing == tuned.preprocessing


def test_preprocessing_of_the_folder_is_what_the_run_uses(lab: Path, tmp_path: Path) -> None:
    init = convnext(tmp_path / "theirs")
    place = tmp_path / "run"
    given = ("--init", init, "--tuner", "linear", *SMALL)
    assert run("finetune", lab / "store", "--run", place, *given) == 0
    found = load_tuned(place).preprocessing
    means, stds = tuple(COLOURS["image_mean"]), tuple(COLOURS["image_std"])
    assert found == Preprocessing(64, means, stds, 3, 80)


def test_a_named_architecture_starts_at_random_and_by_its_own_file(
    lab: Path, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    named = ("--model", "test_convnext", "--tuner", "full", "--image-size", 64, *SMALL)
    assert run("finetune", lab / "store", "--run", place, *named) == 0
    weights = place / "model" / "backbone" / "model.safetensors"
    again = tmp_path / "again"
    assert run("finetune", lab / "store", "--run", again, "--init", weights, *named) == 0
    assert json.loads((again / "results.json").read_text())["finished"]


def test_a_size_that_cuts_patches_is_refused(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--init", dinov2(tmp_path / "theirs"), "--image-size", 64, *SMALL)
    assert run("finetune", lab / "store", "--run", tmp_path / "run", *given) == 2
    assert "the nearest sizes are 56 or 70" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_swin_is_no_mae(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = swin(tmp_path / "theirs")
    assert run("export", place, "--to", "mae", "--out", tmp_path / "mae") == 2
    assert "plain ViT" in capsys.readouterr().err
    given = ("--init", place, "--run", tmp_path / "run", "--model", "tiny", "--epochs", 1)
    assert run("pretrain", lab / "store", *given) == 2
    assert "\n" not in capsys.readouterr().err.strip()
