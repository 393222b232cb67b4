"""`radlearn evaluate` over translation runs, by the command line, from folders to folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from radlearn.cli import main
from unit.made_translation_run import SLICES, scores, write_run


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--resamples", "200"])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert evaluate(*arguments) == 2
    return capsys.readouterr().err


def evaluation(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluation.json").read_text())
    return found


def test_one_run_is_scored_after_its_last_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert evaluate(run) == 0
    found, told = evaluation(run), capsys.readouterr().out
    assert (found["step"], found["fingerprint"], found["patients"]) == (20, "abc", 3)
    assert (found["slices"], found["empty"]) == (sum(SLICES.values()) - 3, 3)
    last = scores().filter((pl.col("step") == 20) & (pl.col("foreground") > 0))
    by_patient = last.group_by("patient").agg(pl.col("standard_ssim").mean())["standard_ssim"]
    ssim = found["scores"]["standard_ssim"]
    assert ssim["overall"]["value"] == pytest.approx(by_patient.mean())
    assert ssim["overall"]["low"] < ssim["overall"]["value"] < ssim["overall"]["high"]
    assert set(ssim["patients"]) == set(SLICES)
    assert "blocks of" in told and "do not cover other patients or other seeds" in " ".join(
        told.split()
    )


def test_another_step_may_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    assert evaluate(run, "--step", 10) == 0
    assert evaluation(run)["step"] == 10
    assert "was not scored after step 15; it was after: 10, 20" in refused(
        capsys, run, "--step", 15
    )


def test_two_runs_are_compared_and_the_better_one_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = write_run(tmp_path / "p2p", scores(seed=1), registered=False)
    better = write_run(tmp_path / "nc+r", scores(seed=2, decibels=23.0))
    assert evaluate(worse, better, "--out", tmp_path / "difference.json") == 0
    comparison = json.loads((tmp_path / "difference.json").read_text())
    (pair,) = comparison["pairs"]
    psnr = pair["scores"]["paper_psnr"]
    assert psnr["overall"]["value"] == pytest.approx(1.0, abs=0.2)
    assert psnr["overall"]["p"] < 0.02 and pair["scores"]["paper_nmae"]["overall"]["value"] < 0
    assert psnr["overall"]["p"] <= psnr["overall"]["p_holm"]
    assert len(psnr["patients"]) == 3 and all(
        one["p"] <= one["p_holm"] for one in psnr["patients"].values()
    )
    page = (tmp_path / "difference.html").read_text()
    assert "nc+r − p2p" in page and "PSNR, as the paper: each patient" in page
    assert "nc+r less p2p" in capsys.readouterr().out


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", scores().sample(fraction=1.0, shuffle=True, seed=1)),
    ]
    assert evaluate(*runs) == 0
    assert evaluation(runs[0])["scores"] == evaluation(runs[1])["scores"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.col("id") + "x", "slices are in the first alone"),
        (pl.col("slice") + 1, "slices are in the first alone"),
        (pl.lit("ann").alias("patient"), "into different patients"),
        (pl.col("foreground") / 2, "their targets differ"),
    ],
)
def test_other_records_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: pl.Expr, message: str
) -> None:
    one = write_run(tmp_path / "one")
    other = write_run(tmp_path / "other", scores(seed=1).with_columns(change))
    assert message in refused(capsys, one, other)


def test_other_fingerprints_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_run(tmp_path / "one")
    other = write_run(tmp_path / "other", scores(seed=1), fingerprints={"test": "other"})
    assert "the fingerprints of their test splits differ" in refused(capsys, one, other)


def test_runs_of_two_missions_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "tuned")
    (other / "config.json").write_text('{"mission": "finetuning"}')
    assert "evaluate runs of one kind together" in refused(capsys, one, other)
    assert "--step is for translations" in refused(capsys, other, "--step", 10)
    assert "--labels is for fine-tuned runs" in refused(capsys, one, "--labels", "sick")


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (scores().drop("paper_ssim"), "no column paper_ssim"),
        (scores().with_columns(pl.lit("high").alias("paper_ssim")), "holds no numbers"),
        (scores().with_columns(pl.lit(np.nan).alias("paper_ssim")), "its training went wrong"),
        (scores().with_columns(pl.lit(0.0).alias("foreground")), "is all background"),
        (scores().with_columns(pl.lit("val").alias("split")), "no test scores; it has: val"),
        (pl.concat([scores(), scores()]), "scored a slice twice after step 20"),
    ],
)
def test_spoilt_predictions_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: pl.DataFrame, message: str
) -> None:
    told = refused(capsys, write_run(tmp_path / "run", spoilt))
    assert message in told
    assert told.count("\n") == 1


def test_an_unfinished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    (run / "results.json").unlink()
    assert "is not finished" in refused(capsys, run)
