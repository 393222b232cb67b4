"""`radlearn bench` from the command line, as small as it gets; no time is asserted."""

import json
from pathlib import Path

import pytest

from radlearn.bench import finetuning
from radlearn.bench.figure import Setting
from radlearn.bench.run import FIGURES
from radlearn.cli import main


def test_every_figure_runs_and_the_json_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = finetuning.peaks

    def peaks(name: str, setting: Setting) -> dict[str, int]:
        return measured(name, setting) if name == "lora" else {}

    monkeypatch.setattr(finetuning, "peaks", peaks)
    file = tmp_path / "figures.json"
    flags = ["--size", "tiny", "--repeats", "1", "--baseline", "True", "--json", str(file)]
    assert main(["bench", *flags]) == 0
    found = json.loads(file.read_text())
    assert list(found["figures"]) == list(FIGURES)
    for name, figure in found["figures"].items():
        assert all(seconds > 0 for seconds in figure["median"].values()), name
        assert (figure["ratio"] is None) == (name in ("bootstrap", "help")), name
    assert set(found["figures"]["lora"]["memory"]) == {"ours", "plain"}
    assert 0 <= found["figures"]["infer"]["facts"]["largest difference in probability"] < 0.1
    assert "limits:" in capsys.readouterr().out


def test_scale_writes_its_page_and_removes_what_it_made(tmp_path: Path) -> None:
    out = tmp_path / "scale"
    flags = ["--records", "400", "--image-size", "32", "--repeats", "1", "--size", "tiny"]
    assert main(["bench", "scale", "--out", str(out), *flags]) in (0, 1)
    found = json.loads((out / "scale.json").read_text())
    assert found["stores"]["large"]["records"] == 400
    assert found["stores"]["large"]["run_seconds"] > 0
    assert len(found["steps"]["rank"]) == 2
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "scale.json"]
