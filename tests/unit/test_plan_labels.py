"""`radlearn plan-labels` from folders of runs to a plan: what is on one curve, and what is not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from radlearn.cli import main


def write_run(
    path: Path, labels: int, seed: int, skill: float, names: tuple[str, ...] = ("a", "b"),
    **config: Any,
) -> Path:  # fmt: skip
    """A finished run of `labels` training records that tells the classes apart by `skill`."""
    truths, rng = np.random.default_rng(0), np.random.default_rng((labels, seed))
    n = 120
    columns: dict[str, Any] = {
        "split": ["test"] * n,
        "id": [f"i{at:03d}" for at in range(n)],
        "patient": [f"p{at // 2}" for at in range(n)],
    }
    for name in names:
        truth = (truths.random(n) < 0.4).astype(float)
        logit = rng.normal(size=n) + skill * (truth - 0.5)
        columns |= {f"label:{name}": truth, f"logit:{name}": logit}
        columns[f"probability:{name}"] = 1 / (1 + np.exp(-logit))
    path.mkdir()
    pl.DataFrame(columns).write_parquet(path / "predictions.parquet")
    results = {"records": {"train": labels}, "fingerprints": {"test": "abc"}} | config.pop(
        "results", {"finished": True}
    )
    (path / "results.json").write_text(json.dumps(results))
    config = {"mission": "finetuning", "seed": seed, "fraction": labels / 1000} | config
    (path / "config.json").write_text(json.dumps(config))
    return path


def grid(folder: Path, amounts: tuple[int, ...] = (50, 200, 1000)) -> list[str]:
    return [
        str(write_run(folder / f"n{n}s{seed}", n, seed, 2.5 - 8 * n**-0.5))
        for n in amounts
        for seed in range(2)
    ]


def plan(*arguments: object) -> int:
    return main(["plan-labels", *map(str, arguments), "--resamples", "200"])


def test_the_plan_is_printed_written_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.json"
    assert plan(*grid(tmp_path), "--times", 2, 10, "--out", out) == 0
    found = json.loads(out.read_text())
    assert (found["metric"], found["label"], found["mean_of"]) == ("AUROC", "mean", ["a", "b"])
    assert [one["labels"] for one in found["amounts"]] == [50, 200, 1000]
    assert [(one["times"], one["labels"]) for one in found["predictions"]] == [
        (2, 2000),
        (10, 10000),
    ]
    twice, tenfold = (one["score"] for one in found["predictions"])
    assert twice["value"] <= tenfold["value"] <= tenfold["high"] <= 1
    first = found["amounts"][0]["score"]["value"]
    scores = [run["score"] for run in found["runs"] if run["labels"] == 50]
    assert first == pytest.approx(np.mean(scores))
    page = out.with_suffix(".html").read_text()
    assert f"{tenfold['value']:.3f}" in page and "carried on" in page
    assert "data:image/svg" in page and "<script" not in page
    told = capsys.readouterr().out
    assert "10,000" in told and "a back-test needs four" in told


def test_one_label_and_a_back_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.json"
    assert plan(*grid(tmp_path, (50, 100, 300, 1000)), "--label", "b", "--out", out) == 0
    found = json.loads(out.read_text())
    assert (found["label"], found["back_test"]["labels"]) == ("b", 1000)
    assert "back-test: for 1,000 labels" in " ".join(capsys.readouterr().out.split())


def test_the_same_runs_give_the_same_plan(tmp_path: Path) -> None:
    runs = grid(tmp_path)
    for name in ("one", "two"):
        assert plan(*runs, "--out", tmp_path / f"{name}.json") == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ({"labels": 200}, "a learning curve needs 3 different numbers of labels"),
        ({"tuner": "full"}, "was made with tuner = None"),
        ({"task": "translation"}, "evaluate runs of one kind together"),
        ({"results": {"finished": False}}, "is not finished"),
        ({"results": {"finished": True, "fingerprints": {"test": "x"}}}, "fingerprints of their"),
        ({"results": {"finished": True, "records": {}}}, "how many records were trained on"),
        ({"names": ("a", "c")}, "scored on other records or labels"),
        ({"labels": 50, "seed": 0}, "3 different numbers"),
    ],
)
def test_runs_that_are_on_no_curve_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: dict[str, Any], reason: str
) -> None:
    runs = grid(tmp_path, (50, 200))
    given = {"labels": 1000, "seed": 5, "skill": 2.0} | last
    assert plan(*runs, write_run(tmp_path / "last", **given)) == 2
    told = capsys.readouterr().err.strip()
    assert reason in told and told.count("\n") == 0


def test_a_run_given_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = grid(tmp_path)
    assert plan(*runs, runs[0]) == 2
    assert "give each run once" in capsys.readouterr().err


def test_settings_out_of_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = grid(tmp_path)
    assert plan(*runs, "--times", 0.5) == 2
    assert "--times" in capsys.readouterr().err
    assert plan(*runs, "--label", "gout") == 2
    assert "no label 'gout'; they have: a, b" in capsys.readouterr().err
    assert plan() == 2
    assert "no run was given" in capsys.readouterr().err
