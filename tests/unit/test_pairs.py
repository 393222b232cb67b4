"""Finding pairs, and transforms between the scans of an exam."""

from pathlib import Path

import numpy as np
import pytest

from data.mri_pairs import write_exams, write_nifti
from radlearn.datasets.mri_pairs import PairOptions, find_pairs
from radlearn.errors import InputError, UnreadableError
from radlearn.records.itk_transforms import between, read_transform
from radlearn.records.pair_exam import build
from radlearn.records.pair_settings import PairsConfig
from radlearn.records.pair_store import clipped

RIGID = (
    "#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}\n"
    "Parameters: {parameters}\nFixedParameters: {fixed}\n"
)
AFFINE = "MatrixOffsetTransformBase_double_3_3"


def transform(path: Path, parameters: str, fixed: str = "0 0 0", kind: str = AFFINE) -> Path:
    path.write_text(RIGID.format(kind=kind, parameters=parameters, fixed=fixed))
    return path


def test_scans_that_are_there_twice_are_set_aside(tmp_path: Path) -> None:
    write_exams(tmp_path, 2)
    write_nifti(tmp_path / "p0" / "t1.nii", np.ones((3, 3, 3)))
    found = find_pairs(tmp_path, PairOptions(("T1",), ("T2",)))
    assert [exam.id for exam in found.exams] == ["p1"]
    (aside,) = found.set_aside
    assert aside.path == "p0"
    assert aside.reason.startswith("T1 is there 2 times: ")
    assert "p0/T1.nii.gz" in aside.reason


def test_only_whole_names_count(tmp_path: Path) -> None:
    write_exams(tmp_path, 1)
    write_nifti(tmp_path / "q" / "T1W.nii", np.ones((3, 3, 3)))
    write_nifti(tmp_path / "q" / "T2.nii", np.ones((3, 3, 3)))
    found = find_pairs(tmp_path, PairOptions(("T1",), ("T2",)))
    assert [exam.id for exam in found.exams] == ["p0"]
    assert found.set_aside[0].reason == "no partner: it has no T1"


def test_links_are_not_followed_out(tmp_path: Path) -> None:
    outside = write_exams(tmp_path / "outside", 1)
    folder = write_exams(tmp_path / "in", 1)
    (folder / "p9").symlink_to(outside / "p0")
    (folder / "p0" / "T2.nii.gz").unlink()
    (folder / "p0" / "T2.nii.gz").symlink_to(outside / "p0" / "T2.nii.gz")
    with pytest.raises(InputError, match="no exam"):
        find_pairs(folder, PairOptions(("T1",), ("T2",)))


def test_studies_in_a_patients_folder_are_one_patients(tmp_path: Path) -> None:
    for study in ("p/s1", "p/s2", "q/s1"):
        write_nifti(tmp_path / study / "T1.nii", np.ones((3, 3, 3)))
        write_nifti(tmp_path / study / "T2.nii", np.ones((3, 3, 3)))
    found = find_pairs(tmp_path, PairOptions(("T1",), ("T2",)))
    assert [(exam.id, exam.patient) for exam in found.exams] == [
        ("p/s1", "p"),
        ("p/s2", "p"),
        ("q/s1", "q"),
    ]


def test_two_transforms_are_composed_through_the_common_space(tmp_path: Path) -> None:
    turn = "0 -1 0 1 0 0 0 0 1 5 0 0"
    grid_side = transform(tmp_path / "a.txt", turn, "1 2 3")
    volume_side = transform(tmp_path / "b.txt", "1 0 0 0 2 0 0 0 1 0 -4 7")
    together = between(grid_side, volume_side)
    common = (3.0, -2.0, 8.0)
    on_grid = read_transform(grid_side).TransformPoint(common)
    expected = read_transform(volume_side).TransformPoint(common)
    assert together is not None
    assert together.TransformPoint(on_grid) == pytest.approx(expected)
    assert between(None, None) is None
    assert between(grid_side, None).TransformPoint(on_grid) == pytest.approx(common)


def test_rigid_transforms_are_read(tmp_path: Path) -> None:
    path = transform(
        tmp_path / "r.txt", "0 0 1.5707963267948966 1 2 3", kind="Euler3DTransform_double_3_3"
    )
    assert read_transform(path).TransformPoint((1.0, 0, 0)) == pytest.approx((1, 3, 3))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a text",
        RIGID.format(kind=AFFINE, parameters="1 0 0", fixed="0 0 0"),
        RIGID.format(kind=AFFINE, parameters="nan 0 0 0 1 0 0 0 1 0 0 0", fixed="0 0 0"),
        RIGID.format(kind=AFFINE, parameters="0 0 0 0 0 0 0 0 0 0 0 0", fixed="0 0 0"),
        RIGID.format(kind="AffineTransform_double_2_2", parameters="1 0 0 1 0 0", fixed="0 0"),
        RIGID.format(kind="Nothing_double_3_3", parameters="1", fixed="0"),
        "#Insight Transform File V1.0\n" + "x" * 2**17,
    ],
)
def test_what_is_no_linear_transform_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(UnreadableError, match=r"^bad\.txt: "):
        read_transform(path)


def test_the_real_exams_line_up_better_by_their_transforms(radlearn_data: Path) -> None:
    """Mutual information of T1 and T2 rises in the exam whose headers are furthest off."""
    raw = radlearn_data / "mri" / "raw"
    if not raw.is_dir():
        pytest.skip(f"needs the exams of mri/raw in {radlearn_data}")
    options = PairOptions(("T1W",), ("T2W",), transforms="{name}_intrastudy_to_FLAIR.txt")
    config = PairsConfig(raw, Path("unused"), ("T1W",), ("T2W",), size=96, spacing=(2.0,))
    exams = [e for e in find_pairs(raw, options).exams if e.target[0].transform]
    assert len(exams) == 4
    before, after = (build(exams[-1], config, move=move) for move in (False, True))
    assert information(after) > information(before) + 0.05


def information(built) -> float:  # type: ignore[no-untyped-def]
    both = [clipped(side)[0, 4:-4].ravel() for side in (built.source, built.target)]
    counts, _, _ = np.histogram2d(*both, 48, [[-1, 1], [-1, 1]])
    share = counts / counts.sum()
    apart = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    here = share > 0
    return float((share[here] * np.log(share[here] / apart[here])).sum())
