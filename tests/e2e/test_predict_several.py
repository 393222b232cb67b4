"""Several runs on one backbone answer in one command as each does alone."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from e2e.conftest import TUNERS, run


@pytest.fixture(scope="module")
def alone(lab: Path, phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table a run; the pictures are few and beside them."""
    folder = tmp_path_factory.mktemp("alone")
    pictures = folder / "pictures"
    pictures.mkdir()
    for path in sorted((phantom_folder / "images").rglob("*.*"))[:5]:
        (pictures / path.name).write_bytes(path.read_bytes())
    for name in TUNERS:
        assert run("predict", lab / name, pictures, "--out", folder / f"{name}.parquet") == 0
    return folder


def labels_of(table: pl.DataFrame) -> list[str]:
    return [name for name in table.columns if name != "file" and not name.endswith(" called")]


def test_every_run_answers_for_each_picture(lab: Path, alone: Path) -> None:
    out = alone / "all.parquet"
    others = ("--adapters", lab / "full", lab / "linear", "--batch", 2)
    assert run("predict", lab / "lora", alone / "pictures", *others, "--out", out) == 0
    found = pl.read_parquet(out)
    for name in TUNERS:
        expected = pl.read_parquet(alone / f"{name}.parquet")
        assert found["file"].to_list() == expected["file"].to_list()
        assert labels_of(expected)
        for label in labels_of(expected):
            np.testing.assert_allclose(found[f"{name}: {label}"], expected[label], atol=2e-3)
    assert found.width == 1 + len(TUNERS) * (expected.width - 1)


def test_each_picture_has_the_run_that_a_table_names(
    lab: Path, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [path.name for path in sorted((alone / "pictures").iterdir())]
    chosen = {file: TUNERS[at % 3] for at, file in enumerate(files)}
    which, out = alone / "which.csv", alone / "each.csv"
    pl.DataFrame({"file": list(chosen), "run": list(chosen.values())}).write_csv(which)
    given = ("--adapters", lab / "full", lab / "linear", "--which", which, "--out", out)
    assert run("predict", lab / "lora", alone / "pictures", *given) == 0
    for row in pl.read_csv(out).iter_rows(named=True):
        name = chosen[Path(row["file"]).name]
        table = pl.read_parquet(alone / f"{name}.parquet")
        (expected,) = table.filter(pl.col("file") == row["file"]).iter_rows(named=True)
        assert row["run"] == name
        for label in labels_of(table):
            assert row[label] == pytest.approx(expected[label], abs=2e-3)
    pl.DataFrame({"file": files[1:], "run": ["lora"] * 4}).write_csv(which)
    assert run("predict", lab / "lora", alone / "pictures", *given) == 2
    assert "names no run for 1 files" in capsys.readouterr().err


def test_what_cannot_share_a_backbone_is_said(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("predict", lab / "lora", lab / "store", "--out", tmp_path / "out.csv")
    assert run(*given, "--which", tmp_path / "which.csv") == 2
    assert "name the others by --adapters" in capsys.readouterr().err
    assert run(*given, "--adapters", lab / "lora") == 2
    assert "given twice" in capsys.readouterr().err
    elsewhere = tmp_path / "elsewhere"
    small = ("--tuner", "linear", "--model", "tiny", "--image-size", 48, "--patch", 8)
    shape = (*small, "--steps", 1, "--batch", 4, "--evaluations", 1)
    assert run("finetune", lab / "store", "--run", elsewhere, *shape) == 0
    capsys.readouterr()
    assert run(*given, "--adapters", elsewhere) == 2
    assert "predict with each alone" in capsys.readouterr().err
