"""R on a new pair: what is written agrees with itself, with ITK, and with what was moved."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from e2e.conftest import run
from e2e.translation_lab import SIDE, Shift, Shown, known, translation_lab, turned
from radlearn.metrics.slice_scores import SCORES
from radlearn.records.volume import read_volume
from radlearn.translation import register
from unit.made_mr import write_mr


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return translation_lab(tmp_path_factory.getbasetemp())


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the run's G change nothing and its R answer with one step everywhere."""

    def step(like: Path, *moved: float, **changed: Any) -> None:
        translator = known(Shown(), like, Shift(moved) if moved else None, **changed)
        monkeypatch.setattr(register, "load_translator", lambda run, here: translator)

    return step


def test_a_trained_run_registers_a_pair(lab: Path, tmp_path: Path) -> None:
    exam = lab / "heads" / "head001"
    given = ("--moving", exam, "--fixed", exam / "T2.nii.gz", "--out", tmp_path / "out")
    assert run("register", lab / "run", *given) == 0
    out = {path.name for path in (tmp_path / "out").iterdir()}
    assert out == {"moved_T1.nii.gz", "field.nii.gz", "registration.json", "panel.png"}
    facts = json.loads((tmp_path / "out" / "registration.json").read_text())
    assert facts["before"].keys() == facts["after"].keys() == set(SCORES)
    assert facts["mode"] == "nc+r"
    assert 0 < facts["mean_mm"] <= facts["max_mm"] < 5
    assert 0 <= facts["folding_share"] <= 1
    source = nibabel.load(exam / "T1.nii.gz")
    for name in ("moved_T1.nii.gz", "field.nii.gz"):
        assert np.array_equal(nibabel.load(tmp_path / "out" / name).affine, source.affine)
    assert nibabel.load(tmp_path / "out" / "field.nii.gz").shape == (*source.shape, 1, 3)
    with Image.open(tmp_path / "out" / "panel.png") as panel:
        panel.load()


@pytest.mark.parametrize(
    ("order", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))], ids=["own", "turned"]
)
def test_a_pair_that_was_moved_is_brought_back(
    lab: Path, tmp_path: Path, stepping: Any, order: tuple[int, int, int], signs: tuple[int, ...]
) -> None:
    source = turned(lab / "heads" / "head001" / "T1.nii.gz", tmp_path / "T1.nii.gz", order, signs)
    image = nibabel.load(source)
    # Two voxels to the patient's left: on screen, where left is on the right, two columns on.
    left = image.affine[:3, :3] @ np.eye(3)[signs_axis(image)] * 2 * towards_left(image)
    fixed = nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    moved = image.affine.copy()
    moved[:3, 3] += left
    fixed.set_sform(moved, 1)
    fixed.set_qform(moved, 1)
    nibabel.save(fixed, tmp_path / "T2.nii.gz")
    stepping(source, 0.0, -2.0)
    given = ("--moving", source, "--fixed", tmp_path / "T2.nii.gz", "--out", tmp_path / "out")
    assert run("register", lab / "run", *given) == 0
    facts = json.loads((tmp_path / "out" / "registration.json").read_text())
    assert facts["after"]["paper_nmae"] < 0.002 < facts["before"]["paper_nmae"]
    assert facts["after"]["standard_psnr"] > facts["before"]["standard_psnr"] + 10
    assert facts["mean_mm"] == pytest.approx(np.linalg.norm(left), rel=1e-3)
    assert facts["folding_share"] == 0
    field = nibabel.load(tmp_path / "out" / "field.nii.gz").get_fdata()[:, :, :, 0]
    middle = tuple(n // 2 for n in image.shape)
    assert field[middle] == pytest.approx(-left * [-1, -1, 1], abs=1e-3)


def signs_axis(image: nibabel.Nifti1Image) -> int:
    """The voxel axis that runs between left and right."""
    return int(np.abs(image.affine[0, :3]).argmax())


def towards_left(image: nibabel.Nifti1Image) -> float:
    return -float(np.sign(image.affine[0, signs_axis(image)]))


def test_itk_moves_the_source_by_the_field_to_the_same_image(
    lab: Path, tmp_path: Path, stepping: Any
) -> None:
    source = lab / "heads" / "head001" / "T1.nii.gz"
    stepping(source, 1.25, -2.5)
    given = ("--moving", source, "--fixed", source.with_name("T2.nii.gz"), "--out", tmp_path)
    assert run("register", lab / "run", *given) == 0
    field = SimpleITK.ReadImage(str(tmp_path / "field.nii.gz"), SimpleITK.sitkVectorFloat64)
    image = SimpleITK.ReadImage(str(source), SimpleITK.sitkFloat32)
    transform = SimpleITK.DisplacementFieldTransform(field)
    itk = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, image, transform))
    ours = nibabel.load(tmp_path / "moved_T1.nii.gz").get_fdata().transpose(2, 1, 0)
    assert np.abs(itk - ours)[:, 4:-4, 4:-4].max() < 0.01 * ours.max()


