"""`radlearn compare` by the real commands: store, runs, table; nothing twice, kill -9 or not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.conftest import run
from radlearn.records.phantom_heads import write_heads

RECIPE = """
title = "Phantom heads"
[about]
cost = "seconds"
expected = "nothing"
[prepare]
folder = "${HEADS}"
source = ["T1"]
target = ["T2"]
size = 32
slices = [0.4, 0.6]
val = 0.0
[stores.head001]
test_patients = ["head001"]
[translate]
size = "tiny"
steps = 2
evaluations = 2
[translate.modes."nc+r"]
[translate.modes.p2p]
[translate.levels.level5]
misalign = 5
[grid]
mode = ["nc+r", "p2p"]
level = ["level5"]
store = ["head001"]
seed = [0]
"""


def test_a_grid_of_translations_ends_in_a_table_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heads(tmp_path / "heads", 2, 32, 3)
    monkeypatch.setenv("HEADS", str(tmp_path / "heads"))
    (tmp_path / "heads.toml").write_text(RECIPE)
    given = ("compare", tmp_path / "heads.toml", "--out", tmp_path / "out", "--resamples", 50)
    given = (*given, "--jobs", 1)
    assert run(*given, "--table-only", "True") == 2
    assert run(*given) == 0
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["mode"] for row in written["rows"]] == ["nc+r", "p2p"]
    assert list(written["differences"][0]["scores"]["paper_psnr"]["patients"]) == ["head001"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "registered" in page and "As training goes on, level5" in page
    runs = tmp_path / "out" / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")}
    assert len(before) == 3, "two generators and a registration"
    assert run(*given) == 0
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")} == before


@pytest.mark.slow
def test_a_grid_that_was_killed_finishes_and_repeats_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heads(tmp_path / "heads", 2, 32, 3)
    monkeypatch.setenv("HEADS", str(tmp_path / "heads"))
    seeds = RECIPE.replace("seed = [0]", "seed = [0, 1]").replace("steps = 2", "steps = 40")
    (tmp_path / "heads.toml").write_text(seeds)
    out = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "radlearn.cli", "compare", str(tmp_path / "heads.toml")),
        *("--out", str(out), "--resamples", "50", "--jobs", "2"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (before := times(out)) and process.poll() is None:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < len(before) < 4, "killed in the middle"
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    after = times(out)
    assert len(after) == 4 and before.items() <= after.items()
    assert json.loads((out / "results.json").read_text())["cells"] == {"finished": 4, "all": 4}


def times(out: Path) -> dict[Path, int]:
    """When each finished cell was finished."""
    return {path: path.stat().st_mtime_ns for path in out.glob("runs/*/results.json")}
