"""A run on a list that is not its own test split: scored on what it held apart, which is said."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from radlearn.cli import main
from radlearn.errors import InputError
from radlearn.evaluate import evaluate_run
from radlearn.evaluation.lists import in_words
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import write_json
from radlearn.records.splits import fingerprint
from radlearn.report.finetuning import finetuning_page
from radlearn.report.finetuning_targets import targets_page
from radlearn.report.lists import lists_sections

TRAINED, CHOSE, TESTED = range(40), range(40, 60), range(60, 120)


def name(number: int) -> str:
    return f"{number:08d}_000"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two labels; its store knows which records the official list tests."""
    rng = np.random.default_rng(0)
    held = [*CHOSE, *TESTED]
    columns: dict[str, Any] = {
        "split": ["val"] * len(CHOSE) + ["test"] * len(TESTED),
        "id": [name(number) for number in held],
        "patient": [f"p{number // 2}" for number in held],
    }
    for label in ("sick", "rare"):
        truth = (rng.random(len(held)) < 0.4).astype(float)
        if label == "rare":
            truth[:] = 0
        logit = truth + rng.standard_normal(len(held))
        columns |= {f"label:{label}": truth, f"logit:{label}": logit}
        columns[f"probability:{label}"] = 1 / (1 + np.exp(-logit))
    place, store = tmp_path / "run", tmp_path / "store"
    place.mkdir()
    pl.DataFrame(columns).write_parquet(place / "predictions.parquet")
    marks = ["pretraining saw NIH"]
    write_json(
        place / "results.json",
        {"finished": True, "fingerprints": {"test": "abc"}, "marks": marks},
    )
    write_json(place / "config.json", {"mission": "finetuning", "stores": [str(store)]})
    made_store(store)
    return place


def made_store(store: Path) -> None:
    store.mkdir()
    splits = {**dict.fromkeys(TRAINED, "train"), **dict.fromkeys(CHOSE, "val")}
    rows = [
        {
            "id": name(number),
            "patient": f"p{number // 2}",
            "split": splits.get(number, "test"),
            "extra:official": "test" if number % 2 else "train",
        }
        for number in range(120)
    ]
    pl.DataFrame(rows).write_parquet(store / "records.parquet")
    info = {"format": 1, "name": "made", "count": 120, "label_names": [], "size": None}
    write_json(store / "store.json", info)


def listed(path: Path, numbers: Any) -> Path:
    path.write_text("".join(f"{name(number)}.png\n" for number in numbers))
    return path


def test_what_was_held_apart_of_a_list_is_scored_and_the_rest_counted(
    run: Path, tmp_path: Path
) -> None:
    official = listed(tmp_path / "test_list.txt", [*range(30, 80), *range(500, 507)])
    found = evaluate_run(run, EvaluateConfig(resamples=50, lists=(official,)))["lists"]
    (one,) = found
    assert (one["of"], one["trained"], one["chose"], one["records"]) == (57, 10, 20, 20)
    assert one["fingerprint"] == fingerprint(name(number) for number in range(60, 80))
    table = pl.read_parquet(run / "predictions.parquet")
    mine = table.filter(pl.col("id").is_in([name(number) for number in range(60, 80)]))
    expected = roc_auc_score(mine["label:sick"], mine["logit:sick"])
    assert one["scores"]["sick"]["value"] == pytest.approx(expected)
    assert "rare" not in one["scores"] and one["scores"]["mean"] == one["scores"]["sick"]
    assert in_words(one).endswith(
        "which is not a score on that list: 10 are for training, 20 chose the step, 7 are not "
        "among the run's records"
    )


def test_a_list_that_was_trained_on_is_refused(run: Path, tmp_path: Path) -> None:
    trained = listed(tmp_path / "test_list.txt", range(30))
    with pytest.raises(InputError, match="30 are for training and 0 chose the step"):
        evaluate_run(run, EvaluateConfig(resamples=9, lists=(trained,)))
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    with pytest.raises(InputError, match="names no image"):
        evaluate_run(run, EvaluateConfig(resamples=9, lists=(empty,)))


def test_lists_that_the_store_knows_are_scored_unasked_and_marks_are_told(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--resamples", "20"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "30 of the 60 records of the list official, which is not a score on that list" in said
    assert "run: pretraining saw NIH" in said
    evaluation = evaluate_run(run, EvaluateConfig(resamples=20))
    assert [one["name"] for one in evaluation["lists"]] == ["official"]
    (section,) = lists_sections(evaluation)
    (row,) = section.items[0].rows  # type: ignore[union-attr]
    assert row[:3] == ("official", "30 of 60", "20 / 10")


@pytest.mark.parametrize("task", ["multi-label", "single-label", "ordinal", "continuous"])
def test_the_page_of_every_task_shows_other_lists(run: Path, task: str) -> None:
    evaluation = evaluate_run(run, EvaluateConfig(resamples=9))
    if task == "multi-label":
        page = finetuning_page(run, [], evaluation, [], {"seed": 0})
    else:
        page = targets_page(run, [], evaluation | {"task": task, "scores": {}}, {"task": task})
    shown = page.read_text(encoding="utf-8")
    assert "On other published lists" in shown and "30 of 60" in shown


def test_the_page_of_runs_side_by_side_shows_other_lists(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "again")
    given = ["evaluate", str(run), str(tmp_path / "again"), "--resamples", "9"]
    assert main([*given, "--out", str(tmp_path / "difference.json")]) == 0
    assert (tmp_path / "difference.html").read_text(encoding="utf-8").count("30 of 60") == 2


def test_a_run_whose_store_has_gone_is_scored_all_the_same(run: Path, tmp_path: Path) -> None:
    (tmp_path / "store").rename(tmp_path / "away")
    assert evaluate_run(run, EvaluateConfig(resamples=9))["lists"] == []
    found = evaluate_run(run, EvaluateConfig(resamples=9, stores=(tmp_path / "away",)))["lists"]
    assert found[0]["records"] == 30
