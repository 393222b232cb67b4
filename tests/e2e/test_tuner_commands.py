"""Tuners from the command line: trained, predicted with, exported; the page's Python runs."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from conftest import run
from radlearn.finetuning.tuned import load_tuned

PAGE = Path(__file__).parents[2] / "docs" / "tuners.md"
STEPS = ("--steps", 4, "--batch", 8, "--evaluations", 2)


def finetune(lab: Path, out: Path, *flags: object) -> int:
    given = ("finetune", lab / "store", "--run", out, "--init", lab / "backbone", *STEPS)
    return run(*given, *flags)


@pytest.mark.parametrize("tuner", ["adalora", "prompt-deep"])
def test_a_tuner_trains_and_answers_as_it_did_in_training(
    tuner: str, lab: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert finetune(lab, out, "--tuner", tuner, "--rank", 2, "--precision", "float32") == 0
    results = json.loads((out / "results.json").read_text())
    assert results["parameters_trained"] > 0 and results["peak_memory"] > 10**8
    assert results["seconds_per_step"] > 0
    terms = (out / "metrics.jsonl").read_text()
    assert ("orthogonality" in terms) == (tuner == "adalora")
    image = next(p for p in sorted(phantom_folder.rglob("*.png")) if "mask" not in str(p))
    assert run("predict", out, image, "--out", tmp_path / "table.csv") == 0
    assert len(pl.read_csv(tmp_path / "table.csv")) == 1
    assert load_tuned(out).labels
    refused = run("export", out, "--to", "timm", "--out", tmp_path / "timm")
    assert refused == (2 if tuner == "prompt-deep" else 0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--tuner", "lroa"), "no tuner is called 'lroa'"),
        (("--tuner", "lora-all", "--where", "fc9"), "no linear layers matching 'fc9'"),
        (("--tuner", "lora-all", "--where", "(("), "not a regular expression"),
        (("--tuner", "vera", "--tuner-options", "colour=3"), "no option 'colour'"),
        (("--tuner", "vera", "--tuner-options", "colour"), "name=value"),
        (("--tuner", "dora", "--tuner-options", "megatron_core=os"), "no option 'megatron_core'"),
        (("--tuner", "linear", "--where", "qkv"), "no use for --where"),
        (("--tuner", "dora", "--rank", "100000"), "rank of 100000"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_a_line(
    flags: tuple[str, ...], said: str, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(lab, tmp_path / "run", *flags) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "results.json").exists()


def test_the_python_of_the_page_runs(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").symlink_to(lab)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), found)
    assert len(found["every_image_by_its_own"]) == 3  # type: ignore[arg-type]
    assert found["labels"] and found["trains"]
