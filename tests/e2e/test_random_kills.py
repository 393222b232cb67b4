"""Every mission killed twenty times at random moments ends with the bits of one never stopped.

`pytest -m slow -s tests/e2e/test_random_kills.py` prints the table of docs/reliability.md;
RADLEARN_KILLS sets another number of kills.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from e2e.conftest import run
from e2e.test_stopping import started
from radlearn.records.transforms import generator

KILLS = int(os.environ.get("RADLEARN_KILLS", "20"))
STEPS = 40
PATIENCE = 600.0  # seconds for a whole run
TUNED = ("--steps", STEPS, "--batch", 8, "--evaluations", 4)
TRANSLATED = ("--size", "tiny", "--misalign", 3, "--steps", STEPS, "--evaluations", 2)
SMALL = ("--model", "tiny", "--image-size", 32, "--patch", 8)

WAYS: dict[str, tuple[object, ...]] = {
    "pretraining": ("pretrain", "store", *SMALL, "--words", 200, "--batch", 16, "--epochs", 26),
    "lora": ("finetune", "store", "--init", "backbone", *TUNED),
    "full": ("finetune", "store", "--init", "backbone", "--tuner", "full", *TUNED),
    "segmentation": ("finetune", "store", "--init", "backbone", "--task", "segmentation", *TUNED),
    "nc+r": ("translate", "pairs", "--mode", "nc+r", *TRANSLATED),
    "c+r": ("translate", "pairs", "--mode", "c+r", *TRANSLATED),
    "munit": ("translate", "pairs", "--mode", "c+r", "--host", "munit", *TRANSLATED),
}


def command(lab: Path, way: str, folder: Path) -> list[str]:
    places = ("store", "pairs", "backbone")
    given = [str(lab / one) if one in places else str(one) for one in WAYS[way]]
    return [*given[:2], "--run", str(folder), *given[2:]]


def finished(folder: Path) -> bool:
    return (folder / "results.json").exists()


def kill_at_random(arguments: list[str], folder: Path, seconds: float) -> bool:
    """Whether the process was still at work when it was killed."""
    process = started(arguments)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0 and finished(folder)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_random_moments(lab: Path, tmp_path: Path, way: str) -> None:
    began = time.monotonic()
    whole = tmp_path / "whole"
    assert started(command(lab, way, whole)).wait(PATIENCE) == 0
    seconds = time.monotonic() - began
    weights = sorted(whole.glob("model/**/*.safetensors"))
    assert weights

    def compare(folder: Path) -> None:
        for file in [whole / "metrics.jsonl", whole / "predictions.parquet", *weights]:
            if file.exists():
                again = folder / file.relative_to(whole)
                assert again.read_bytes() == file.read_bytes(), (way, file.name)

    rng = generator(0x4B11, sorted(WAYS).index(way))
    kills = compared = 0
    folder = tmp_path / "killed"
    while kills < KILLS:
        kills += kill_at_random(command(lab, way, folder), folder, float(rng.uniform(0, seconds)))
        if finished(folder):
            compare(folder)
            compared += 1
            shutil.rmtree(folder)
    assert run(*command(lab, way, folder)) == 0
    compare(folder)
    print(f"\n| {way} | {kills} | {compared + 1} | {len(weights)} | the same |")
