"""What a user gets wrong is answered by one clear line and no traceback."""

import csv
from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor

from e2e.conftest import run
from radlearn.cli import COMMANDS
from radlearn.engine.folder import RunFolder
from radlearn.engine.log import read_metrics
from radlearn.finetuning.terms import classification_loss

SCREEN = 55


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a failed command printed."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines, "nothing was said"
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_shows_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command.split(), "--help") == 0
    text = capsys.readouterr().out
    assert f"Example: radlearn {command} " in text
    assert len(text.splitlines()) <= SCREEN


def test_a_wrong_command_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("preprare") == 2
    assert "prepare" in said(capsys)


def test_wrong_paths(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nothing"
    for arguments in (
        ("prepare", "folder", missing, tmp_path / "store", "--size", 32),
        ("pretrain", missing, "--run", tmp_path / "run"),
        ("finetune", missing, "--run", tmp_path / "run"),
        ("finetune", lab / "store", "--run", tmp_path / "run", "--init", missing),
        ("evaluate", missing),
        ("predict", missing, lab),
        ("predict", lab / "lora", missing),
        ("compare", missing, "--out", tmp_path / "out"),
    ):
        assert run(*arguments) == 2, arguments
        assert str(missing) in said(capsys), arguments


def test_an_empty_folder(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("prepare", "folder", empty, tmp_path / "store", "--size", 32) == 2
    assert "empty" in said(capsys)
    assert run("predict", lab / "lora", empty) == 2
    assert "holds no files" in said(capsys)


def test_a_table_without_the_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (32, 32)).save(tmp_path / "a.png")
    with (tmp_path / "table.csv").open("w") as file:
        csv.writer(file).writerows([["picture", "sick"], ["a.png", 1]])
    prepare = ("prepare", "folder", tmp_path, tmp_path / "store", "--size", 32)
    named = ("--table", tmp_path / "table.csv", "--image-column", "image")
    assert run(*prepare, *named) == 2
    line = said(capsys)
    assert "image" in line and "picture" in line


def test_stores_of_different_sizes(
    lab: Path, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    table = phantom_folder / "records.csv"
    labels = ("--label-columns", "Effusion")
    prepare = ("prepare", "folder", phantom_folder, other, "--table", table, "--size", 32)
    assert run(*prepare, *labels) == 0
    assert run("finetune", lab / "store", other, "--run", tmp_path / "run") == 2
    line = said(capsys)
    assert "different sizes" in line and "64" in line and "32" in line


def test_a_run_that_is_not_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder.begin(tmp_path / "run", "finetuning", {}).close()
    for arguments in (("evaluate", tmp_path / "run"), ("predict", tmp_path / "run", tmp_path)):
        assert run(*arguments) == 2
        assert "not finished" in said(capsys)


def test_a_setting_out_of_range(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune = ("finetune", lab / "store", "--run", tmp_path / "run")
    assert run(*finetune, "--fraction", 0) == 2
    assert "--fraction" in said(capsys)
    assert run(*finetune, "--labels", "Gout") == 2
    assert "Gout" in said(capsys)


def test_nothing_readable_to_predict(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    assert run("predict", lab / "lora", tmp_path / "notes.txt") == 2
    assert "could be read" in said(capsys)


def test_memory_that_runs_out_in_training_leaves_a_run_that_goes_on(
    lab: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = 0

    def fails(*given: object) -> Tensor:
        nonlocal losses
        losses += 1
        if losses == 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return classification_loss(*given)  # type: ignore[arg-type]

    small = ("--steps", 6, "--batch", 8, "--evaluations", 1)
    command = ("finetune", lab / "store", "--run", tmp_path / "run", "--tuner", "linear", *small)
    with monkeypatch.context() as patched:
        patched.setattr("radlearn.finetuning.multi_label.classification_loss", fails)
        assert run(*command) == 2
    assert said(capsys).startswith("radlearn finetune: memory ran out; a smaller --batch")
    assert run(*command) == 0
    steps = [row["step"] for row in read_metrics(tmp_path / "run") if "classification" in row]
    assert steps == sorted(set(steps)) and steps[-1] == 6
