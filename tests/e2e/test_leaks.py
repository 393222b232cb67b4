"""Two stores of the same patients: nobody is trained on and scored."""

from pathlib import Path

import pytest

from e2e.conftest import run
from radlearn.records.phantoms import LABEL_NAMES


def test_stores_that_disagree_on_who_is_held_apart_are_refused(
    lab: Path, phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("--table", phantom_folder / "records.csv", "--label-columns", *LABEL_NAMES)
    prepare = ("prepare", "folder", phantom_folder, tmp_path / "other", *labels, "--size", 64)
    assert run(*prepare, "--seed", 5, "--workers", 0) == 0
    both = ("finetune", lab / "store", tmp_path / "other", "--run", tmp_path / "run")
    assert run(*both, "--steps", 1) == 2
    assert "of patients that are trained on" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
