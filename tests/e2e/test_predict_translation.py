"""A translation run's answers lie exactly where their sources lie, whatever came in."""

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from e2e.conftest import run
from e2e.translation_lab import SIDE, Shown, known, translation_lab, turned
from radlearn.records.intensity import window_of
from radlearn.records.volume import read_volume
from radlearn.translation import predict
from unit.made_mr import write_mr


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return translation_lab(tmp_path_factory.getbasetemp())


@pytest.fixture
def answering(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the run answer with networks that are known; returns the generator."""

    def answer(generator: Shown, like: Path, **changed: Any) -> Shown:
        translator = known(generator, like, **changed)
        monkeypatch.setattr(predict, "load_translator", lambda run, here: translator)
        return generator

    return answer


def off(made: Path, source: Path) -> float:
    """The largest difference inside the window, as a share of the intensity range."""
    values = read_volume(source).values
    window = window_of(values)
    wanted = np.clip(values, window.low, window.high)
    return float(np.abs(read_volume(made).values - wanted).max() / (window.high - window.low))


def test_a_trained_run_answers_in_the_space_of_its_source(lab: Path, tmp_path: Path) -> None:
    assert run("predict", lab / "run", lab / "heads", "--out", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"head00{number}_T2.nii.gz" for number in (1, 2, 3)
    ]
    for number in (1, 2, 3):
        made = nibabel.load(tmp_path / f"head00{number}_T2.nii.gz")
        source = nibabel.load(lab / "heads" / f"head00{number}" / "T1.nii.gz")
        assert np.array_equal(made.affine, source.affine)
        assert made.shape == source.shape
        for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "descrip", "srow_x"):
            assert made.header[field].tobytes() == source.header[field].tobytes(), field
        assert np.std(made.get_fdata()) > 0


def test_the_same_command_gives_the_same_bytes(lab: Path, tmp_path: Path) -> None:
    source = lab / "heads" / "head001" / "T1.nii.gz"
    made = tmp_path / "T1_T2.nii.gz"
    first = None
    for _ in range(2):
        assert run("predict", lab / "run", source, "--out", tmp_path) == 0
        first = first or made.read_bytes()
    assert made.read_bytes() == first


@pytest.mark.parametrize(
    ("order", "signs", "axis"),
    [
        ((0, 1, 2), (1, 1, 1), "axial"),
        ((2, 0, 1), (-1, 1, -1), "axial"),
        ((1, 2, 0), (1, -1, -1), "coronal"),
        ((2, 1, 0), (-1, -1, 1), "sagittal"),
    ],
)
def test_what_changes_nothing_gives_the_scan_back(
    lab: Path,
    tmp_path: Path,
    answering: Any,
    order: tuple[int, int, int],
    signs: tuple[int, ...],
    axis: str,
) -> None:
    head = lab / "heads" / "head001" / "T1.nii.gz"
    source = turned(head, tmp_path / "in" / "scan.nii.gz", order, signs)
    answering(Shown(), source, axis=axis)
    assert run("predict", lab / "run", source, "--out", tmp_path / "out") == 0
    made = tmp_path / "out" / "scan_T2.nii.gz"
    assert np.array_equal(nibabel.load(made).affine, nibabel.load(source).affine)
    assert off(made, source) < 0.01


def test_a_plane_larger_than_the_run_knows_goes_by_windows(
    lab: Path, tmp_path: Path, answering: Any
) -> None:
    source = lab / "heads" / "head001" / "T1.nii.gz"
    seen = answering(Shown(), source, size=[24, 32]).seen
    assert run("predict", lab / "run", source, "--out", tmp_path, "--batch", 5) == 0
    assert off(tmp_path / "T1_T2.nii.gz", source) < 0.01
    assert {shape[2:] for shape in seen} == {(24, 32)}
    assert max(shape[0] for shape in seen) <= 5


def test_a_run_in_3d_answers_by_patches(lab: Path, tmp_path: Path, answering: Any) -> None:
    source = lab / "heads" / "head001" / "T1.nii.gz"
    seen = answering(Shown(), source, patch=[16, 32, 32]).seen
    assert run("predict", lab / "run", source, "--out", tmp_path) == 0
    assert off(tmp_path / "T1_T2.nii.gz", source) < 0.01
    assert {shape[2:] for shape in seen} == {(16, 32, 32)}


def test_slices_go_through_a_few_at_a_time(lab: Path, tmp_path: Path, answering: Any) -> None:
    source = lab / "heads" / "head001" / "T1.nii.gz"
    seen = answering(Shown(), source).seen
    assert run("predict", lab / "run", source, "--out", tmp_path, "--batch", 3) == 0
    assert max(shape[0] for shape in seen) == 3


def test_another_spacing_is_undone(lab: Path, tmp_path: Path, answering: Any) -> None:
    source = lab / "heads" / "head001" / "T1.nii.gz"
    answering(Shown(), source, spacing=[3.5, 3.0, 3.0], size=[96, 96])
    assert run("predict", lab / "run", source, "--out", tmp_path) == 0
    made, real = read_volume(tmp_path / "T1_T2.nii.gz"), read_volume(source)
    assert np.array_equal(made.affine, real.affine)
    assert np.corrcoef(made.values.ravel(), real.values.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("channel", range(3))
def test_channels_come_in_the_order_of_the_run(
    lab: Path, tmp_path: Path, answering: Any, channel: int
) -> None:
    names = ["FLAIR", "T1", "T2"]
    exam = lab / "heads" / "head002"
    like = exam / f"{names[channel]}.nii.gz"
    answering(Shown(channel), like, source_names=names, target_names=["PD"])
    assert run("predict", lab / "run", exam, "--out", tmp_path) == 0
    assert off(tmp_path / "head002_PD.nii.gz", like) < 0.01


def test_a_dicom_series_is_answered_by_a_series(lab: Path, tmp_path: Path, answering: Any) -> None:
    head = read_volume(lab / "heads" / "head001" / "T1.nii.gz").values
    series = write_mr(tmp_path / "in" / "T1", head.transpose(2, 1, 0)[6:10].astype(np.uint16))
    answering(Shown(), series, axis="coronal", size=[128, 64])
    assert run("predict", lab / "run", series, "--out", tmp_path / "out") == 0
    made = tmp_path / "out" / "T1_T2"
    assert np.array_equal(read_volume(made).affine, read_volume(series).affine)
    assert off(made, series) < 0.01
    assert run("predict", lab / "run", series.parent, "--out", tmp_path / "exams") == 0
    assert [path.name for path in (tmp_path / "exams").iterdir()] == ["in_T2"]


def test_slices_of_png_and_arrays_are_answered_alike(
    lab: Path, tmp_path: Path, answering: Any
) -> None:
    values = read_volume(lab / "heads" / "head001" / "T1.nii.gz").values[:, :, 10]
    picture, array = tmp_path / "in" / "a.png", tmp_path / "in" / "b" / "c.npy"
    array.parent.mkdir(parents=True)
    Image.fromarray(values.astype(np.uint16)).save(picture)
    np.save(array, values)
    answering(Shown(), picture)
    assert run("predict", lab / "run", picture.parent, "--out", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "a_T2.png") as made:
        assert made.size == values.shape[::-1] or made.size == values.shape
        assert made.mode.startswith("I;16")
    assert off(tmp_path / "out" / "a_T2.png", picture) < 0.01
    assert np.load(tmp_path / "out" / "b" / "c_T2.npy").shape == values.shape


def test_what_cannot_be_read_is_named_and_the_rest_answered(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(lab / "heads" / "head001" / "T1.nii.gz", folder / "good.nii.gz")
    whole = (folder / "good.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(folder / "colour.png")
    np.save(folder / "flat.npy", np.ones((48, 48)))
    np.save(folder / "nan.npy", np.full((48, 48), np.nan))
    (folder / "notes.md").write_text("not a scan")
    assert run("predict", lab / "run", folder, "--out", tmp_path / "out") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "cannot read" in line]
    reasons = {line.split(": ")[0].split("/")[-1]: line.split(": ", 1)[1] for line in said}
    assert reasons.keys() == {"cut.nii.gz", "colour.png", "flat.npy", "nan.npy", "notes.md"}
    assert "cut short" in reasons["cut.nii.gz"] or "damaged" in reasons["cut.nii.gz"]
    assert "RGB" in reasons["colour.png"]
    assert "constant" in reasons["flat.npy"]
    assert "NaN" in reasons["nan.npy"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good_T2.nii.gz"]


def test_an_exam_without_its_source_is_named(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(lab / "heads", tmp_path / "in")
    (tmp_path / "in" / "head002" / "T1.nii.gz").unlink()
    assert run("predict", lab / "run", tmp_path / "in", "--out", tmp_path / "out") == 1
    assert f"cannot read {tmp_path / 'in' / 'head002'}: it has no T1" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_channel_that_is_missing_is_one_line(
    lab: Path, tmp_path: Path, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    exam = shutil.copytree(lab / "heads" / "head001", tmp_path / "exam")
    (exam / "FLAIR.nii.gz").unlink()
    answering(Shown(), exam / "T1.nii.gz", source_names=["T1", "FLAIR"])
    for given, reason in ((exam, "it has no FLAIR"), (exam / "T1.nii.gz", "needs T1 and FLAIR")):
        assert run("predict", lab / "run", given, "--out", tmp_path / "out") == 2
        assert reason in capsys.readouterr().err


def test_nothing_is_written_over_what_was_read(
    lab: Path, tmp_path: Path, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    head = read_volume(lab / "heads" / "head001" / "T1.nii.gz").values
    series = write_mr(tmp_path / "T1", head.transpose(2, 1, 0)[6:10].astype(np.uint16))
    answering(Shown(), series, size=[64, 64])
    before = sorted(path.name for path in series.iterdir())
    assert run("predict", lab / "run", series, "--out", series) == 2
    assert "would be written over" in capsys.readouterr().err
    assert sorted(path.name for path in series.iterdir()) == before


def test_two_inputs_of_one_name_are_refused_before_any_work(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [lab / "heads" / f"head00{number}" / "T1.nii.gz" for number in (1, 2)]
    assert run("predict", lab / "run", *given, "--out", tmp_path / "out") == 2
    line = capsys.readouterr().err
    assert all(str(one) in line for one in given)
    assert not (tmp_path / "out").exists()


def test_flags_of_the_other_mission_are_refused(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = lab / "heads" / "head001"
    assert run("predict", lab / "run", source, "--saliency", tmp_path / "maps") == 2
    assert "--saliency" in capsys.readouterr().err
    (tmp_path / "table.csv").touch()
    assert run("predict", lab / "run", source, "--out", tmp_path / "table.csv") == 2
    assert "cannot write to the folder" in capsys.readouterr().err


def test_a_real_head_comes_back(
    radlearn_data: Path, lab: Path, tmp_path: Path, answering: Any
) -> None:
    source = radlearn_data / "mri" / "raw" / "patient12_study1" / "T1W.nii.gz"
    answering(Shown(), source, size=[192, 192], target_names=["T2W"], source_names=["T1W"])
    assert run("predict", lab / "run", source, "--out", tmp_path) == 0
    made = nibabel.load(tmp_path / "T1W_T2W.nii.gz")
    assert np.array_equal(made.affine, nibabel.load(source).affine)
    assert off(tmp_path / "T1W_T2W.nii.gz", source) < 0.01
    assert SIDE < 192
