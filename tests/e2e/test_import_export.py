"""Runs of the lab in other tools' formats, and published files as models that predict."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from e2e.conftest import run
from radlearn.files import write_json
from radlearn.finetuning.tuned import load_tuned
from radlearn.generators.resnet import resnet
from radlearn.models.checkpoints import read_checkpoint
from radlearn.models.lineage import learnt_from


def parity(said: str) -> float:
    """The difference that a command printed."""
    (line,) = (line for line in said.splitlines() if line.startswith("parity: "))
    return float(line.split("largest difference ")[1].split()[0])


@pytest.mark.parametrize(
    ("name", "to"),
    [
        *(("lora", to) for to in ("timm", "peft", "medpeft")),
        *(("full", to) for to in ("timm", "medpeft")),
        ("linear", "timm"),
        *(("backbone", to) for to in ("timm", "mrm", "mae")),
    ],
)
def test_an_export_computes_the_same(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, to: str
) -> None:
    out = tmp_path / "out"
    assert run("export", lab / name, "--to", to, "--out", out) == 0
    assert parity(capsys.readouterr().out) <= 1e-5
    facts = json.loads((out / "export.json").read_text())
    assert facts["preprocessing"]["mean"] == 0.4978
    store = json.loads((lab / "store" / "store.json").read_text())
    assert facts["licences"] == store["sources"] and store["sources"]
    # a second time replaces the first
    assert run("export", lab / name, "--to", to, "--out", out) == 0


def test_no_licence_is_lost_from_pretraining_to_export(
    lab: Path, tmp_path: Path, phantom_folder: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(lab / "store", store)
    info = json.loads((store / "store.json").read_text())
    info["sources"] = [{"name": "Theirs", "licence": "CC BY-NC", "terms": "no commercial use"}]
    write_json(store / "store.json", info)
    small = ("--steps", 2, "--batch", 8, "--evaluations", 1)
    tuned, more = tmp_path / "tuned", tmp_path / "more"
    assert run("finetune", store, "--run", tuned, "--init", lab / "backbone", *small) == 0
    assert run("export", tuned, "--to", "timm", "--out", tmp_path / "timm") == 0
    assert run("finetune", lab / "store", "--run", more, "--init", tmp_path / "timm", *small) == 0
    assert run("export", more, "--to", "medpeft", "--out", tmp_path / "out") == 0
    page = (more / "report.html").read_text(encoding="utf-8")
    assert "no commercial use" in page
    for place in ("timm", "out"):
        told = json.loads((tmp_path / place / "export.json").read_text())["licences"]
        assert [one["name"] for one in told][-1 if place == "timm" else 1] == "Theirs"
    again = read_checkpoint(tmp_path / "out" / "LoRA.pth")
    assert "Theirs" in {one["name"] for one in learnt_from(again)}


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_classifier_runs_in_onnxruntime(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra radlearn[onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra radlearn[onnx]")
    out = tmp_path / "served"
    assert run("export", lab / name, "--to", "onnx", "--out", out) == 0
    assert parity(capsys.readouterr().out) < 1e-4
    session = onnxruntime.InferenceSession(out / "model.onnx")
    told = json.loads(session.get_modelmeta().custom_metadata_map["radlearn"])
    for count in (1, 4):
        images = np.zeros((count, 3, 32, 32), np.float32)
        (logits,) = session.run(None, {"images": images})
        assert logits.shape == (count, len(told["labels"]))
    assert told["preprocessing"]["size"] == 32


def test_a_generator_goes_to_onnx_and_back_to_its_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    weights = resnet("tiny", 1, 1, 2).state_dict()
    torch.save(weights, tmp_path / "netG_A2B.pth")
    made = tmp_path / "made"
    file = tmp_path / "netG_A2B.pth"
    assert run("import", file, "--out", made, "--size", 32, "--source", "T1") == 0
    assert "[-1, 1]" in capsys.readouterr().out
    exam = tmp_path / "exams" / "ann"
    exam.mkdir(parents=True)
    values = np.random.default_rng(0).random((32, 32), np.float32)
    np.save(exam / "T1.npy", values)
    assert run("predict", made, tmp_path / "exams", "--out", tmp_path / "answers") == 0
    assert any((tmp_path / "answers").rglob("*_B*"))
    assert run("export", made, "--to", "reggan") == 0
    again = torch.load(made / "exported" / "reggan" / "netG_A2B.pth", weights_only=True)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[k], weights[k]) for k in weights)
    pytest.importorskip("onnxscript", reason="needs the extra radlearn[onnx]")
    capsys.readouterr()
    assert run("export", made, "--to", "onnx") == 0
    assert parity(capsys.readouterr().out) < 1e-4


def test_an_imported_backbone_starts_both_missions(lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "mrm"
    assert run("export", lab / "backbone", "--to", "mrm", "--out", out) == 0
    made = tmp_path / "made"
    assert run("import", out / "MRM.pth", "--out", made, "--decoder-heads", 4) == 0
    assert read_checkpoint(made).kind == "MRM"
    tuned = ("finetune", lab / "store", "--run", tmp_path / "tuned", "--tuner", "linear")
    assert run(*tuned, "--init", made, "--steps", 2, "--batch", 4) == 0
    pretrained = ("pretrain", lab / "store", "--run", tmp_path / "more", "--init", made)
    small = ("--model", "tiny", "--image-size", 32, "--patch", 8, "--batch", 16, "--epochs", 0.1)
    assert run(*pretrained, *small, "--words", 200) == 0


def test_an_exported_lora_comes_back_and_answers_alike(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", lab / "lora", "--to", "medpeft", "--out", tmp_path / "out") == 0
    labels = json.loads((lab / "lora" / "config.json").read_text())["labels"]
    made = tmp_path / "made"
    file = tmp_path / "out" / "LoRA.pth"
    assert run("import", file, "--out", made, "--labels", *labels) == 0
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = (load_tuned(of).model(images) for of in (lab / "lora", made))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)
    Image.fromarray(np.full((32, 32), 99, np.uint8)).save(tmp_path / "a.png")
    assert run("predict", made, tmp_path / "a.png", "--out", tmp_path / "a.csv") == 0
    assert set(labels) <= set(pl.read_csv(tmp_path / "a.csv").columns)
    again = tmp_path / "again"
    assert run("export", made, "--to", "medpeft", "--out", again) == 0
    first, second = (torch.load(p, weights_only=True)["model"] for p in (file, again / "LoRA.pth"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("full", "peft", "has no adapter"),
        ("lora", "mrm", "has nothing to export to mrm"),
        ("backbone", "onnx", "has nothing to export to onnx"),
        ("store", "timm", "is not a run"),
    ],
)
def test_what_cannot_be_exported_is_said(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, to: str, said: str
) -> None:
    assert run("export", lab / name, "--to", to, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_export_that_computes_something_else_is_not_kept(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    create = timm.create_model

    def other(*arguments: object, **more: object) -> torch.nn.Module:
        model = create(*arguments, **more)
        if "local-dir" in str(arguments[0]):
            torch.nn.init.normal_(model.head.weight)
        return model

    monkeypatch.setattr(timm, "create_model", other)
    assert run("export", lab / "lora", "--to", "timm", "--out", tmp_path / "out") == 2
    assert "computes something else" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_users_is_overwritten(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("kept")
    assert run("export", lab / "lora", "--to", "timm", "--out", tmp_path) == 2
    torch.save(resnet("tiny", 1, 1, 2).state_dict(), tmp_path / "G")
    assert run("import", tmp_path / "G", "--out", tmp_path) == 2
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_file_without_out_is_only_described(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = lab / "lora" / "model" / "backbone" / "model.safetensors"
    before = sorted(tmp_path.iterdir())
    assert run("import", weights) == 0
    said = capsys.readouterr().out
    assert "192 wide, 6 layers, 3 heads" in said and "not matched    nothing" in said
    assert "taken for MAE's encoder" in said and "mean 0.449" in said
    assert run("import", weights, "--preprocessing", "mrm") == 0
    said = capsys.readouterr().out
    assert "mean 0.4978" in said and "taken for" not in said
    assert sorted(tmp_path.iterdir()) == before
    assert run("import", tmp_path / "absent") == 2
