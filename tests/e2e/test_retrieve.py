"""`radlearn retrieve`, on phantoms whose reports say what is plain to see."""

import json
import os
from pathlib import Path

import polars as pl
import pytest

from e2e.conftest import run
from e2e.retrieval_lab import LABELS, write_obvious
from radlearn.records.store import open_store

SMALL = ("--image-size", 32, "--target-size", 32, "--patch", 8, "--batch", 32, "--words", 150)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hospital/, store/ and mrm/: a tiny MRM of a few dozen steps; read only."""
    folder = tmp_path_factory.mktemp("clinic")
    write_obvious(folder / "hospital", 400, 32, 0)
    table = ("--table", folder / "hospital" / "records.csv", "--label-columns", *LABELS)
    given = ("--size", 32, "--val", 0, "--test", 0.25)
    assert run("prepare", "folder", folder / "hospital", folder / "store", *table, *given) == 0
    model = ("--run", folder / "mrm", "--model", "tiny", "--epochs", 4, "--lr", 1.6e-2)
    assert run("pretrain", folder / "store", *model, *SMALL, "--warmup", 0.1) == 0
    return folder


@pytest.fixture(scope="module")
def scored(clinic: Path) -> Path:
    out = clinic / "retrieval"
    assert run("retrieve", clinic / "mrm", clinic / "store", "--out", out) == 0
    return out


def test_recall_at_10_is_well_above_chance(scored: Path) -> None:
    results = json.loads((scored / "results.json").read_text())
    assert results["seen_in_pretraining"] == 0
    for direction in results["recall"].values():
        at, chance = direction["at"]["10"], direction["chance"]["10"]
        assert at["low"] > chance
        assert at["value"] > 2 * chance
        assert direction["median"]["value"] < direction["chance_median"]


def test_answers_are_those_that_were_counted(clinic: Path, scored: Path) -> None:
    results = json.loads((scored / "results.json").read_text())
    answers = pl.read_parquet(scored / "answers.parquet")
    for direction, told in results["recall"].items():
        mine = answers.filter(pl.col("direction") == direction)
        assert mine.height == told["queries"] == results["records"]
        for cut in (1, 5, 10):
            share = float((mine["place"] <= cut).mean() or 0)
            assert told["at"][str(cut)]["value"] == pytest.approx(share)
    words = dict(open_store(clinic / "store").rows.select("id", "report").iter_rows())
    for row in answers.iter_rows(named=True):
        said = [words[one] for one in row["best"]]
        if row["place"] <= len(said):
            assert said[row["place"] - 1] == words[row["id"]]


def test_the_page_shows_queries_with_the_right_one_marked(scored: Path) -> None:
    page = (scored / "report.html").read_text()
    assert page.count("data:image/") >= 6 * 5
    assert "by chance" in page and "Precision by label" in page
    assert 'src="http' not in page and "<script" not in page


def test_words_find_images_and_an_image_finds_reports(
    clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (clinic / "mrm", clinic / "store", "--out", tmp_path, "--top", 10, "--records", 100)
    text = "Large left pleural effusion. Pleural fluid on the left."
    assert run("retrieve", *given, "--text", text) == 0
    found = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    rows = open_store(clinic / "store").rows
    effusion = dict(rows.select("id", "label:Effusion").iter_rows())
    assert sum(effusion[name] for name in found) >= 7  # half of all have one
    assert (tmp_path / "query.html").read_text().count("data:image/") == 10
    picture = clinic / "hospital" / rows["source"][0]
    assert run("retrieve", *given, "--image", picture) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and all(line.endswith(".") for line in lines)


def test_likelihood_of_the_nearest_ranks_them_alone(clinic: Path, tmp_path: Path) -> None:
    given = (clinic / "mrm", clinic / "store", "--out", tmp_path, "--records", 12)
    settings = ("--score", "likelihood", "--nearest", 3, "--resamples", 20)
    assert run("retrieve", *given, *settings) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["score"] == "likelihood" and results["nearest"] == 3
    assert results["recall"]["image to text"]["queries"] == 12


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--text", "xylophone quartet"), "in other words"),
        (("--text", " "), "--text is empty"),
        (("--split", "train"), "every training pair"),
        (("--image", "none.png"), "none.png"),
        (("--text", "a", "--image", "b.png"), "not both"),
        (("--nearest", 5), "--score likelihood"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(
    clinic: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: tuple[object, ...],
    said: str,
) -> None:
    out = os.fspath(tmp_path / "out")
    assert run("retrieve", clinic / "mrm", clinic / "store", "--out", out, *given) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("radlearn retrieve: ") and said in line


def test_a_run_of_images_alone_is_refused(
    clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--run", tmp_path / "mae", "--model", "tiny", "--objective", "image", "--epochs", 0.1)
    assert run("pretrain", clinic / "store", *given, *SMALL) == 0
    capsys.readouterr()
    assert run("retrieve", tmp_path / "mae", clinic / "store", "--out", tmp_path / "out") == 2
    assert "images and reports" in capsys.readouterr().err
