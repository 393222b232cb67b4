"""`radlearn misalignment`: a page, numbers that a program reads, and advice."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2e.conftest import run
from radlearn.records.grid import Grid
from radlearn.records.itk_transforms import read_transform
from radlearn.records.pair_store import open_pairs
from radlearn.records.phantom_heads import write_heads


def true_displacement(exam: Path, grid: Grid) -> np.ndarray:
    """mm along slices, rows and columns of a head's points, by the motion that was drawn."""
    to_target = read_transform(exam / "T2_to_T1.txt")
    places = np.indices(grid.shape).reshape(3, -1)[:, ::13].T - (np.array(grid.shape) - 1) / 2
    places = places[np.linalg.norm(places * grid.spacing, axis=1) < 80]
    points = (places + (np.array(grid.shape) - 1) / 2) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    flip = np.array([-1.0, -1.0, 1.0])
    back = to_target.GetInverse()
    away = [np.array(back.TransformPoint((p * flip).tolist())) * flip - p for p in points]
    return np.array(away) @ (grid.affine[:3, :3] / grid.spacing)


@pytest.fixture(scope="module")
def moved_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantom heads who moved before T2, prepared by the headers alone."""
    folder = tmp_path_factory.mktemp("moved")
    write_heads(folder / "heads", 2, 88, 3, moved=True)
    names = ("--source", "T1", "--target", "T2")
    prepare = ("prepare", "mri-pairs", folder / "heads", folder / "store", *names, "--size", 96)
    assert run(*prepare, "--val", 0, "--test", 0.5) == 0
    return folder / "store"


def test_a_page_numbers_and_advice(
    moved_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in moved_store.rglob("*")}
    assert run("misalignment", moved_store, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "misalignment.json").read_text())
    assert len(found["pairs"]) == 2 and not found["not_measured"]
    grids = {row["id"]: row["grid"] for row in open_pairs(moved_store).rows.to_dicts()}
    in_plane = []
    for pair in found["pairs"]:
        grid = Grid.from_json(json.loads(grids[pair["id"]]))
        true = true_displacement(moved_store.parent / "heads" / pair["id"], grid)
        in_plane.append(np.linalg.norm(true[:, 1:], axis=1) / grid.spacing[1])
        total, floor = np.median(np.linalg.norm(true, axis=1)), pair["total"]["floor"]
        assert floor < pair["total"]["median"] == pytest.approx(total, abs=floor)
        assert pair["information"]["after"] > pair["information"]["before"]
    assert np.median(in_plane[0]) > 0.5 or np.median(in_plane[1]) > 0.5
    mode = found["mode"]
    assert mode == "nc+r"
    assert f"mode: {mode}" in said and "head001" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert mode in page and "data:image" in page and "head002" in page
    assert {path: path.stat().st_mtime_ns for path in moved_store.rglob("*")} == before


def test_what_was_measured_is_not_measured_again_and_gives_the_same_bytes(
    moved_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("misalignment", moved_store, "--pairs", 1, "--out", tmp_path / "out")
    assert run(*given) == 0
    files = [tmp_path / "out" / name for name in ("misalignment.json", "report.html")]
    first = [file.read_bytes() for file in files]
    monkeypatch.setattr("radlearn.misalignment.displacement", None)
    assert run(*given) == 0
    assert [file.read_bytes() for file in files] == first


def test_slices_without_a_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:64, :64] - 31.5
    lumps = sum(
        np.exp(-((y - a) ** 2 + (x - b) ** 2) / 30) * s
        for a, b, s in rng.uniform(-1, 1, (14, 3)) * (20, 20, 1)
    )
    head = (np.hypot(y / 1.2, x) < 24) * (120 + 80 * lumps)
    for side, values in {"A": head, "B": np.where(head > 0, 300 - head, 0)}.items():
        (tmp_path / "in" / side).mkdir(parents=True)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(tmp_path / "in" / side / "a.png")
    names = ("--source", "A", "--target", "B", "--size", 64, "--val", 0, "--test", 0)
    assert run("prepare", "mri-pairs", tmp_path / "in", tmp_path / "store", *names) == 0
    assert run("misalignment", tmp_path / "store") == 0
    found = json.loads((tmp_path / "store-misalignment" / "misalignment.json").read_text())
    assert found["pairs"][0]["total"]["median"] < 0.5
    assert found["pairs"][0]["through_plane"]["max"] == 0


def test_other_stores_and_places_are_refused(
    moved_store: Path, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("misalignment", lab / "store") == 2
    assert "radiographs, not pairs" in capsys.readouterr().err
    assert run("misalignment", moved_store, "--out", moved_store / "inside") == 2
    assert "stays as it is" in capsys.readouterr().err
    assert run("misalignment", tmp_path / "nothing") == 2
    assert "no store" in capsys.readouterr().err


def test_unpaired_scans_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_heads(tmp_path / "in", 2, 32, 1)
    (tmp_path / "in" / "head001" / "T2.nii.gz").unlink()
    (tmp_path / "in" / "head002" / "T1.nii.gz").unlink()
    names = ("--source", "T1", "--target", "T2", "--unpaired", "True", "--size", 32)
    prepare = ("prepare", "mri-pairs", tmp_path / "in", tmp_path / "store", *names)
    assert run(*prepare, "--val", 0, "--test", 0) == 0
    assert run("misalignment", tmp_path / "store") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no pair" in line and "c+r" in line
