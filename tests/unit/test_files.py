"""Whole files or none, which others may read."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from radlearn.engine.log import Metrics, console, read_metrics
from radlearn.errors import InputError
from radlearn.files import replacing, write_text


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
