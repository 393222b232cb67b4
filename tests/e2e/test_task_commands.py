"""Tasks beside labels, by the real commands: from a table's columns to scores and answers."""

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from e2e.conftest import run
from radlearn.finetuning.tuned import load_tuned
from radlearn.records.phantoms import LABEL_NAMES

SMALL = ("--model", "tiny", "--image-size", 32, "--patch", 8, "--steps", 3, "--batch", 6,
         "--evaluations", 1, "--precision", "float32")  # fmt: skip
TASKS = {
    "sexes": ("single-label", "--target", "sex", "--balance", "weights", "--tuner", "full"),
    "grades": ("ordinal", "--target", "grade", "--classes", "low", "middle", "high",
               "--tuner", "linear", "--balance", "sampling"),
    "ages": ("continuous", "--target", "age", "--pool", "study", "--lr-floor", 1e-4),
    "studies": ("multi-label", "--pool", "study", "--label-smoothing", 0.1, "--augment", "strong"),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Path:
    """store/ with a grade and a study a record, and a run a task; read only."""
    folder = tmp_path_factory.mktemp("tasks")
    with (phantom_folder / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["study"] = f"{row['patient']}-1"
        row["grade"] = ("low", "middle", "high", "")[int(row["age"]) % 4]
    with (folder / "table.csv").open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    given = ("--table", folder / "table.csv", "--extra-columns", "study", "grade")
    labels = ("--label-columns", *LABEL_NAMES, "--size", 48, "--val", 0.2, "--test", 0.3)
    assert run("prepare", "folder", phantom_folder, folder / "store", *given, *labels) == 0
    for name, (task, *flags) in TASKS.items():
        train = ("finetune", folder / "store", "--run", folder / name, "--task", task)
        assert run(*train, *flags, *SMALL) == 0
    return folder


def predictions(runs: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(runs / name / "predictions.parquet")


def scored(runs: Path, name: str) -> dict[str, dict[str, float]]:
    evaluation = json.loads((runs / name / "evaluation.json").read_text())
    assert evaluation["patients"] > 1
    return evaluation["scores"]


def test_a_class_of_text_is_told_and_scored(runs: Path) -> None:
    said = predictions(runs, "sexes")
    assert set(said["class"]) <= {"F", "M"} and set(said["called"]) <= {"F", "M"}
    assert np.allclose(said["probability:F"] + said["probability:M"], 1)
    scores = scored(runs, "sexes")
    right = (said.filter(split="test")["class"] == said.filter(split="test")["called"]).mean()
    assert scores["accuracy"]["value"] == pytest.approx(right)
    assert scores["accuracy"]["low"] <= scores["accuracy"]["value"] <= scores["accuracy"]["high"]


def test_a_scale_keeps_its_order_and_its_model_is_a_plain_one(runs: Path) -> None:
    said = predictions(runs, "grades")
    assert [name for name in said.columns if name.startswith("probability")] == [
        "probability:low", "probability:middle", "probability:high",
    ]  # fmt: skip
    assert said["class"].null_count() == 0  # records without a grade are left out
    assert {"kappa", "mae", "within_one"} <= scored(runs, "grades").keys()
    tuned = load_tuned(runs / "grades")
    assert tuned.model.head.weight.shape[0] == 2
    assert type(tuned.model.head).__name__ == "Linear"


def test_studies_are_answered_for_once(runs: Path) -> None:
    for name in ("ages", "studies"):
        said = predictions(runs, name)
        assert said["id"].is_unique().all()
        assert said["pictures"].max() > 1
        records = json.loads((runs / name / "results.json").read_text())["records"]
        assert said.filter(split="test")["pictures"].sum() == records["test"]
    assert scored(runs, "ages")["mae"]["value"] > 0
    assert 0 < predictions(runs, "ages")["predicted"].mean() < 120  # years, not deviations


def test_the_rate_ends_at_its_floor(runs: Path) -> None:
    rows = [json.loads(row) for row in (runs / "ages" / "metrics.jsonl").open()]
    assert [row["lr"] for row in rows if "lr" in row][-1] == pytest.approx(1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_page_and_answers_for_new_files(
    runs: Path, name: str, phantom_folder: Path, tmp_path: Path
) -> None:
    page = (runs / name / "report.html").read_text(encoding="utf-8")
    assert "data:image/" in page and "Scored on" in page
    table = tmp_path / "answers.parquet"
    maps = ("--saliency", tmp_path / "maps") if name == "grades" else ()
    assert run("predict", runs / name, phantom_folder / "dicom", "--out", table, *maps) == 0
    answers = pl.read_parquet(table)
    pooled = name in ("ages", "studies")
    assert answers.height == (1 if pooled else 4)
    expected = {"sexes": {"called", "F", "M"}, "grades": {"called", "low", "middle", "high"},
                "ages": {"age"}, "studies": {"Effusion", "Effusion called"}}[name]  # fmt: skip
    assert expected <= set(answers.columns)


def test_a_pooled_answer_is_the_mean_of_its_pictures(
    runs: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    """Files in a folder each are studies of one picture, whose mean the pooled answer is."""
    places = sorted((phantom_folder / "dicom").iterdir())
    for number, place in enumerate(places):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        (tmp_path / "in" / str(number) / place.name).symlink_to(place)
    given = ("--precision", "float32", "--out")
    assert run("predict", runs / "ages", tmp_path / "in", *given, tmp_path / "a.csv") == 0
    assert run("predict", runs / "ages", phantom_folder / "dicom", *given, tmp_path / "b.csv") == 0
    each, together = (pl.read_csv(tmp_path / f"{name}.csv")["age"] for name in "ab")
    assert len(each) == 4 and together[0] == pytest.approx(each.mean(), rel=1e-4)


def test_runs_of_a_task_are_compared_and_of_two_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "difference.json"
    few = ("--resamples", 20)
    assert run("evaluate", runs / "ages", runs / "ages", "--out", out, *few) == 0
    pair = json.loads(out.read_text())["pairs"][0]
    assert pair["scores"]["mae"]["difference"]["value"] == 0
    assert "Mean absolute error" in out.with_suffix(".html").read_text()
    assert run("evaluate", runs / "ages", runs / "grades", *few) == 2
    assert "evaluate runs of one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--task", "ordinal"), "needs --target"),
        (("--task", "ordinal", "--target", "grade"), "which way extra:grade rises"),
        (("--task", "single-label", "--target", "view"), "nothing to tell apart"),
        (("--task", "continuous", "--target", "grade"), "no numbers"),
        (("--task", "continuous", "--target", "weight"), "no column named weight"),
        (("--task", "single-label", "--labels", "Effusion", "Gout"), "no label named Gout"),
        (("--pool", "exam"), "no column named exam"),
    ],
)
def test_what_cannot_be_learned_is_one_clear_line(
    runs: Path, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("finetune", runs / "store", "--run", runs / "no", *flags, *SMALL) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in line and "Traceback" not in line
    assert not (runs / "no").exists()
