"""Finished work that can be trusted: damage is found, and a run's numbers can be had again."""

import json
import shutil
from pathlib import Path

import pytest

from e2e.conftest import run
from radlearn.records.phantoms import LABEL_NAMES


@pytest.fixture
def tuned(lab: Path, tmp_path: Path) -> Path:
    """A finished run of one's own to damage."""
    return shutil.copytree(lab / "lora", tmp_path / "lora")


def test_a_finished_run_is_whole(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", lab / "lora", lab / "backbone") == 0
    assert capsys.readouterr().err.count("files are whole") == 2


def test_a_changed_byte_a_cut_file_and_a_missing_one_are_named(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tuned / "model" / "adapter" / "adapter_model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    (tuned / "predictions.parquet").write_bytes(b"short")
    (tuned / "results.json").unlink()
    assert run("check", tuned) == 1
    said = capsys.readouterr().err
    assert "adapter_model.safetensors: its bytes have changed" in said
    assert "predictions.parquet: 5 bytes long, not" in said
    assert "results.json: missing" in said


def test_checksums_that_name_files_elsewhere_are_refused(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = json.loads((tuned / "checksums.json").read_text())
    listed["files"]["../secret"] = {"bytes": 1, "sha256": ""}
    (tuned / "checksums.json").write_text(json.dumps(listed))
    assert run("check", tuned) == 2
    assert "'../secret', which is not inside" in capsys.readouterr().err


def test_what_has_no_checksums_is_said_to_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", tmp_path) == 2
    assert "holds no finished run or store with checksums" in capsys.readouterr().err
    assert run("check", tmp_path / "absent") == 2


def test_the_first_steps_of_a_run_give_the_same_numbers(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", lab / "lora") == 0
    assert "the same: " in capsys.readouterr().err


def test_a_number_that_cannot_be_had_again_is_named(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (tuned / "metrics.jsonl").read_text().splitlines()]
    rows[1]["classification"] += 1e-7
    (tuned / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("verify", tuned) == 1
    assert f"not the same: classification at step {rows[1]['step']}" in capsys.readouterr().err


def test_stores_of_both_kinds_are_whole_until_a_pixel_changes(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, pairs = (shutil.copytree(lab / name, tmp_path / name) for name in ("store", "pairs"))
    assert run("check", tmp_path) == 0
    for file in (store / "images-00000.npy", next((pairs / "volumes").iterdir())):
        changed = bytearray(file.read_bytes())
        changed[-1] ^= 1
        file.write_bytes(changed)
        assert run("check", tmp_path) == 1
        assert f"{file.name}: its bytes have changed" in capsys.readouterr().err


def test_a_run_does_not_go_on_with_a_store_that_was_prepared_anew(
    lab: Path, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    table = ("--table", phantom_folder / "records.csv", "--label-columns", *LABEL_NAMES)
    prepare = ("prepare", "folder", phantom_folder, store, *table, "--val", 0, "--size", 32)
    train = ("finetune", store, "--run", tmp_path / "run", "--model", "tiny", "--steps", 2)
    train = (*train, "--image-size", 32, "--batch", 4, "--patch", 8)
    assert run(*prepare, "--seed", 0) == 0
    assert run(*train) == 0
    (tmp_path / "run" / "results.json").unlink()
    shutil.rmtree(store)
    assert run(*prepare, "--seed", 1) == 0
    assert run(*train) == 2
    assert "prepared anew since the run" in capsys.readouterr().err
