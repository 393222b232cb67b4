"""Scores of whole segmentations: means over patients, differences, tables and pages."""

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from radlearn.errors import InputError
from radlearn.evaluate import evaluate_run
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.finetuning import segmentation_elsewhere
from radlearn.finetuning.evaluate_masks import compare_segmentations, measured
from radlearn.finetuning.segmentation import packed, spacings, unpacked
from radlearn.finetuning.segmentation_predict import _placed
from radlearn.grids.recipe import Recipe
from radlearn.grids.table import run_of, score_cells, write_table
from radlearn.metrics.mask_scores import mask_scores_of, means
from radlearn.metrics.mask_tables import print_differences, print_masks
from radlearn.metrics.statistics import bootstrap_patients, everything_once
from radlearn.report.segmentation import DrawnMask, outlined_pair, segmentation_page

CLASSES = ("lung", "heart")


def table(seed: int = 0, skill: float = 0.9, n: int = 30, empty: int = 6) -> pl.DataFrame:
    """Scores of two classes on val and test; of the last `empty` records lung is not there."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for split in ("val", "test"):
        for at in range(n):
            for name in CLASSES:
                there = not (name == "lung" and at >= n - empty)
                dice = float(np.clip(rng.normal(skill, 0.05), 0, 1)) if there else 1.0
                rows.append(
                    {
                        "split": split,
                        "id": f"{split}{at:03d}",
                        "patient": f"p{at // 2}",
                        "class": name,
                        "dice": dice,
                        "iou": dice / (2 - dice),
                        "hd95": float(rng.uniform(2, 9)) if there else math.nan,
                        "hd95_mm": math.nan,
                        "truth": 100 if there else 0,
                        "predicted": 90 if there else 0,
                    }
                )
    return pl.DataFrame(rows)


def write_run(path: Path, scores: pl.DataFrame, **results: Any) -> Path:
    path.mkdir()
    scores.write_parquet(path / "predictions.parquet")
    results = {"finished": True, "fingerprints": {"test": "abc"}} | results
    (path / "results.json").write_text(json.dumps(results))
    (path / "config.json").write_text('{"mission": "finetuning", "task": "segmentation"}')
    return path


def test_means_are_over_records_and_intervals_over_patients(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", table())
    found = evaluate_run(run, EvaluateConfig(resamples=200))
    assert json.loads((run / "evaluation.json").read_text()) == found
    assert (found["records"], found["patients"]) == (30, 15)
    test = table().filter(pl.col("split") == "test")
    for name in CLASSES:
        own = test.filter(pl.col("class") == name)
        scores = found["classes"][name]["scores"]
        assert scores["dice"]["value"] == pytest.approx(own["dice"].mean())
        positive = own.filter(pl.col("truth") > 0)
        assert scores["dice_positive"]["value"] == pytest.approx(positive["dice"].mean())
        assert scores["hd95"]["value"] == pytest.approx(positive["hd95"].mean())
        assert scores["dice"]["low"] < scores["dice"]["value"] < scores["dice"]["high"]
        assert scores["hd95_mm"]["value"] is None
    lung = found["classes"]["lung"]
    assert (lung["positives"], lung["missed"], lung["false_alarms"]) == (24, 0, 0)
    dice = [one["scores"]["dice"]["value"] for one in found["classes"].values()]
    assert found["mean"]["scores"]["dice"]["value"] == pytest.approx(np.mean(dice))


def test_a_resample_weighs_records_as_often_as_their_patient_was_drawn() -> None:
    values = np.array([[0.2], [0.4], [np.nan], [1.0]])
    patients = ["a", "a", "b", "c"]
    drawn = bootstrap_patients(patients, 40, seed=1)
    found = means(values, drawn)[:, 0]
    for counts, value in zip(drawn.counts, found, strict=True):
        weights = counts[drawn.patient].astype(float) * np.isfinite(values[:, 0])
        expected = (weights * np.nan_to_num(values[:, 0])).sum() / max(weights.sum(), 1e-9)
        assert value == pytest.approx(expected) or (not weights.sum() and math.isnan(value))
    assert means(values, everything_once(patients))[0, 0] == pytest.approx(1.6 / 3)


def test_differences_are_paired(tmp_path: Path) -> None:
    better = table().with_columns(dice=(pl.col("dice") + 0.02).clip(0, 1))
    runs = [write_run(tmp_path / "a", table()), write_run(tmp_path / "b", better)]
    found = compare_segmentations(runs, EvaluateConfig(resamples=200))
    (pair,) = found["pairs"]
    heart = pair["classes"]["heart"]["dice"]
    assert heart["difference"]["value"] == pytest.approx(0.02, abs=0.003)
    assert heart["difference"]["low"] > 0 and heart["p"] < 0.02 and heart["p_holm"] < 0.05
    assert pair["classes"]["heart"]["hd95"]["difference"]["value"] == 0
    assert pair["mean"]["hd95_mm"]["difference"]["value"] is None


def test_tables_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run(tmp_path / n, table(seed)) for seed, n in enumerate("ab")]
    quick = EvaluateConfig(resamples=50)
    print_masks(evaluate_run(runs[0], quick))
    print_differences(compare_segmentations(runs, quick))
    told = capsys.readouterr().out
    for word in ("HD95, px", "Dice, positives", "lung", "Mean", "b less a", "Dice, heart"):
        assert word in told
    assert "HD95, mm" not in told


def test_groups_and_learning_curves_can_measure_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", table())
    found = measured(run, EvaluateConfig(split="test"))
    once, rows = everything_once(found.patients), np.arange(10)
    some = everything_once([found.patients[at] for at in rows])
    expected = mask_scores_of(run, "test").values["dice"].mean(0)
    every = found.score(np.arange(len(found.ids)), once, [0, 1])[0]
    assert every.tolist() == pytest.approx(expected.tolist())
    assert found.score(rows, some, [1]).shape == (1, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.drop("iou"), "no column iou"),
        (lambda t: t.filter(pl.col("split") == "val"), "no test predictions"),
        (lambda t: t.with_columns(dice=pl.lit(2.0)), "scores that are none"),
        (lambda t: t[:-1], "each class of each record"),
        (lambda t: pl.concat([t, t[:1]]), "each class of each record"),
        (lambda t: t.with_columns(dice=pl.lit("x")), "holds no numbers"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, change: Any, reason: str) -> None:
    scores = table()
    if "each class" in reason:
        scores = scores.filter(pl.col("split") == "test")
    run = write_run(tmp_path / "run", change(scores))
    with pytest.raises(InputError, match=reason):
        mask_scores_of(run, "test")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.with_columns(id="other" + pl.col("id")), "in the first alone"),
        (lambda t: t.with_columns(truth=pl.col("truth") + 1), "true masks differ"),
        (lambda t: t.with_columns(patient=pl.lit("one")), "different patients"),
        (lambda t: t.filter(pl.col("class") == "lung"), "they segment"),
    ],
)
def test_runs_on_other_records_are_not_compared(tmp_path: Path, change: Any, reason: str) -> None:
    runs = [write_run(tmp_path / "a", table()), write_run(tmp_path / "b", change(table()))]
    with pytest.raises(InputError, match=reason):
        compare_segmentations(runs, EvaluateConfig(resamples=20))


def test_the_page_shows_scores_and_outlines(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", table())
    evaluation = evaluate_run(run, EvaluateConfig(resamples=50))
    official = {
        "name": "official",
        "of": 57,
        "trained": 10,
        "chose": 20,
        "records": 20,
        "fingerprint": "f" * 64,
        "metric": "Dice",
        "scores": {},
        "reason": "too few",
    }
    evaluation["lists"] = [official]
    image = np.full((32, 40), 90, np.uint8)
    truth, drawn = np.zeros_like(image), np.zeros_like(image)
    truth[4:20, 4:20], drawn[8:24, 8:24] = 1, 2
    shown = [DrawnMask(image, truth, drawn, "worst", 0.2)]
    metrics = [{"step": 1, "focal": 0.5, "lr": 1e-3}, {"step": 2, "val_dice": 0.7}]
    config = {"mission": "finetuning", "tuner": "lora", "fraction": 0.1, "seed": 3}
    page = segmentation_page(run, metrics, evaluation, shown, config).read_text(encoding="utf-8")
    for word in (
        "Segmentation of lung, heart",
        "worst: Dice 0.200",
        "Validation dice",
        "HD95",
        "20 of 57",
    ):
        assert word in page
    assert segmentation_page(run, metrics, None, [], config).exists()


def test_outlines_are_where_the_masks_end() -> None:
    image = np.zeros((64, 64), np.uint8)
    truth, drawn = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    truth[16:48, 16:48], drawn[16:48, 32:60] = True, True
    canvas = outlined_pair(image, truth, drawn)
    assert canvas.shape == (256, 256, 3)
    coloured = canvas.any(axis=2)
    assert coloured[128, 64] and coloured[128, 240] and not coloured[128, 100]
    assert not coloured[20, 20] and (canvas == 255).all(axis=2).any()


def test_masks_are_kept_as_they_are() -> None:
    mask = np.random.default_rng(0).integers(0, 4, (20, 30)).astype(np.uint8)
    assert (unpacked(packed(mask)) == mask).all()


def test_spacing_is_that_of_the_stored_picture() -> None:
    class Stored:
        rows = pl.DataFrame({"spacing": [[0.1, 0.2]]})
        info: ClassVar = {"size": 100, "fit": "pad"}

    class Records:
        stores, at = (Stored(),), np.zeros((3, 2), np.int64)

        def __len__(self) -> int:
            return 3

        def column(self, name: str) -> list[Any]:
            known = {"spacing": [[0.1, 0.2], None, [0.5, 0.5]], "height": [200, 200, None]}
            return known.get(name, [400, 400, 400])

    assert spacings(Records()) == [(0.4, 0.8), None, None]  # type: ignore[arg-type]


def test_masks_of_predict_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for name in ("a/x.png", "a/x.dcm", "a/b/x.png", "y.nii.gz", "other/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / "out"
    placed = {
        path.relative_to(tmp_path).as_posix(): mask.relative_to(out).as_posix()
        for _, path, mask in _placed([tmp_path / "a", tmp_path / "y.nii.gz"], out, ".png")
    }
    assert placed == {
        "a/x.png": "x.png.png",
        "a/x.dcm": "x.dcm.png",
        "a/b/x.png": "b/x.png",
        "y.nii.gz": "y.png",
    }
    with pytest.raises(InputError, match="two inputs"):
        _placed([tmp_path / "a" / "b", tmp_path / "other"], out, ".png")


def test_a_grid_has_one_table_of_dice_here_and_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {"init": ["scratch"], "tuner": ["lora", "full"], "fraction": [1.0], "seed": [0, 1]}
    recipe = Recipe("Grid", {}, {}, {}, {}, {"lora": {}, "full": {}}, grid, elsewhere=("covid",))
    for number, cell in enumerate(recipe.cells()):
        run = run_of(tmp_path, cell)
        run.parent.mkdir(exist_ok=True)
        write_run(run, table(number, 0.9 if cell.tuner == "full" else 0.7))
        (run / "on").mkdir()
        there = table(number + 9, 0.5, n=12).with_columns(id="other" + pl.col("id"))
        write_run(run / "on" / "covid", there, fingerprints={"test": "other"})
        for place in (run, run / "on" / "covid"):
            told = {"mission": "finetuning", "task": "segmentation", **recipe.flags(cell)}
            (place / "config.json").write_text(json.dumps(told))
    monkeypatch.setattr(
        segmentation_elsewhere, "answered_on", lambda run, store, split: run / "on" / store.name
    )
    rows = score_cells(recipe, tmp_path, resamples=50)
    assert [(row.tuner, row.data) for row in rows] == [
        ("lora", "held apart"), ("full", "held apart"), ("lora", "on covid"), ("full", "on covid")
    ]  # fmt: skip
    by_hand = [mask_scores_of(run_of(tmp_path, c), "test").values["dice"].mean(0).mean()
               for c in recipe.cells() if c.tuner == "full"]  # fmt: skip
    assert rows[1].point[-1] == pytest.approx(np.mean(by_hand))
    write_table(recipe, tmp_path, 50, "radlearn compare grid.toml")
    text = (tmp_path / "table.md").read_text()
    assert "Dice on patients held apart" in text and "Differences in Dice" in text
    assert "AUROC" not in text and "on covid" in text
