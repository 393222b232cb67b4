"""Scores of groups: gaps that are there are found, gaps that are not are not, and small is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from radlearn.cli import main
from radlearn.errors import InputError
from radlearn.metrics.group_values import UNKNOWN, Grouping, group_names, grouping_of, in_order
from radlearn.metrics.groups import adjust, score_groups
from radlearn.metrics.measured import MEAN, Measured, measured_column, measured_labels
from radlearn.metrics.predictions import Predictions


def predictions(
    skill: np.ndarray, share: np.ndarray, labels: tuple[str, ...] = ("sick",), seed: int = 0
) -> Predictions:
    """Two records a patient; `skill` and `share` of positives of each record."""
    rng = np.random.default_rng(seed)
    n = len(skill)
    truth = np.stack([(rng.random(n) < share).astype(float) for _ in labels], axis=1)
    logit = rng.normal(size=(n, len(labels))) + skill[:, None] * (truth - 0.5)
    ids, patients = [f"i{at:04d}" for at in range(n)], [f"p{at // 2}" for at in range(n)]
    return Predictions(ids, patients, labels, truth, logit, 1 / (1 + np.exp(-logit)))


def halves(n: int) -> np.ndarray:
    """Every second patient of two records each."""
    return np.array([["even", "odd"][at // 2 % 2] for at in range(n)])


def scored_by(measured: Measured, names: Any, resamples: int = 200) -> dict[str, Any]:
    found = score_groups(measured, [str(name) for name in names], resamples, 0)
    adjust([found])
    return {group["name"]: group for group in found["groups"]}


def test_a_group_that_is_served_worse_is_found() -> None:
    names = halves(400)
    answers = predictions(np.where(names == "odd", 0.3, 3.0), np.full(400, 0.4))
    found = scored_by(measured_labels(answers), names)
    odd, even = found["odd"]["scores"]["sick"], found["even"]["scores"]["sick"]
    rows = names == "odd"
    exact = roc_auc_score(answers.truth[rows, 0], answers.logit[rows, 0])
    assert odd["score"]["value"] == pytest.approx(exact)
    assert odd["gap"]["high"] < 0 < even["gap"]["low"]
    assert odd["gap"]["value"] == pytest.approx(-even["gap"]["value"])
    assert odd["p_bootstrap"] < 0.02 and odd["p_permutation"] < 0.02
    assert MEAN not in found["odd"]["scores"]


def test_two_groups_are_one_test_for_holm() -> None:
    names = halves(400)
    answers = predictions(np.where(names == "odd", 0.3, 3.0), np.full(400, 0.4))
    found = scored_by(measured_labels(answers), names)
    odd, even = found["odd"]["scores"]["sick"], found["even"]["scores"]["sick"]
    assert odd["p_permutation_holm"] == odd["p_permutation"] == even["p_permutation_holm"]


def test_holm_is_over_all_groups_and_labels_and_over_the_means_apart() -> None:
    names = np.array([f"g{at // 2 % 3}" for at in range(360)])
    answers = predictions(np.full(360, 1.0), np.full(360, 0.5), ("a", "b"))
    found = scored_by(measured_labels(answers), names)
    p = [(g, t) for g in found for t in ("a", "b")]
    smallest = min(p, key=lambda at: found[at[0]]["scores"][at[1]]["p_permutation"])
    one = found[smallest[0]]["scores"][smallest[1]]
    assert one["p_permutation_holm"] == pytest.approx(min(1, 6 * one["p_permutation"]))
    means = [found[g]["scores"][MEAN] for g in found]
    least = min(means, key=lambda one: one["p_bootstrap"])
    assert least["p_bootstrap_holm"] == pytest.approx(min(1, 3 * least["p_bootstrap"]))


@pytest.mark.parametrize("within", [False, True], ids=["of-patients", "within-patients"])
def test_without_a_gap_few_are_found(within: bool) -> None:
    """Groups of other prevalence and the same skill: each test errs about as often as it says."""
    errors = np.zeros(2)
    for seed in range(25):
        names = np.array(["a", "b"] * 60) if within else halves(120)
        share = np.where(names == names[0], 0.25, 0.6)
        answers = predictions(np.full(120, 1.0), share, seed=seed)
        one = scored_by(measured_labels(answers), names, 59)[names[0]]["scores"]["sick"]
        errors += [one["p_bootstrap"] < 0.05, one["p_permutation"] < 0.05]
    assert (errors <= 5).all(), errors


def test_small_groups_are_listed_and_not_tested() -> None:
    names = halves(400)
    names[:6] = "few"
    found = scored_by(measured_labels(predictions(np.full(400, 1.0), np.full(400, 0.4))), names)
    few = found["few"]
    assert (few["patients"], few["records"], few["drift"]) == (3, 6, None)
    assert few["reason"] == "3 patients, and a test needs 10"
    assert few["scores"]["sick"]["score"]["low"] is None and not few["scores"]["sick"]["tested"]
    assert found["odd"]["scores"]["sick"]["tested"]


def test_a_group_of_one_class_and_a_lone_group_say_so() -> None:
    names = halves(200)
    answers = predictions(np.full(200, 1.0), np.where(names == "odd", 0.0, 0.5))
    found = scored_by(measured_labels(answers), names)
    assert found["odd"]["reason"].startswith("one class only")
    assert found["even"]["scores"]["sick"]["reason"].startswith("all others: one class only")
    assert found["even"]["scores"]["sick"]["score"]["low"] is not None
    alone = scored_by(measured_labels(answers), ["all"] * 200)["all"]
    assert alone["reason"] == "there is no other group"


def test_the_mean_is_over_labels_that_every_group_has() -> None:
    names = halves(200)
    answers = predictions(np.full(200, 1.0), np.full(200, 0.5), ("a", "b", "c"))
    answers.truth[names == "odd", 1] = 0
    found = score_groups(measured_labels(answers), names.tolist(), 50, 0)
    assert found["mean_of"] == ["a", "c"]
    odd = next(group for group in found["groups"] if group["name"] == "odd")
    each = [odd["scores"][name]["score"]["value"] for name in "ac"]
    assert odd["scores"][MEAN]["score"]["value"] == pytest.approx(np.mean(each))
    assert odd["scores"]["b"]["reason"].startswith("one class only")


def test_the_operating_point_drifts_with_the_group() -> None:
    names = halves(400)
    answers = predictions(np.full(400, 2.0), np.full(400, 0.4))
    answers.probability[names == "odd"] *= 0.5
    found = scored_by(measured_labels(answers, np.array([0.5])), names)
    odd, even = found["odd"]["drift"]["sick"], found["even"]["drift"]["sick"]
    assert odd["sensitivity"]["value"] < 0.1 < 0.5 < even["sensitivity"]["value"]
    assert odd["sensitivity_gap"]["high"] < 0 < odd["specificity_gap"]["low"]
    assert odd["excess"]["high"] < 0
    rows = (names == "odd") & (answers.truth[:, 0] == 0)
    share = (answers.probability[rows, 0] < 0.5).mean()
    assert odd["specificity"]["value"] == pytest.approx(share)


def test_a_score_a_record_is_enough() -> None:
    names, rng = halves(200), np.random.default_rng(0)
    dice = np.where(names == "odd", 0.7, 0.9) + rng.normal(0, 0.02, 200)
    dice[0] = np.nan
    ids, patients = [str(at) for at in range(200)], [str(at // 2) for at in range(200)]
    found = scored_by(measured_column("Dice", ids, patients, {"lung": dice}), names)
    assert found["odd"]["scores"]["lung"]["gap"]["value"] == pytest.approx(-0.2, abs=0.01)
    even = found["even"]["scores"]["lung"]["score"]["value"]
    assert even == pytest.approx(np.nanmean(dice[names == "even"]))
    assert found["odd"]["drift"] is None


def test_bands_and_unknown_values() -> None:
    assert grouping_of("age:0-40-60.5") == Grouping("age", (0.0, 40.0, 60.5))
    assert grouping_of("extra:site") == Grouping("extra:site")
    ages = [39.9, 40, None, float("nan"), 85, -1]
    names = group_names(grouping_of("age:0-40-80"), ages)
    assert names == ["0-40", "40-80", UNKNOWN, UNKNOWN, "80+", "<0"]
    assert in_order(names) == ["<0", "0-40", "40-80", "80+", UNKNOWN]
    assert group_names(Grouping("age"), [5.0, 17.9, 18.0]) == ["0-18", "0-18", "18-40"]
    assert group_names(Grouping("sex"), ["F", " ", None, "M "]) == ["F", UNKNOWN, UNKNOWN, "M"]
    assert in_order(["M", UNKNOWN, "F", "10", "9"]) == ["9", "10", "F", "M", UNKNOWN]


@pytest.mark.parametrize(
    ("text", "values", "reason"),
    [
        ("sex:0-40", ["F", "M"], "holds 'F', which is no number"),
        ("dose", [float(at) for at in range(40)], r"cut them into bands, such as --groups dose:0-"),
        ("name", [f"n{at}" for at in range(40)], "40 different values"),
    ],
)
def test_columns_that_make_no_groups(text: str, values: list[Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        group_names(grouping_of(text), values)


def test_edges_that_fall_are_refused() -> None:
    with pytest.raises(InputError, match="rise"):
        grouping_of("age:40-0")


def write_run(path: Path) -> Path:
    """A run whose predictions hold the column sex."""
    names = halves(240)
    answers = predictions(np.where(names == "odd", 0.3, 3.0), np.full(240, 0.4))
    columns = {
        "split": ["val"] * 120 + ["test"] * 120, "id": answers.ids, "patient": answers.patients,
        "sex": ["F" if name == "odd" else "<b>" for name in names],
        "label:sick": answers.truth[:, 0], "logit:sick": answers.logit[:, 0],
        "probability:sick": answers.probability[:, 0],
    }  # fmt: skip
    path.mkdir()
    pl.DataFrame(columns).write_parquet(path / "predictions.parquet")
    results = {"finished": True, "fingerprints": {"test": "abc"}}
    (path / "results.json").write_text(json.dumps(results))
    return path


def test_the_command_writes_the_page_and_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert main(["evaluate", str(run), "--groups", "sex", "--resamples", "100"]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    (grouping,) = found["groups"]["groupings"]
    assert [group["name"] for group in grouping["groups"]] == ["<b>", "F"]
    assert found["labels"]["sick"]["auroc"]["value"] is not None
    page = (run / "groups.html").read_text()
    assert "By sex" in page and "&lt;b&gt;" in page and "<b>F" not in page
    assert "data:image/svg" in page and "<script" not in page
    gap = grouping["groups"][1]["scores"]["sick"]["gap"]["value"]
    assert f"{gap:+.3f}" in page
    assert "run by sex" in capsys.readouterr().out


def test_a_column_that_is_nowhere_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert main(["evaluate", str(run), "--groups", "site"]) == 2
    told = capsys.readouterr().err.strip()
    assert "give them with --stores" in told.splitlines()[-1]


def test_few_of_a_class_are_scored_and_not_tested() -> None:
    names = halves(400)
    answers = predictions(np.full(400, 1.0), np.full(400, 0.5), ("rare", "common"))
    rows = np.flatnonzero(names == "odd")
    answers.truth[rows, 0] = 0
    answers.truth[rows[:4], 0] = 1
    found = score_groups(measured_labels(answers), names.tolist(), 50, 0)
    odd = next(group for group in found["groups"] if group["name"] == "odd")
    assert odd["scores"]["rare"]["reason"] == "2 patients with it, and a test needs 5"
    assert odd["scores"]["rare"]["score"]["value"] is not None
    assert odd["scores"]["common"]["tested"] and found["mean_of"] == ["common"]
