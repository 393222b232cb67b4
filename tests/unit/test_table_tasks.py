"""Grids of runs that learned one class, a level or a number have the score of their task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from radlearn.evaluate import evaluate_run
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import write_json
from radlearn.grids.recipe import Recipe
from radlearn.grids.table import run_of, write_table

CLASSES = ("none", "mild", "severe")
GRID = {"init": ["mrm"], "tuner": ["lora", "full"], "fraction": [1.0], "seed": [0, 1]}
PRIMARY = {"single-label": "mean of labels", "ordinal": "Quadratic kappa"}
PRIMARY["continuous"] = "Mean absolute error"


def answers(task: str, noise: float, seed: int) -> dict[str, Any]:
    """Predictions of 40 records, the nearer to the truth the less noise."""
    truth = np.random.default_rng(0).integers(0, 3, 40)
    near = truth + noise * np.random.default_rng(seed).standard_normal(40)
    if task == "continuous":
        return {"truth": 10.0 * truth, "predicted": 10.0 * near}
    names, called = np.array(CLASSES), near.round().clip(0, 2).astype(int)
    found: dict[str, Any] = {"class": names[truth], "called": names[called]}
    for at, name in enumerate(CLASSES):
        found |= {f"label:{name}": (truth == at) * 1.0, f"logit:{name}": -np.abs(near - at)}
        found[f"probability:{name}"] = 1 / (1 + np.exp(-found[f"logit:{name}"]))
    return found


@pytest.mark.parametrize("task", PRIMARY)
def test_the_table_has_the_score_of_the_task_and_who_wins(tmp_path: Path, task: str) -> None:
    flags = {"task": task, "target": None if task == "single-label" else "stage"}
    recipe = Recipe("Grid", {}, {}, {"mrm": {}}, flags, {"lora": {}, "full": {}}, GRID, {})
    for number, cell in enumerate(recipe.cells()):
        run = run_of(tmp_path, cell)
        run.mkdir(parents=True)
        ids = {"split": "test", "id": [f"r{i:02d}" for i in range(40)]}
        noise = 0.3 if cell.tuner == "lora" else 1.5
        table = {**ids, "patient": [f"p{i // 2}" for i in range(40)]}
        pl.DataFrame(table | answers(task, noise, number)).write_parquet(
            run / "predictions.parquet"
        )
        write_json(run / "results.json", {"finished": True, "fingerprints": {"test": "abc"}})
        config = recipe.flags(cell) | {"mission": "finetuning"}
        write_json(run / "config.json", config | {"classes": list(CLASSES)})
    write_table(recipe, tmp_path, 50, "radlearn compare")
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["columns"] == [PRIMARY[task]]
    assert found["higher_is_better"] == (task != "continuous")
    for row in found["rows"]:
        (score,) = row["score"]
        assert score["low"] <= score["value"] <= score["high"] and len(row["by_seed"]) == 2
    by_tuner = {row["tuner"]: row for row in found["rows"]}
    if task != "single-label":
        one = run_of(tmp_path, recipe.cells()[0])
        scores = evaluate_run(one, EvaluateConfig(resamples=9))["scores"]
        name = "kappa" if task == "ordinal" else "mae"
        assert by_tuner["lora"]["by_seed"][0][0] == pytest.approx(scores[name]["value"])
    told = (tmp_path / "table.md").read_text()
    lora, full = (by_tuner[tuner]["score"][0]["value"] for tuner in ("lora", "full"))
    assert (lora < full) == (task == "continuous")
    assert "lora against full: better in 1 of 1, worse in 0" in told
