"""Groups from a store's own columns, and a plan of labels, by the commands of a lab."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from e2e.conftest import run
from radlearn.records.store import open_store


@pytest.fixture
def lora(lab: Path, tmp_path: Path) -> Path:
    """A copy of the run, since its evaluation changes."""
    return Path(shutil.copytree(lab / "lora", tmp_path / "lora"))


def test_groups_come_from_the_store_by_the_records_ids(lab: Path, lora: Path) -> None:
    given = ("--groups", "sex", "age:0-50", "--resamples", 20)
    assert run("evaluate", lora, *given) == 0
    sex, age = json.loads((lora / "evaluation.json").read_text())["groups"]["groupings"]
    said = pl.read_parquet(lora / "predictions.parquet").filter(pl.col("split") == "test")
    rows = open_store(lab / "store").rows.join(said.select("id"), on="id")
    counted = dict(rows["sex"].fill_null("unknown").value_counts().iter_rows())
    assert {group["name"]: group["records"] for group in sex["groups"]} == counted
    elder = next(group for group in age["groups"] if group["name"] == "50+")
    assert elder["records"] == (rows["age"] >= 50).sum()
    assert "By age" in (lora / "groups.html").read_text()


def test_stores_that_moved_are_found_with_a_flag(
    lab: Path, lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((lora / "config.json").read_text()) | {"stores": ["gone/store"]}
    (lora / "config.json").write_text(json.dumps(config))
    given = ("--groups", "sex", "--resamples", 20)
    assert run("evaluate", lora, *given) == 2
    assert "say where it is now with --stores" in capsys.readouterr().err
    assert run("evaluate", lora, *given, "--stores", lab / "store") == 0
    assert run("evaluate", lora, "--groups", "shoe", "--stores", lab / "store") == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no column shoe" in told and "sex, age, view, store" in told


def test_other_stores_are_refused(
    lora: Path, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, table = tmp_path / "other", phantom_folder / "records.csv"
    prepare = ("prepare", "folder", phantom_folder, other, "--table", table, "--size", 32)
    assert run(*prepare, "--label-columns", "Effusion") == 0
    assert run("evaluate", lora, "--groups", "sex", "--stores", other) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "are not in" in told and "--stores" in told


def test_a_plan_from_three_shares_of_the_labels(lab: Path, tmp_path: Path) -> None:
    runs = []
    for share in (0.3, 0.6, 1.0):
        runs.append(tmp_path / f"share{share}")
        given = ("--fraction", share, "--steps", 2, "--batch", 8, "--evaluations", 1)
        start = ("--init", lab / "backbone", "--tuner", "linear")
        assert run("finetune", lab / "store", "--run", runs[-1], *start, *given) == 0
    out = tmp_path / "plan.json"
    assert run("plan-labels", *runs, "--resamples", 100, "--out", out) == 0
    found = json.loads(out.read_text())
    trained = [json.loads((one / "results.json").read_text())["records"]["train"] for one in runs]
    assert [one["labels"] for one in found["amounts"]] == trained
    assert any("no amount has two seeds" in line for line in found["notes"])
    assert out.with_suffix(".html").exists()
