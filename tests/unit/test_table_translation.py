"""The table of translations: means by hand, who is better at equal steps and at equal time."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made_translations import PAIRS, finish, panel, predictions

from radlearn.errors import InputError
from radlearn.grids.recipe import TranslationCell, TranslationRecipe
from radlearn.grids.recipe_files import read_recipe
from radlearn.grids.table import run_of
from radlearn.grids.table_translation import contrasts_of, rows_of, trained, write_table
from radlearn.metrics.slice_grid import by_patient, contrasts, read_trained
from radlearn.metrics.slice_scores import SCORES
from radlearn.records.keys import hashed, read_key, store_key

DECIBELS = {"nc+r": 24.0, "p2p": 23.0, "c": 24.5}
SECONDS = {"nc+r": 0.1, "p2p": 0.08, "c": 0.16}


@pytest.fixture
def recipe(tmp_path: Path) -> TranslationRecipe:
    path = tmp_path / "pairs.toml"
    path.write_text(PAIRS)
    recipe = read_recipe(path)
    assert isinstance(recipe, TranslationRecipe)
    return recipe


@pytest.fixture
def out(tmp_path: Path, recipe: TranslationRecipe) -> Path:
    """Every cell finished; at level 5 P2P is a decibel worse, and bob is 3 dB worse than ann."""
    keys = {}
    for store in recipe.stores:
        (tmp_path / "stores" / store).mkdir(parents=True)
        keys[store] = store_key(tmp_path / "stores" / store, None)
    for number, cell in enumerate(recipe.cells()):
        level = DECIBELS[cell.mode] - (cell.mode == "p2p" and cell.level == "level5")
        patient = hashed(keys[cell.store], cell.store)
        table = predictions(patient, number, level - 3 * (cell.store == "bob"))
        finish(run_of(tmp_path, cell), recipe.flags(cell), table, SECONDS[cell.mode], cell.store)
    return tmp_path


def table_of(out: Path, *cell: object) -> pl.DataFrame:
    return pl.read_parquet(run_of(out, TranslationCell(*cell)) / "predictions.parquet")  # type: ignore[arg-type]


def by_hand(out: Path, mode: str, level: str, name: str, share: float = 1.0) -> dict[str, float]:
    """Each patient's mean over seeds and slices, so far between the two scored steps."""
    found = {}
    for store in ("ann", "bob"):
        means = []
        for seed in (0, 1):
            table = table_of(out, mode, level, store, seed).filter(pl.col("foreground") > 0)
            first, last = (
                table.filter(pl.col("step") == step)[name].to_numpy() for step in (10, 20)
            )
            means.append(((1 - share) * first + share * last).mean())
        found[store] = float(np.mean(means))
    return found


def test_a_row_is_the_mean_over_slices_seeds_and_patients(
    out: Path, recipe: TranslationRecipe
) -> None:
    rows = rows_of(recipe, trained(recipe, out), resamples=100)
    assert [(row.level, row.mode) for row in rows] == [
        (level, mode) for level in ("level0", "level5") for mode in ("nc+r", "p2p", "c")
    ]
    for row in rows:
        assert len(row.runs) == 4
        for name in SCORES:
            hand = by_hand(out, row.mode, row.level, name)
            found = row.scores[name]
            assert found["overall"]["value"] == pytest.approx(np.mean(list(hand.values())))
            assert found["seeds"] == [2]
            for patient, value in hand.items():
                assert found["patients"][patient]["value"] == pytest.approx(value)


def test_differences_are_of_the_first_mode_at_equal_steps_and_at_equal_time(
    out: Path, recipe: TranslationRecipe
) -> None:
    found = contrasts_of(recipe, trained(recipe, out), resamples=200)
    assert [(c.level, c.other, c.at) for c in found] == [
        (level, *one)
        for level in ("level0", "level5")
        for one in (("p2p", "equal steps"), ("c", "equal steps"), ("c", "equal time"))
    ]
    steps, time = found[4], found[5]
    mine = by_hand(out, "nc+r", "level5", "paper_psnr")
    # 20 steps of 0.1 s are 12.5 steps of 0.16 s: a quarter of the way from step 10 to step 20
    assert time.steps == (20, pytest.approx(12.5))
    for contrast, share in ((steps, 1.0), (time, 0.25)):
        theirs = by_hand(out, "c", "level5", "paper_psnr", share)
        scores = contrast.scores["paper_psnr"]
        gains = {patient: mine[patient] - theirs[patient] for patient in mine}
        assert scores["overall"]["value"] == pytest.approx(np.mean(list(gains.values())))
        for patient, gain in gains.items():
            assert scores["patients"][patient]["value"] == pytest.approx(gain)
            assert scores["patients"][patient]["low"] < gain < scores["patients"][patient]["high"]
    assert steps.scores["paper_psnr"]["overall"]["high"] < 0, "half a decibel worse"
    assert time.scores["paper_psnr"]["overall"]["low"] > 0, "a quarter of a decibel better"
    assert (steps.scores["paper_psnr"]["won"], steps.scores["paper_psnr"]["lost"]) == (0, 2)
    assert (time.scores["paper_psnr"]["won"], time.scores["paper_psnr"]["lost"]) == (2, 0)
    assert time.scores["paper_psnr"]["overall"]["p"] < 0.05


def test_of_nmae_less_is_better(out: Path, recipe: TranslationRecipe) -> None:
    steps = contrasts_of(recipe, trained(recipe, out), resamples=50)[4]
    nmae = steps.scores["paper_nmae"]
    assert nmae["overall"]["value"] > 0 and (nmae["won"], nmae["lost"]) == (0, 2)
    level = steps.scores["standard_nmae"]
    assert (level["won"], level["lost"]) == (0, 0), "neither where nothing differs"


