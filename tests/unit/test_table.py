"""The table of a grid: means over seeds, paired differences, and no mixing of splits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from radlearn.errors import InputError
from radlearn.files import write_json
from radlearn.grids.recipe import Recipe, Reported
from radlearn.grids.table import contrasts, run_of, score_cells, write_backbones, write_table
from radlearn.metrics.classification import mean_auroc

LABELS = ("Edema", "Mass", "Rare")
GRID = {"init": ["mrm", "scratch"], "tuner": ["lora", "full"], "fraction": [1.0], "seed": [0, 1]}


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("Grid", {}, {}, {"mrm": {}}, {}, {"lora": {}, "full": {}}, GRID, {}, ("Mass",))


def finish(out: Path, recipe: Recipe, fingerprint: str = "abc", by_data: bool = False) -> None:
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
        printed = f"{cell.data}-print" if by_data else fingerprint
        write_json(run / "results.json", {"finished": True, "fingerprints": {"test": printed}})
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
    value = written["rows"][0]["score"][-1]["value"]
    assert f"{value:.3f}" in (tmp_path / "table.md").read_text()
    assert f"{value:.3f}" in (tmp_path / "report.html").read_text()


def test_a_table_of_costs_has_a_line_a_row_the_best_first(tmp_path: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, costs=True, against="lora")
    finish(tmp_path, recipe)
    for cell in recipe.cells():
        place = run_of(tmp_path, cell) / "results.json"
        measured = {"parameters_trained": 1234, "seconds_per_step": 0.25 + cell.seed}
        peak = {"peak_memory": 2**30 if cell.seed else None}
        write_json(place, json.loads(place.read_text()) | measured | peak)
    write_table(recipe, tmp_path, 100, "radlearn compare grid.toml")
    written = json.loads((tmp_path / "results.json").read_text())
    assert all(one["seconds_per_step"] == 0.75 for one in written["costs"])
    assert {"lora" in one["first"] + one["second"] for one in written["differences"]} == {True}
    text = (tmp_path / "table.md").read_text()
    lines = text.split("**What it costs**")[1].splitlines()[4:8]
    assert all(line.endswith("| 1,234 | 1,024 | 0.750 |") for line in lines)
    assert "mrm" in lines[0] and "scratch" in lines[3]
    assert "What it costs" in (tmp_path / "report.html").read_text()


def test_runs_on_different_splits_are_not_put_in_one_table(tmp_path: Path, recipe: Recipe) -> None:
    finish(tmp_path, recipe)
    last = run_of(tmp_path, recipe.cells()[-1]) / "results.json"
    write_json(last, {"finished": True, "fingerprints": {"test": "other"}})
    with pytest.raises(InputError, match="different splits"):
        score_cells(recipe, tmp_path, resamples=10)


def test_runs_trained_otherwise_than_the_recipe_says_are_refused(
    tmp_path: Path, recipe: Recipe
) -> None:
    finish(tmp_path, recipe)
    other = replace(recipe, finetune={"lr": 0.5})
    with pytest.raises(InputError, match=r"lr = None, and the recipe says 0\.5"):
        score_cells(other, tmp_path, resamples=10)


def test_an_interval_is_over_seeds_too(tmp_path: Path, recipe: Recipe) -> None:
    finish(tmp_path, recipe)
    cell = next(c for c in recipe.cells() if (c.init, c.tuner, c.seed) == ("mrm", "lora", 1))
    path = run_of(tmp_path, cell) / "predictions.parquet"
    table = pl.read_parquet(path)
    table.with_columns(-pl.col(f"logit:{name}") for name in LABELS).write_parquet(path)
    row = score_cells(recipe, tmp_path, resamples=200)[0]
    good, bad = row.by_seed[:, -1]
    assert good > 0.8 and bad < 0.2 and row.point[-1] == pytest.approx((good + bad) / 2)
    interval = row.interval(-1)
    assert interval.low < bad + 0.02 and interval.high > good - 0.02, "a seed alone may be drawn"


PAPER = Reported({"data": "nih", "tuner": "lora"}, 0.806, "their list")


def test_a_grid_over_data_sets_has_the_papers_table_and_numbers(
    tmp_path: Path, recipe: Recipe
) -> None:
    grid = GRID | {"data": ["nih", "rsna"], "seed": [0]}
    several = replace(
        recipe, grid=grid, labels=(), reported=(PAPER,), finding="LoRA better in 13 of 18 tasks."
    )
    finish(tmp_path, several, by_data=True)
    rows = score_cells(several, tmp_path, resamples=100)
    assert len(rows) == 8 and {row.data for row in rows} == {"nih", "rsna"}
    found = contrasts(rows, ["mean of labels"])
    assert {c.data for c in found} == {"nih", "rsna"} and len(found) == 8
    write_table(several, tmp_path, 100, "radlearn compare grid")
    text = (tmp_path / "table.md").read_text()
    assert "| start | data | 100 % lora | 100 % full |" in text
    assert "0.806 | their list |" in text and text.count("none known") == 6
    lora = [c.difference.value for c in found if c.second.endswith("lora") and "full" in c.first]
    won = sum(value > 0 for value in lora)
    assert f"lora against full: better in {won} of 4, worse in {4 - won}" in text
    assert "The paper: LoRA better in 13 of 18 tasks." in text
    assert "nih-print" in text and "rsna-print" in text


def test_each_data_set_has_one_split(tmp_path: Path, recipe: Recipe) -> None:
    grid = GRID | {"data": ["nih", "rsna"], "seed": [0]}
    several = replace(recipe, grid=grid, labels=())
    finish(tmp_path, several, by_data=True)
    last = run_of(tmp_path, several.cells()[-1]) / "results.json"
    write_json(last, {"finished": True, "fingerprints": {"test": "other"}})
    with pytest.raises(InputError, match=r"different splits: .*rsna.* on other, others on rsna"):
        score_cells(several, tmp_path, resamples=10)


def test_a_recipe_without_a_grid_shows_what_its_backbones_came_to(
    tmp_path: Path, recipe: Recipe
) -> None:
    done = {"finished": True, "final": {"image": 0.51234, "val_report": None}}
    write_json(tmp_path / "backbones" / "mrm" / "results.json", done)
    write_backbones(replace(recipe, grid={}), tmp_path)
    assert "| mrm | image 0.5123 |" in (tmp_path / "table.md").read_text()
