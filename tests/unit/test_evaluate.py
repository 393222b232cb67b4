"""Scoring finished runs and comparing them, from files to files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from radlearn.cli import main
from radlearn.errors import InputError
from radlearn.evaluate import evaluate_run
from radlearn.evaluation.labels import compare_labels
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.metrics.predictions import mistakes
from radlearn.metrics.tables import print_comparison, print_evaluation

QUICK = EvaluateConfig(resamples=100)


def table(seed: int = 0, skill: float = 1.5, n: int = 120) -> pl.DataFrame:
    """Predictions of two labels on val and test; "rare" has no positive in test."""
    truths, rng = np.random.default_rng(42), np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "split": ["val"] * n + ["test"] * n,
        "id": [f"image{i:04d}" for i in range(2 * n)],
        "patient": [f"p{i // 2}" for i in range(2 * n)],
    }
    for label in ("sick", "rare"):
        truth = (truths.random(2 * n) < 0.4).astype(np.float32)
        if label == "rare":
            truth[n:] = 0
        logit = rng.normal(size=2 * n) + skill * (truth - 0.5)
        columns[f"label:{label}"] = [None if i % 10 == 3 else y for i, y in enumerate(truth)]
        columns[f"logit:{label}"] = logit.astype(np.float32)
        columns[f"probability:{label}"] = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return pl.DataFrame(columns)


def write_run(path: Path, predictions: pl.DataFrame, **results: Any) -> Path:
    path.mkdir()
    predictions.write_parquet(path / "predictions.parquet")
    results = {"finished": True, "fingerprints": {"test": "abc", "val": "def"}} | results
    (path / "results.json").write_text(json.dumps(results))
    return path


def test_a_run_is_scored_and_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", table())
    found = evaluate_run(run, QUICK)
    assert json.loads((run / "evaluation.json").read_text()) == found
    test = table().filter(pl.col("split") == "test").drop_nulls()
    sick = found["labels"]["sick"]
    assert sick["auroc"]["value"] == pytest.approx(
        roc_auc_score(test["label:sick"], test["logit:sick"])
    )
    assert sick["auroc"]["low"] < sick["auroc"]["value"] < sick["auroc"]["high"]
    assert (found["records"], found["patients"], sick["records"]) == (120, 60, 108)
    assert sick["positives"] == test["label:sick"].sum()
    assert (found["fingerprint"], found["config"]["seed"]) == ("abc", 0)
    assert 0 < sick["operating_point"]["threshold"] < 1
    assert sick["operating_point"]["sensitivity"]["value"] > 0.5
    assert set(found["curves"]["sick"]) == {"roc", "precision_recall", "reliability"}


def test_the_operating_point_is_chosen_on_validation_alone(tmp_path: Path) -> None:
    changed = table().with_columns(
        pl.when(pl.col("split") == "test")
        .then(1 - pl.col("probability:sick"))
        .otherwise(pl.col("probability:sick"))
        .alias("probability:sick")
    )
    one = evaluate_run(write_run(tmp_path / "a", table()), QUICK)["labels"]["sick"]
    other = evaluate_run(write_run(tmp_path / "b", changed), QUICK)["labels"]["sick"]
    assert one["operating_point"]["threshold"] == other["operating_point"]["threshold"]
    assert other["operating_point"]["sensitivity"]["value"] < 0.5


def test_one_class_is_reported_and_left_out_of_the_mean(tmp_path: Path) -> None:
    found = evaluate_run(write_run(tmp_path / "run", table()), QUICK)
    assert found["labels"]["rare"]["auroc"]["value"] is None
    assert found["labels"]["rare"]["reason"].startswith("one class only")
    assert found["mean"]["labels"] == ["sick"]
    assert found["mean"]["auroc"] == found["labels"]["sick"]["auroc"]
    console = Console(record=True, width=200)
    print_evaluation(found, console)
    assert "rare: not measurable, one class only" in console.export_text()


def test_resamples_without_a_class_are_dropped_and_counted(tmp_path: Path) -> None:
    single = table().with_columns(
        pl.when(pl.col("id") == "image0130").then(1.0).otherwise("label:rare").alias("label:rare")
    )
    found = evaluate_run(write_run(tmp_path / "run", single), QUICK)
    rare = found["labels"]["rare"]["auroc"]
    assert rare["resamples"] + rare["dropped"] == 100
    assert 20 < rare["dropped"] < 60
    assert found["mean"]["auroc"]["dropped"] == rare["dropped"]


def test_without_validation_there_is_no_operating_point(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", table().filter(pl.col("split") == "test"))
    point = evaluate_run(run, QUICK)["labels"]["sick"]["operating_point"]
    assert point["threshold"] is None
    assert point["reason"] == "validation: no record is labelled"


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    shuffled = table().sample(fraction=1.0, shuffle=True, seed=1)
    one = evaluate_run(write_run(tmp_path / "a", table()), QUICK)
    other = evaluate_run(write_run(tmp_path / "b", shuffled), QUICK)
    assert one["labels"] == other["labels"]


def test_only_the_labels_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", table())
    assert list(evaluate_run(run, EvaluateConfig(resamples=9, labels=("rare",)))["labels"]) == [
        "rare"
    ]
    with pytest.raises(InputError, match="no label 'lost'; it has: sick, rare"):
        evaluate_run(run, EvaluateConfig(labels=("lost",)))


def test_identical_runs_do_not_differ(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, table()) for name in "ab"]
    found = compare_labels(runs, QUICK)
    sick = found["pairs"][0]["labels"]["sick"]
    assert (sick["difference"]["value"], sick["difference"]["low"]) == (0, 0)
    assert sick["p_bootstrap"] == sick["p_delong"] == sick["p_delong_holm"] == 1
    assert found["pairs"][0]["mean"]["p_bootstrap"] == 1


def test_a_better_run_is_found_to_be_better(tmp_path: Path) -> None:
    bad = write_run(tmp_path / "bad", table(seed=1, skill=0.0))
    good = write_run(tmp_path / "good", table(seed=2, skill=3.0))
    found = compare_labels([bad, good], QUICK)
    pair = found["pairs"][0]
    assert (pair["first"], pair["second"]) == ("bad", "good")
    sick = pair["labels"]["sick"]
    assert sick["difference"]["low"] > 0
    assert sick["difference"]["value"] == pytest.approx(sick["auroc"][1] - sick["auroc"][0])
    assert sick["p_bootstrap"] == pytest.approx(2 / 101)
    assert sick["p_delong"] < 1e-3
    assert pair["labels"]["rare"]["difference"]["value"] is None
    assert pair["labels"]["rare"]["reason"].startswith("one class")
    assert pair["mean"]["labels"] == ["sick"]
    console = Console(record=True, width=200)
    print_comparison(found, console)
    assert "AUROC of good less bad" in console.export_text()


def test_three_runs_make_three_pairs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(seed), table(seed)) for seed in range(3)]
    pairs = compare_labels(runs, QUICK)["pairs"]
    assert [(p["first"], p["second"]) for p in pairs] == [("0", "1"), ("0", "2"), ("1", "2")]


def other_truth(predictions: pl.DataFrame) -> pl.DataFrame:
    return predictions.with_columns(pl.lit(0.0).alias("label:sick"))


def other_patients(predictions: pl.DataFrame) -> pl.DataFrame:
    return predictions.with_columns(pl.col("id").alias("patient"))


def fewer(predictions: pl.DataFrame) -> pl.DataFrame:
    return predictions.head(-3)


def other_labels(predictions: pl.DataFrame) -> pl.DataFrame:
    return predictions.rename({c: f"{c}2" for c in predictions.columns if ":" in c})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_truth, "the truth differs"),
        (other_patients, "different patients"),
        (fewer, "3 records are in the first alone and 0 in the second alone"),
        (other_labels, "no label in common"),
    ],
)
def test_runs_on_other_records_are_refused(tmp_path: Path, change: Any, reason: str) -> None:
    runs = [write_run(tmp_path / "a", table()), write_run(tmp_path / "b", change(table()))]
    with pytest.raises(InputError, match=reason):
        compare_labels(runs, QUICK)


def test_another_fingerprint_is_refused(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", table()),
        write_run(tmp_path / "b", table(), fingerprints={"test": "xyz"}),
    ]
    with pytest.raises(InputError, match="fingerprints of their test splits differ"):
        compare_labels(runs, QUICK)


def test_patients_under_other_names_are_the_same_patients(tmp_path: Path) -> None:
    renamed = table().with_columns("x" + pl.col("patient"))
    runs = [write_run(tmp_path / "a", table()), write_run(tmp_path / "b", renamed)]
    assert compare_labels(runs, QUICK)["patients"] == 60


def test_an_unfinished_run_says_how_to_finish(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run at"):
        evaluate_run(tmp_path / "none", QUICK)
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"not finished.*same command"):
        evaluate_run(tmp_path / "run", QUICK)
    with pytest.raises(InputError, match=r"not finished.*same command"):
        evaluate_run(write_run(tmp_path / "stopped", table(), finished=False), QUICK)


def damaged(tmp_path: Path, predictions: pl.DataFrame | None) -> Path:
    run = write_run(tmp_path / "run", table())
    if predictions is None:
        (run / "predictions.parquet").write_bytes(b"PAR1 not really")
    else:
        predictions.write_parquet(run / "predictions.parquet")
    return run


@pytest.mark.parametrize(
    ("predictions", "reason"),
    [
        (None, "cannot read"),
        (table().drop("patient"), "no column patient"),
        (table().drop("logit:rare"), "no column logit:rare"),
        (table().select("split", "id", "patient"), "no column label:NAME"),
        (table().with_columns(pl.lit("x").alias("probability:sick")), "holds no numbers"),
        (table().with_columns(pl.lit(float("nan")).alias("logit:sick")), "not finite, first the"),
        (table().with_columns(pl.lit(-1.0).alias("label:sick")), "neither 0, 1 nor missing"),
        (table().filter(pl.col("split") == "val"), "no test predictions; it has: val"),
    ],
)
def test_damaged_predictions_are_one_clear_line(
    tmp_path: Path, predictions: pl.DataFrame | None, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as error:
        evaluate_run(damaged(tmp_path, predictions), QUICK)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"seed": -1}, {"rule": "best"}])
def test_wrong_settings_are_refused_at_the_door(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EvaluateConfig(**wrong)


def test_mistakes_are_the_most_confident_ones() -> None:
    predictions = pl.DataFrame(
        {
            "split": ["test", "test", "test", "test", "val"],
            "id": ["a", "b", "c", "d", "e"],
            "patient": ["1", "2", "3", "4", "5"],
            "label:sick": [1.0, 0.0, 1.0, None, 0.0],
            "logit:sick": [0.0] * 5,
            "probability:sick": [0.3, 0.9, 0.8, 1.0, 1.0],
        }
    )
    assert mistakes(predictions, 5)["sick"] == [
        {"id": "b", "label": "sick", "probability": 0.9, "truth": 0},
        {"id": "a", "label": "sick", "probability": 0.3, "truth": 1},
    ]
    assert len(mistakes(predictions, 1)["sick"]) == 1


def test_the_command_scores_compares_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(write_run(tmp_path / str(seed), table(seed))) for seed in range(2)]
    out = tmp_path / "difference.json"
    assert main(["evaluate", *runs, "--resamples", "20", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["runs"] == ["0", "1"]
    assert "AUROC of 1 less 0" in capsys.readouterr().out
    assert main(["evaluate"]) == 2
    assert main(["evaluate", runs[0], "--out", str(out)]) == 2
    assert "two runs or more" in capsys.readouterr().err
