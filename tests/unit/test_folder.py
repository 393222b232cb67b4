"""A run's folder: one process writes; a run that learnt nothing can be forgotten."""

from pathlib import Path

import pytest

from radlearn.engine.folder import RunFolder
from radlearn.errors import InputError


def test_the_other_processes_of_a_launcher_are_not_locked_out(tmp_path: Path) -> None:
    run = RunFolder.begin(tmp_path / "run", "test", {"lr": 1})
    other = RunFolder.begin(tmp_path / "run", "test", {"lr": 1}, main=False)
    other.abandon()
    other.close()
    assert (tmp_path / "run" / "config.json").exists()
    with pytest.raises(InputError, match="another process"):
        RunFolder.begin(tmp_path / "run", "test", {"lr": 1})
    run.close()


def test_a_run_is_forgotten_only_while_it_has_learnt_nothing(tmp_path: Path) -> None:
    run = RunFolder.begin(tmp_path, "test", {"lr": 1})
    run.model.mkdir()
    run.abandon()
    run.close()
    run = RunFolder.begin(tmp_path, "test", {"lr": 2})
    run.state.mkdir()
    (run.state / "step-00000001.pt").touch()
    run.abandon()
    run.close()
    with pytest.raises(InputError, match="lr = 2, not 3"):
        RunFolder.begin(tmp_path, "test", {"lr": 3})


def test_a_folder_of_other_things_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="is not a run"):
        RunFolder.begin(tmp_path, "test", {})
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