@pytest.mark.parametrize(
    ("step", "between"),
    [(10, (1, 0)), (20, (0, 1)), (12, (0.8, 0.2)), (5, (1, 0)), (99, (0, 1))],
)
def test_scores_lie_on_the_line_between_scored_steps_and_no_further(
    out: Path, step: float, between: tuple[float, float]
) -> None:
    run = run_of(out, TranslationCell("c", "level0", "ann", 0))
    one = read_trained("c", "level0", "ann", 0, run, {})
    assert one.steps == (10, 20)
    wanted = between[0] * one.values[0] + between[1] * one.values[1]
    np.testing.assert_allclose(one.at(step), wanted, rtol=1e-12)


def test_one_scored_step_is_what_there_is(tmp_path: Path) -> None:
    finish(tmp_path / "run", {}, predictions("ann", 0, steps=(10,)))
    one = read_trained("c", "level0", "ann", 0, tmp_path / "run", {})
    np.testing.assert_array_equal(one.at(3), one.at(10))


def test_patients_of_one_store_are_a_fold_and_keep_their_own_rows(tmp_path: Path) -> None:
    both = pl.concat([predictions("x", 0, slices=12), predictions("y", 1, slices=18)])
    runs = []
    for seed in (0, 1):
        finish(tmp_path / str(seed), {}, both)
        runs.append(read_trained("c", "level0", "ann", seed, tmp_path / str(seed), {"y": "Yves"}))
    scores, folds = by_patient(runs, "paper_psnr")
    assert {name: values.shape for name, values in scores.items()} == {
        "ann x": (2, 11), "Yves": (2, 17)
    }  # fmt: skip
    assert folds == {"ann x": "ann", "Yves": "ann"}


def test_a_table_of_what_is_finished_compares_the_patients_of_both(
    out: Path, recipe: TranslationRecipe
) -> None:
    for cell in recipe.cells():
        if cell.mode == "c" and cell.store == "bob":
            (run_of(out, cell) / "results.json").unlink()
    runs = trained(recipe, out)
    (p2p, c, _) = contrasts(runs, "nc+r", ["p2p", "c"], "level5", resamples=50)
    assert list(p2p.scores["paper_psnr"]["patients"]) == ["ann", "bob"]
    assert list(c.scores["paper_psnr"]["patients"]) == ["ann"]
    write_table(recipe, out, 50, "radlearn compare pairs.toml")
    assert json.loads((out / "results.json").read_text())["cells"] == {"finished": 20, "all": 24}


def test_the_written_table_and_page_hold_the_scores(out: Path, recipe: TranslationRecipe) -> None:
    for cell in recipe.cells():
        for number in range(3):
            panel(run_of(out, cell), number, 0.3, "r" in cell.mode)
    write_table(recipe, out, 100, "radlearn compare pairs.toml")
    written = json.loads((out / "results.json").read_text())
    text, page = (out / "table.md").read_text(), (out / "report.html").read_text()
    assert written["seconds_per_step"] == SECONDS
    values = [row["scores"]["paper_psnr"]["overall"]["value"] for row in written["rows"]]
    values += [one["scores"]["paper_psnr"]["overall"]["value"] for one in written["differences"]]
    for value, form in zip(values, ["{:.2f}"] * 6 + ["{:+.2f}"] * 6, strict=True):
        assert form.format(value) in text and form.format(value) in page
    assert "nc+r − c, equal time (20 steps against 12)" in text
    for shown in ("minutes of training", "ann, slice 0", "bob, slice 2", "registered"):
        assert shown in page


def test_runs_that_cannot_stand_in_one_table_are_refused(
    out: Path, recipe: TranslationRecipe
) -> None:
    cell = recipe.cells()[-1]
    run, flags = run_of(out, cell), recipe.flags(cell)
    (patient,) = pl.read_parquet(run / "predictions.parquet")["patient"].unique()
    good = predictions(patient, 5)
    finish(run, flags | {"lr": 0.7}, good, fingerprint="bob")
    with pytest.raises(InputError, match=r"trained with lr = 0\.7, and the recipe says 0\.1"):
        trained(recipe, out)
    finish(run, flags, good, fingerprint="other")
    with pytest.raises(InputError, match="different splits"):
        trained(recipe, out)
    finish(run, flags, predictions(patient, 5, slices=20), fingerprint="bob")
    with pytest.raises(InputError, match="different splits"):
        trained(recipe, out)
    finish(run, flags, predictions(patient, 5, steps=(10, 30)), fingerprint="bob")
    with pytest.raises(InputError, match="scored after other steps, up to 20 and 30"):
        trained(recipe, out)
    finish(run, flags, good, fingerprint="bob")
    assert len(trained(recipe, out)) == 24
    for other in (c for c in recipe.cells() if c.store == "bob"):
        table = predictions(hashed(read_key(out / "stores/ann/patient.key"), "ann"), 0)
        finish(run_of(out, other), recipe.flags(other), table)
    shutil.copy(out / "stores/ann/patient.key", out / "stores/bob/patient.key")
    twice = replace(recipe, stores=recipe.stores | {"bob": recipe.stores["ann"]})
    with pytest.raises(InputError, match="ann and bob both hold ann apart"):
        trained(twice, out)


def test_without_clocks_there_is_no_equal_time(out: Path, recipe: TranslationRecipe) -> None:
    for cell in recipe.cells():
        file = run_of(out, cell) / "results.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds_per_step": None}))
    assert {c.at for c in contrasts_of(recipe, trained(recipe, out), 20)} == {"equal steps"}
    write_table(recipe, out, 20, "radlearn compare pairs.toml")
    assert "minutes of training" not in (out / "report.html").read_text()
