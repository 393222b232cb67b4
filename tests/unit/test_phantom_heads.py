"""Phantom heads are the same every time, line up unless moved, and ask for more than a table."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from radlearn.errors import InputError
from radlearn.records.phantom_heads import SEQUENCES, head, itk_text, rigid, signals, write_heads

SEED = 5
SIDE = 32


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_heads(folder, 3, SIDE, SEED)
    return folder


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moved")
    write_heads(folder, 2, SIDE, SEED, moved=True)
    return folder


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.load(path)
    return np.asanyarray(image.dataobj), image.affine


def test_every_exam_has_its_sequences_in_one_space(exams: Path) -> None:
    assert [folder.name for folder in sorted(exams.iterdir())] == ["head001", "head002", "head003"]
    for folder in exams.iterdir():
        volumes = {name: read(folder / f"{name}.nii.gz") for name in SEQUENCES}
        assert len(list(folder.iterdir())) == len(SEQUENCES)
        for values, affine in volumes.values():
            assert values.dtype == np.int16 and values.shape == (SIDE, SIDE, SIDE // 2)
            np.testing.assert_allclose(np.abs(np.diag(affine)), [7, 7, 10.5, 1])
            np.testing.assert_array_equal(affine, volumes["T1"][1])
            assert 250 < np.percentile(values, 99.9) < 3000
            np.testing.assert_array_equal(values == 0, volumes["T1"][0] == 0)


def test_air_is_nothing_and_the_head_is_inside(exams: Path) -> None:
    for folder in exams.iterdir():
        values, _ = read(folder / "T1.nii.gz")
        assert 0.4 < (values == 0).mean() < 0.85
        assert not values[[0, -1]].any() and not values[:, [0, -1]].any()


def test_the_folder_is_the_same_again_and_other_seeds_differ(tmp_path: Path, exams: Path) -> None:
    write_heads(tmp_path / "again", 1, SIDE, SEED)
    write_heads(tmp_path / "other", 1, SIDE, SEED + 1)
    for name in SEQUENCES:
        first = exams / "head001" / f"{name}.nii.gz"
        assert first.read_bytes() == (tmp_path / "again/head001" / first.name).read_bytes()
        other, _ = read(tmp_path / "other/head001" / first.name)
        assert np.abs(read(first)[0].astype(float) - other).mean() > 20
    one, two = (read(exams / name / "T2.nii.gz")[0] for name in ("head001", "head002"))
    assert np.abs(one.astype(float) - two).mean() > 20


def test_t2_follows_from_t1_but_from_no_table_of_its_values() -> None:
    """The best table leaves errors that somebody who sees the neighbourhood would not make."""
    sides = [np.linspace(-100, 100, 40), np.linspace(-100, 100, 40), np.linspace(-30, 50, 12)]
    points = np.stack(np.meshgrid(*sides, indexing="ij"))
    measured = signals(head(0, SEED), points, 3.0)
    inside = measured["T1"] > 0
    t1, t2 = measured["T1"][inside], measured["T2"][inside]
    bins = np.digitize(t1, np.arange(0, 1000, 25))
    table = np.array([t2[bins == each].mean() if (bins == each).any() else 0 for each in range(41)])
    left = np.square(t2 - table[bins]).mean() / t2.var()
    assert 0.05 < left < 0.8


def test_some_heads_have_lesions_and_most_have_none() -> None:
    found = [len(head(patient, SEED).lesions) > 0 for patient in range(200)]
    assert 0.2 < np.mean(found) < 0.5


def test_a_lesion_is_bright_on_t2_and_flair() -> None:
    drawn = next(one for one in (head(p, SEED) for p in range(50)) if one.lesions)
    centre = drawn.lesions[0][0].reshape(3, 1, 1, 1)
    bend = 8.0  # the lesion is where the bent anatomy has it
    grid = np.stack(np.meshgrid(*[np.linspace(-bend, bend, 9)] * 3, indexing="ij"))
    measured = signals(drawn, centre + grid, 1.0)
    assert measured["FLAIR"].max() > 900
    assert measured["T2"].max() > 800


def test_a_moved_t2_lies_where_its_transform_says(moved: Path) -> None:
    for folder in sorted(moved.iterdir()):
        (t1, from_t1), (t2, from_t2) = (read(folder / f"{name}.nii.gz") for name in ("T1", "T2"))
        assert t2.shape == (SIDE, SIDE, SIDE * 3 // 8)
        assert np.abs(from_t2[:3, :3]).astype(bool).sum() > 3, "oblique"
        text = (folder / "T2_to_T1.txt").read_text()
        numbers = np.array(text.split("Parameters:")[1].split("\n")[0].split(), dtype=float)
        there = np.eye(4)
        there[:3] = np.column_stack([numbers[:9].reshape(3, 3), numbers[9:]])
        flip = np.diag([-1, -1, 1, 1])
        by_text = overlap(t1, t2, np.linalg.inv(from_t2) @ flip @ there @ flip @ from_t1)
        by_header = overlap(t1, t2, np.linalg.inv(from_t2) @ from_t1)
        assert by_text > 0.95 and by_text > by_header


def overlap(fixed: np.ndarray, moving: np.ndarray, index: np.ndarray) -> float:
    """Dice of the heads, at the fixed voxels whose place the moving volume holds."""
    places = np.indices(fixed.shape).reshape(3, -1)
    there = np.round(index[:3, :3] @ places + index[:3, 3:]).astype(int)
    held = ((there >= 0) & (there < np.array(moving.shape)[:, None])).all(0)
    first, second = fixed.ravel()[held] > 0, moving[tuple(there[:, held])] > 0
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_itk_reads_the_transform(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    motion = rigid(np.array([3.0, -2.0, 4.0]), np.array([1.0, 2.0, -3.0]))
    (tmp_path / "motion.txt").write_text(itk_text(motion))
    found = sitk.ReadTransform(str(tmp_path / "motion.txt")).TransformPoint((10.0, 20.0, 30.0))
    x, y, z = (motion @ [-10, -20, 30, 1])[:3]
    np.testing.assert_allclose(found, [-x, -y, z], atol=1e-9)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        write_heads(tmp_path / "taken", 1, 16, SEED)
