"""Disks that fill up, updates that go wrong and states cut short: one clear line, then it goes on.

Every run here has to end with the bits of one that nothing happened to.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from e2e.conftest import run
from e2e.test_stopping import started
from limits import files_up_to
from radlearn.engine import loop
from radlearn.engine.folder import RunFolder
from radlearn.engine.log import read_metrics

STEPS, BAD = 12, 8


def command(lab: Path, folder: Path, mission: str) -> tuple[object, ...]:
    if mission == "pretrain":
        small = ("--model", "tiny", "--image-size", 32, "--patch", 8, "--words", 200)
        return (mission, lab / "store", "--run", folder, *small, "--batch", 16, "--epochs", 8)
    if mission == "translate":
        flags = ("--mode", "c+r", "--size", "tiny", "--steps", STEPS, "--evaluations", 1)
        return (mission, lab / "pairs", "--run", folder, *flags)
    tuned = ("--init", lab / "backbone", "--batch", 8, "--evaluations", 2)
    return (mission, lab / "store", "--run", folder, "--steps", STEPS, *tuned)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


def same_bits(one: Path, other: Path) -> None:
    written = sorted(one.glob("model/**/*.safetensors"))
    assert written
    for file in [one / "metrics.jsonl", *written]:
        assert (other / file.relative_to(one)).read_bytes() == file.read_bytes(), file.name


@pytest.fixture(scope="module")
def whole(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(*command(lab, folder, "finetune")) == 0
    return folder


def broken_at(call: int) -> Callable[..., torch.Tensor]:
    """The norm of the gradient, which is no number at the `call`-th update."""
    calls = 0
    norm = loop.gradient_norm

    def of(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return torch.tensor(torch.nan) if calls == call else norm(parameters)

    return of


def test_a_bad_update_stops_by_name_and_the_run_goes_on(
    lab: Path, whole: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given = command(lab, tmp_path / "run", "finetune")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "gradient_norm", broken_at(BAD))
        assert run(*given) == 2
    line = said(capsys)
    assert f"is no number at step {BAD} (records " in line and "--on-fault skip" in line
    assert [file.name for file in (tmp_path / "run" / "state").glob("step-*")]
    assert run(*given) == 0
    same_bits(whole, tmp_path / "run")


@pytest.mark.parametrize("mission", ["pretrain", "finetune", "translate"])
def test_a_bad_update_is_left_out_where_asked(
    lab: Path, tmp_path: Path, mission: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(loop, "gradient_norm", broken_at(BAD))
    given = command(lab, tmp_path / "run", mission)
    assert run(*given, "--on-fault", "skip") == 0
    assert "is no number at step" in capsys.readouterr().err
    skipped = [row.get("skipped", 0) for row in read_metrics(tmp_path / "run")]
    assert sum(skipped) == 1


def test_a_run_that_stopped_at_a_bad_update_may_go_on_without_it(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = command(lab, tmp_path / "run", "finetune")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "gradient_norm", broken_at(BAD))
        assert run(*given) == 2
    with monkeypatch.context() as patched:
        patched.setattr(loop, "gradient_norm", broken_at(BAD - STEPS // 2))
        assert run(*given, "--on-fault", "skip") == 0
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows if row.get("skipped")] == [BAD]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["on_fault"] == "skip"


@pytest.mark.parametrize("size", [100, 3_000, 30_000, 100_000])
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(
    lab: Path, whole: Path, tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    given = command(lab, tmp_path / "run", "finetune")
    with files_up_to(size):
        assert run(*given) == 2
    assert "File too large" in said(capsys)
    assert not list((tmp_path / "run").rglob("*.part"))
    assert run(*given) == 0
    same_bits(whole, tmp_path / "run")


@pytest.mark.parametrize("kind", ["folder", "mri-pairs"])
def test_a_store_on_a_full_disk_is_prepared_when_there_is_room(
    phantom_folder: Path, lab: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "folder":
        given = ("prepare", kind, phantom_folder, tmp_path / "store", "--size", 64, "--val", 0)
    else:
        pairs = ("--source", "T1", "--target", "T2", "--size", 32, "--val", 0, "--test", 0.34)
        given = ("prepare", kind, lab / "heads", tmp_path / "store", *pairs)
    with files_up_to(4_000):
        assert run(*given) == 2
    assert "cannot write" in said(capsys)
    assert not (tmp_path / "store" / "store.json").exists()
    assert run(*given) == 0
    assert run("check", tmp_path / "store") == 0


def test_states_cut_short_are_told_and_the_one_before_is_used(
    lab: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(whole, tmp_path / "run")
    given = command(lab, folder, "finetune")
    for name in ("results.json", "checksums.json"):
        (folder / name).unlink()
    states = sorted((folder / "state").glob("step-*.pt"))
    states[-1].write_bytes(states[-1].read_bytes()[:5000])
    with pytest.warns(UserWarning, match="state before it is used"):
        assert run(*given) == 0
    same_bits(whole, folder)
    (folder / "results.json").unlink()
    best = folder / "state" / "best.pt"
    best.write_bytes(best.read_bytes()[:5000])
    assert run(*given) == 2
    assert "best.pt" in said(capsys)


def test_a_second_process_on_a_run_is_sent_away(lab: Path, whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "results.json").unlink()
    told = json.loads((folder / "config.json").read_text())
    mission = told.pop("mission")
    first = RunFolder.begin(folder, mission, told)
    second = started([str(one) for one in command(lab, folder, "finetune")])
    _, printed = second.communicate(timeout=120)
    assert second.returncode == 2
    assert printed.decode().strip().endswith("wait for it or stop it")
    first.close()