def test_a_field_through_the_slices_too(lab: Path, tmp_path: Path, stepping: Any) -> None:
    source = lab / "heads" / "head001" / "T1.nii.gz"
    stepping(source, 1.0, 0.0, 0.0, patch=[16, 32, 32])
    given = ("--moving", source, "--fixed", source, "--out", tmp_path)
    assert run("register", lab / "run", *given) == 0
    moved, real = read_volume(tmp_path / "moved_T1.nii.gz"), read_volume(source)
    assert np.abs(moved.values[:, :, :-1] - real.values[:, :, 1:]).max() < 0.01
    field = nibabel.load(tmp_path / "field.nii.gz").get_fdata()[SIDE // 2, SIDE // 2, 8, 0]
    assert field == pytest.approx([0, 0, 7.0], abs=1e-3)


def test_a_source_of_dicom_is_moved_as_a_series(lab: Path, tmp_path: Path, stepping: Any) -> None:
    head = read_volume(lab / "heads" / "head001" / "T1.nii.gz").values
    series = write_mr(tmp_path / "in" / "T1", head.transpose(2, 1, 0)[6:10].astype(np.uint16))
    stepping(series, 0.0, 0.0, axis="coronal", size=[128, 64])
    given = ("--moving", series, "--fixed", series, "--out", tmp_path / "out")
    assert run("register", lab / "run", *given) == 0
    moved = read_volume(tmp_path / "out" / "moved_T1")
    assert np.array_equal(moved.affine, read_volume(series).affine)
    assert np.abs(moved.values - read_volume(series).values).max() < 0.5


def test_what_does_not_fit_is_one_line(
    lab: Path, tmp_path: Path, stepping: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    exam = shutil.copytree(lab / "heads" / "head001", tmp_path / "exam")
    source, fixed = exam / "T1.nii.gz", exam / "T2.nii.gz"
    far = nibabel.load(fixed)
    affine = far.affine.copy()
    affine[:3, 3] += 1000
    nibabel.save(nibabel.Nifti1Image(np.asarray(far.dataobj), affine), tmp_path / "far.nii.gz")

    def said(moving: Path, target: Path, out: Path) -> str:
        given = ("--moving", moving, "--fixed", target, "--out", out)
        assert run("register", lab / "run", *given) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert not any("Traceback" in line for line in lines)
        return lines[-1]

    out = tmp_path / "out"
    assert "nothing is at" in said(exam / "T7.nii.gz", fixed, out)
    assert "3 exams" in said(lab / "heads", fixed, out)
    assert "lie apart" in said(source, tmp_path / "far.nii.gz", out)
    shutil.copy(source, exam / "moved_T1.nii.gz")
    assert "written over" in said(exam / "moved_T1.nii.gz", fixed, exam)
    assert not out.exists()
    stepping(source)
    assert "no registration" in said(source, fixed, out)
