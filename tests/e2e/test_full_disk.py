"""File systems that really are full, or can only be read: one line, what was saved stays whole."""

import os
from pathlib import Path

import pytest
import torch

from e2e.conftest import run
from e2e.test_faults import command, said, same_bits
from limits import disk_of

ROOM = 2**28
KB = 2**10


def size_of(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(*command(lab, folder, "finetune")) == 0
    return folder


@pytest.mark.parametrize("share", [0.1, 0.45, 0.7, 0.95])
def test_a_run_on_a_disk_that_is_full_goes_on_when_there_is_room(
    lab: Path, whole: Path, tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with disk_of(int(share * size_of(whole)), tmp_path / "disk") as disk:
        given = command(lab, disk.place / "run", "finetune")
        assert run(*given) == 2
        assert "No space left on device" in said(capsys)
        folder = disk.place / "run"
        assert not list(folder.rglob("*.part"))
        for state in folder.glob("state/*.pt"):
            torch.load(state, weights_only=True)
        disk.resize(ROOM)
        assert run(*given) == 0
        assert run("check", folder) == 0
        same_bits(whole, folder)


@pytest.mark.parametrize("kind", ["folder", "mri-pairs"])
def test_a_store_on_a_disk_that_is_full_is_prepared_when_there_is_room(
    phantom_folder: Path, lab: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with disk_of(60 * KB, tmp_path / "disk") as disk:
        store = disk.place / "store"
        if kind == "folder":
            flags = ("--size", 64, "--val", 0, "--workers", 0)
            given = ("prepare", kind, phantom_folder, store, *flags)
        else:
            flags = ("--source", "T1", "--target", "T2", "--size", 32, "--val", 0, "--test", 0.34)
            given = ("prepare", kind, lab / "heads", store, *flags)
        assert run(*given) == 2
        assert "No space left on device" in said(capsys)
        assert not (store / "store.json").exists() and not list(store.rglob("*.part"))
        disk.resize(ROOM)
        assert run(*given) == 0
        assert run("check", store) == 0


def test_what_can_only_be_read_is_named_before_any_work(
    lab: Path, whole: Path, phantom_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with disk_of(ROOM, tmp_path / "disk") as disk:
        for name in ("run", "out"):
            (disk.place / name).mkdir()
        disk.read_only(True)
        before = sorted(disk.place.rglob("*"))
        for given in (
            command(lab, disk.place / "run", "finetune"),
            command(lab, disk.place / "new", "translate"),
            ("prepare", "folder", phantom_folder, disk.place / "store", "--size", 64),
            ("predict", whole, phantom_folder, "--out", disk.place / "out" / "a.csv"),
            ("deidentify", phantom_folder, disk.place / "clean"),
            ("import", whole / "model" / "backbone", "--out", disk.place / "imported"),
        ):
            assert run(*given) == 2, given[0]
            line = said(capsys)
            assert "Read-only file system" in line and os.fspath(disk.place) in line
        assert sorted(disk.place.rglob("*")) == before
