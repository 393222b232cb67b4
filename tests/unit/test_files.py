"""Whole files or none, which others may read."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

from limits import files_up_to
from radlearn.engine.log import Metrics, console, read_metrics
from radlearn.errors import InputError
from radlearn.files import is_remote, listed, replacing, resolved, shown, spelled, write_text


def test_weights_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "model.safetensors") as temporary:
            save_file({"a": np.zeros(3)}, temporary)
        write_text(tmp_path / "config.json", "{}")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o640}


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_text(tmp_path / "file" / "a", "text")


def test_a_path_is_printed_whole(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / f"[old] {'exam ' * 20}" / "[/x].png"
    with console.capture() as captured:
        console.print(f"cannot read {path}: it is empty")
    assert captured.get() == f"cannot read {path}: it is empty\n"


def test_a_row_of_metrics_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 0.5} for step in (1, 2, 3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text[:-8])
    assert read_metrics(tmp_path) == rows[:2]
    with Metrics(tmp_path, resumed_at=1):
        pass
    assert read_metrics(tmp_path) == rows[:1]


BIG = np.arange(50_000, dtype=np.float64)


def as_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, BIG)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("a" * 100_000),
    "torch": lambda path: torch.save({"a": torch.from_numpy(BIG)}, path),
    "safetensors": lambda path: save_file({"a": BIG}, path),
    "array": as_array,
    "parquet": lambda path: pl.DataFrame({"a": BIG}).write_parquet(path),
    "csv": lambda path: pl.DataFrame({"a": BIG}).write_csv(path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_clear_line_and_the_old_file_stays(tmp_path: Path, kind: str) -> None:
    write_text(tmp_path / "a", "old")
    with (
        pytest.raises(InputError, match=r"cannot write .*/a: .*free some space"),
        files_up_to(20_000),
        replacing(tmp_path / "a") as temporary,
    ):
        WRITERS[kind](temporary)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_fault_of_a_writer_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="its own"), replacing(tmp_path / "a"):
        raise RuntimeError("its own")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["=1+1.png", "+a", "-a/b.png", "@a", "\ta", "\ra"])
def test_a_path_in_a_table_is_the_same_file_and_no_formula(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "there")
    assert not listed(name).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert (tmp_path / listed(name)).read_text() == "there"
    assert listed("a=b.png") == "a=b.png"


@pytest.mark.parametrize("url", ["s3://bucket/a/store", "gs://bucket/store", "https://host/store"])
def test_a_place_in_object_storage_is_spelled_with_both_slashes(url: str) -> None:
    path = Path(url)
    assert is_remote(path) and spelled(path) == url and resolved(path) == path
    assert spelled(Path(spelled(path))) == url
    assert shown(path / "records.parquet") == f"{url}/records.parquet"


@pytest.mark.parametrize("name", ["stores/nih", "/data/nih", "C:/data/nih", "a:b/c", "s3:", "./s3"])
def test_a_folder_is_no_object_storage(name: str) -> None:
    path = Path(name)
    assert not is_remote(path) and spelled(path) == str(path) and resolved(path) == path.resolve()
