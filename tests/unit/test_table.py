"""The table of a grid: means over seeds, paired differences, and no mixing of splits."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from radlearn.errors import InputError
from radlearn.files import write_json
from radlearn.metrics.classification import mean_auroc
from radlearn.recipe import Recipe
from radlearn.table import contrasts, run_of, score_cells, write_table

LABELS = ("Edema", "Mass", "Rare")
GRID = {"init": ["mrm", "scratch"], "tuner": ["lora", "full"], "fraction": [1.0], "seed": [0, 1]}


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("Grid", {}, {}, {"mrm": {}}, {}, {"lora": {}, "full": {}}, GRID, {}, ("Mass",))


def finish(out: Path, recipe: Recipe, fingerprint: str = "abc") -> None:
    """Predictions of 60 records of 30 patients; mrm knows more than scratch."""
    rng = np.random.default_rng(0)
    truth = (rng.random((60, 3)) < 0.4).astype(float)
    truth[:, 2] = 0
    for number, cell in enumerate(recipe.cells()):
        noise = np.random.default_rng(number).standard_normal((60, 3))
        logit = (2.0 if cell.init == "mrm" else 0.2) * truth + noise
        columns: dict[str, object] = {
            "split": ["test"] * 60,
            "id": [f"r{i:02d}" for i in range(60)],
            "patient": [f"p{i // 2:02d}" for i in range(60)],
        }
        for at, name in enumerate(LABELS):
            columns[f"label:{name}"] = truth[:, at]
            columns[f"logit:{name}"] = logit[:, at]
            columns[f"probability:{name}"] = 1 / (1 + np.exp(-logit[:, at]))
        run = run_of(out, cell)
        run.mkdir(parents=True)
        pl.DataFrame(columns).write_parquet(run / "predictions.parquet")
        write_json(run / "results.json", {"finished": True, "fingerprints": {"test": fingerprint}})
        write_json(run / "config.json", recipe.flags(cell) | {"device": "cpu"})


def test_scores_are_means_over_seeds_of_the_labels_that_can_be_measured(
    tmp_path: Path, recipe: Recipe
) -> None:
    finish(tmp_path, recipe)
    rows = score_cells(recipe, tmp_path, resamples=200)
    assert [(row.init, row.tuner) for row in rows] == [
        ("mrm", "lora"), ("scratch", "lora"), ("mrm", "full"), ("scratch", "full")
    ]  # fmt: skip
    by_hand = []
    for seed in (0, 1):
        cell = next(c for c in recipe.cells() if (c.init, c.tuner, c.seed) == ("mrm", "lora", seed))
        table = pl.read_parquet(run_of(tmp_path, cell) / "predictions.parquet")
        scores, truth = (
            np.stack([table[f"{kind}:{name}"].to_numpy() for name in LABELS], 1)
            for kind in ("logit", "label")
        )
        by_hand.append(mean_auroc(scores, truth))
    assert rows[0].point[-1] == pytest.approx(np.mean(by_hand))
    interval = rows[0].interval(-1)
    assert interval.low < rows[0].point[-1] < interval.high


def test_differences_are_of_rows_that_differ_in_one_thing(tmp_path: Path, recipe: Recipe) -> None:
    finish(tmp_path, recipe)
    found = contrasts(score_cells(recipe, tmp_path, resamples=200), ["Mass", "mean of labels"])
    pairs = {(c.first, c.second) for c in found}
    assert ("scratch, lora", "mrm, lora") in pairs
    assert not any({"scratch, lora", "mrm, full"} == set(pair) for pair in pairs)
    gain = next(c for c in found if c[:2] == ("scratch, lora", "mrm, lora") and c.column != "Mass")
    assert gain.difference.low > 0 and gain.p < 0.05


def test_the_written_table_holds_the_scores(tmp_path: Path, recipe: Recipe) -> None:
    finish(tmp_path, recipe)
    write_table(recipe, tmp_path, 100, "radlearn compare grid.toml")
    written = json.loads((tmp_path / "results.json").read_text())
    value = written["rows"][0]["auroc"][-1]["value"]
    assert f"{value:.3f}" in (tmp_path / "table.md").read_text()
    assert f"{value:.3f}" in (tmp_path / "report.html").read_text()


def test_runs_on_different_splits_are_not_put_in_one_table(tmp_path: Path, recipe: Recipe) -> None:
    finish(tmp_path, recipe)
    last = run_of(tmp_path, recipe.cells()[-1]) / "results.json"
    write_json(last, {"finished": True, "fingerprints": {"test": "other"}})
    with pytest.raises(InputError, match="different splits"):
        score_cells(recipe, tmp_path, resamples=10)
