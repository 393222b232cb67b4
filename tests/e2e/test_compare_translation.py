"""`radlearn compare` of translations by the real commands: store, runs, table; nothing twice."""

import json
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
