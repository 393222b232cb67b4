"""Stores of pairs: opened, pickled, and refused where they are something else."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.mri_pairs import SIDE, head, write_nifti
from radlearn.errors import InputError
from radlearn.records.grid import Grid, back
from radlearn.records.intensity import Window, unscaled
from radlearn.records.pair_settings import PairsConfig
from radlearn.records.pair_store import clipped, open_pairs, rows_of
from radlearn.records.prepare_pairs import prepare_pairs
from radlearn.records.record import Split
from radlearn.records.volume import read_volume


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four exams, each with its own order and direction of axes, tilt and spacing."""
    root, rng = tmp_path_factory.mktemp("exams"), np.random.default_rng(5)
    for number in range(4):
        affine = np.eye(4)
        turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        tilt = Rotation.from_euler("xyz", rng.uniform(-20, 20, 3), degrees=True).as_matrix()
        affine[:3, :3] = tilt @ turn * rng.uniform(0.5, 4, 3)
        affine[:3, 3] = rng.uniform(-99, 99, 3)
        for name, values in (("T1", head(number)), ("T2", 100 + 3 * head(number + 9))):
            write_nifti(root / f"p{number}" / f"{name}.nii", values, affine)
    return root


@pytest.fixture
def store(exams: Path, tmp_path: Path) -> Path:
    prepare_pairs(PairsConfig(exams, tmp_path / "store", ("T1",), ("T2",), size=32))
    return tmp_path / "store"


def test_the_row_leads_back_to_the_file(store: Path, exams: Path) -> None:
    """Within 1 % of the range of intensities, from what is stored alone."""
    opened = open_pairs(store)
    for row in range(opened.rows.height):
        grid = Grid.from_json(json.loads(opened.rows["grid"][row]))
        for side in ("source", "target"):
            file = read_volume(exams / opened.rows[side][row][0])
            (window,) = json.loads(opened.rows[f"{side}_windows"][row])
            values = unscaled(getattr(opened, side)(row)[0], Window(*window))
            kept = back(values, grid, file, fill=window[0])
            assert np.abs(kept - file.values).max() < 0.01 * np.ptp(file.values)


def test_volumes_are_mapped_and_a_pickle_is_a_path(store: Path) -> None:
    opened = open_pairs(store)
    assert isinstance(opened.source(0), np.memmap)
    assert opened.source(0).dtype == np.float16
    packed = pickle.dumps(opened)
    assert len(packed) < 1000
    again = pickle.loads(packed)
    np.testing.assert_array_equal(again.target(1), opened.target(1))


def test_clipping_leaves_the_background_at_minus_one() -> None:
    values = np.array([-1.3, -1.0, -0.5, 1.0, 1.7], np.float16)
    np.testing.assert_array_equal(clipped(values), np.float32([-1, -1, -0.5, 1, 1]))


def test_rows_of_splits_are_apart_and_in_seeded_order(store: Path) -> None:
    opened = open_pairs(store)
    orders = opened.rows["order"].to_list()
    parts = [rows_of(opened, split) for split in Split]
    assert sorted(row for rows in parts for row in rows) == list(range(opened.rows.height))
    for rows in (*parts, rows_of(opened, None)):
        assert [orders[row] for row in rows] == sorted(orders[row] for row in rows)


def test_what_is_no_store_of_pairs_says_what_it_is(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store at"):
        open_pairs(tmp_path / "nowhere")
    (tmp_path / "half" / "parts").mkdir(parents=True)
    with pytest.raises(InputError, match="not finished"):
        open_pairs(tmp_path / "half")
    info = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**info, "kind": "records"}))
    with pytest.raises(InputError, match="radiographs, not pairs"):
        open_pairs(store)
    (store / "store.json").write_text(json.dumps({**info, "count": 9}))
    with pytest.raises(InputError, match="damaged"):
        open_pairs(store)


def test_a_lost_volume_is_named(store: Path) -> None:
    next((store / "volumes").glob("00000-source*")).unlink()
    with pytest.raises(InputError, match=r"00000-source\.npy"):
        open_pairs(store).source(0)
    np.save(store / "volumes" / "00000-source.npy", np.zeros((SIDE, SIDE)))
    with pytest.raises(InputError, match="2-D float64"):
        open_pairs(store).source(0)
