"""A command that is killed goes on where it was, and ends with the bits of one never stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.conftest import run

STEPS = 40


def command(lab: Path, folder: Path, mission: str) -> list[str]:
    if mission == "pretrain":
        given = ("--model", "tiny", "--image-size", 32, "--patch", 8, "--words", 200)
        flags = ("--batch", 16, "--epochs", 26, *given)
    elif mission == "translate":
        flags = ("--mode", "c+r", "--size", "tiny", "--misalign", 3, "--steps", STEPS)
    else:
        flags = ("--init", lab / "backbone", "--steps", STEPS, "--batch", 8, "--evaluations", 4)
    store = lab / ("pairs" if mission == "translate" else "store")
    return [mission, *(str(one) for one in (store, "--run", folder, *flags))]


def started(arguments: list[str]) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "radlearn.cli", *arguments]
    return subprocess.Popen(call, env=environment, stderr=subprocess.PIPE)


@pytest.mark.parametrize("mission", ["pretrain", "finetune", "translate"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_killed_and_started_again(lab: Path, tmp_path: Path, mission: str, how: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert started(command(lab, whole, mission)).wait(300) == 0
    process = started(command(lab, killed, mission))
    rows = killed / "metrics.jsonl"
    until = time.monotonic() + 300
    while not rows.exists() or len(rows.read_bytes().splitlines()) < STEPS // 3:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert not (killed / "results.json").exists(), "it ended before it was stopped"
    assert run(*command(lab, killed, mission)) == 0
    written = sorted(whole.glob("model/**/*.safetensors"))
    assert written
    for file in [whole / "metrics.jsonl", *written]:
        assert (killed / file.relative_to(whole)).read_bytes() == file.read_bytes(), file.name
