"""`radlearn prepare mri-pairs`: every layout; a fault is a clear line and the rest is kept."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.mri_pairs import PLAIN, SIDE, head, write_exams, write_nifti, write_series, write_slice
from e2e.conftest import run
from radlearn.records.pair_store import PairStore, clipped, open_pairs, rows_of
from radlearn.records.record import Split


def prepared(folder: Path, store: Path, *flags: object) -> PairStore:
    names = () if "--source" in flags else ("--source", "T1", "--target", "T2")
    given = ("prepare", "mri-pairs", folder, store, *names, "--size", SIDE, *flags)
    assert run(*given) == 0
    return open_pairs(store)


def aside(store: PairStore) -> dict[str, str]:
    with (store.path / "set_aside.csv").open(encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def ids(store: PairStore) -> list[str]:
    return store.rows["id"].to_list()


def test_exams_become_pairs_that_line_up(tmp_path: Path) -> None:
    store = prepared(write_exams(tmp_path / "in"), tmp_path / "store", "--test-patients", "p2")
    assert ids(store) == ["p0", "p1", "p2", "p3"]
    test = rows_of(store, Split.TEST)
    assert [store.rows["id"][row] for row in test] == ["p2"]
    assert sorted(rows_of(store, None)) == [0, 1, 2, 3]
    for row in range(4):
        source, target = clipped(store.source(row)), clipped(store.target(row))
        assert source.shape == target.shape == (1, SIDE, SIDE, SIDE)
        np.testing.assert_array_equal(source == -1, target == -1)
        assert 0.5 < (source == -1).mean() < 0.95
        assert source.max() == 1
    assert not (store.path / "parts").exists()
    assert "p2" not in json.dumps(store.info["settings"])
    assert set(store.info["splits"]) == {"train", "val", "test"}


def test_names_are_matched_whatever_their_case_and_never_by_position(tmp_path: Path) -> None:
    for number in range(3):
        write_nifti(tmp_path / "in" / "A" / f"x{number}.nii", head(number))
        write_nifti(tmp_path / "in" / "B" / f"x{number + 1}.nii", head(number + 1) * 2)
    store = prepared(tmp_path / "in", tmp_path / "store", "--source", "A", "--target", "B")
    assert ids(store) == ["x1", "x2"]
    np.testing.assert_allclose(store.source(0), store.target(0), atol=2e-3)
    assert aside(store) == {
        "x0": "no partner: it has no B",
        "x3": "no partner: it has no A",
    }
    write_nifti(tmp_path / "other" / "e" / "t1.nii.gz", head())
    write_nifti(tmp_path / "other" / "e" / "T2.NII", head())
    assert ids(prepared(tmp_path / "other", tmp_path / "other-store")) == ["e"]


def test_the_name_of_an_exam_may_stand_before_that_of_its_scans(tmp_path: Path) -> None:
    for exam in ("Brats18_1", "Brats18_2"):
        for scan in ("t1", "t1ce", "t2"):
            write_nifti(tmp_path / "in" / exam / f"{exam}_{scan}.nii.gz", head())
    names = ("--source", "t1", "--target", "t2")
    assert ids(prepared(tmp_path / "in", tmp_path / "store", *names)) == ["Brats18_1", "Brats18_2"]


def test_two_folders_may_be_given_whole(tmp_path: Path) -> None:
    write_nifti(tmp_path / "here" / "x.nii", head())
    write_nifti(tmp_path / "there" / "x.nii", head(1))
    given = ("--source", tmp_path / "here", "--target", tmp_path / "there")
    store = prepared(tmp_path, tmp_path / "store", *given)
    assert ids(store) == ["x"]
    assert store.info["source_names"] == ["here"]


def test_without_a_partner_only_where_asked(tmp_path: Path) -> None:
    write_exams(tmp_path / "in", 3)
    (tmp_path / "in" / "p1" / "T2.nii.gz").unlink()
    store = prepared(tmp_path / "in", tmp_path / "paired")
    assert ids(store) == ["p0", "p2"]
    assert aside(store) == {"p1": "no partner: it has no T2"}
    store = prepared(tmp_path / "in", tmp_path / "unpaired", "--unpaired", True)
    assert ids(store) == ["p0", "p1", "p2"]
    assert store.rows["has_target"].to_list() == [True, False, True]
    assert store.source(1).shape[0] == 1


def test_channels_are_laid_on_the_first_and_kept_in_their_order(tmp_path: Path) -> None:
    write_exams(tmp_path / "in", 2)
    for number in range(2):
        write_nifti(tmp_path / "in" / f"p{number}" / "FLAIR.nii", head(number + 5))
    flags = ("--source", "T1", "FLAIR", "--target", "T2")
    store = prepared(tmp_path / "in", tmp_path / "store", *flags)
    assert store.source(0).shape == (2, SIDE, SIDE, SIDE)
    alone = prepared(tmp_path / "in", tmp_path / "s2", "--source", "FLAIR", "--target", "T1")
    np.testing.assert_array_equal(store.source(0)[1], alone.source(0)[0])
    np.testing.assert_array_equal(store.source(0)[0], alone.target(0)[0])


def test_a_table_names_the_files_and_none_outside(tmp_path: Path) -> None:
    folder = write_exams(tmp_path / "in", 3)
    write_nifti(tmp_path / "secret.nii.gz", head())
    (folder / "link.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    table = tmp_path / "pairs.csv"
    table.write_text(
        "id,patient,T1,T2\n"
        "a,one,p0/T1.nii.gz,p0/T2.nii.gz\n"
        "b,one,p1/T1.nii.gz,p1/T2.nii.gz\n"
        "climbs,two,../secret.nii.gz,p2/T2.nii.gz\n"
        "links,two,link.nii.gz,p2/T2.nii.gz\n"
        f"whole,two,{tmp_path}/secret.nii.gz,p2/T2.nii.gz\n"
        "a,one,p2/T1.nii.gz,p2/T2.nii.gz\n"
        "lacks,three,p2/T1.nii.gz,\n"
    )
    store = prepared(folder, tmp_path / "store", "--table", table)
    assert ids(store) == ["a", "b"]
    assert store.rows["patient"].n_unique() == 1
    told = aside(store)
    for own in ("climbs", "links", "whole"):
        assert told[own] == "no partner: it has no T1"
    assert sum("leads out of the folder" in reason for reason in told.values()) == 3
    assert told["pairs.csv, row 7"] == "the id a was met before"
    assert told["lacks"] == "no partner: it has no T2"


@pytest.mark.parametrize("by", ["folder", "description"])
def test_dicom_series_are_found_and_sorted_by_their_headers(tmp_path: Path, by: str) -> None:
    for number, patient in enumerate(("x", "y")):
        for kind in ("T1", "T2"):
            write_series(
                tmp_path / "in" / patient / (kind if by == "folder" else f"{kind.lower()}s"),
                head(number),
                SeriesInstanceUID=f"1.2.{number}.{kind[1]}",
                StudyInstanceUID=f"1.2.{number}",
                PatientID=f"SECRET-{number}",
                SeriesDescription="whatever" if by == "folder" else f"{kind} ",
            )
    store = prepared(tmp_path / "in", tmp_path / "store")
    assert ids(store) == ["x", "y"]
    assert store.rows["patient"].n_unique() == 2
    np.testing.assert_array_equal(store.source(0), store.target(0))
    slices = clipped(store.source(0))[0]
    profile = (slices > -0.9).sum(axis=(1, 2)).astype(int)
    assert (np.abs(np.diff(profile)) < 60).all(), "slices out of order"
    for file in store.path.rglob("*"):
        assert not file.is_file() or b"SECRET" not in file.read_bytes()


def test_pictures_and_arrays_have_to_agree_in_shape(tmp_path: Path) -> None:
    for number in range(3):
        slice_ = head(number)[:, :, SIDE // 2]
        for name, side in (("A", slice_), ("B", 900 - slice_)):
            folder = tmp_path / "in" / name / f"p{number}"
            folder.mkdir(parents=True)
            Image.fromarray((side / 5).astype(np.uint8)).save(folder / "s1.png")
            np.save(folder / "v.npy", np.stack([side] * 3))
    Image.new("L", (30, 20)).save(tmp_path / "in" / "B" / "p1" / "s1.png")
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "in" / "B" / "p2" / "s1.png")
    wide = np.pad(head(0)[:, :, 12], ((0, 0), (0, 6)))
    np.save(tmp_path / "in" / "A" / "p0" / "v.npy", np.stack([wide] * 3))
    store = prepared(tmp_path / "in", tmp_path / "store", "--source", "A", "--target", "B")
    assert ids(store) == ["p0/s1", "p1/v", "p2/v"]
    assert store.rows["depth"].to_list() == [1, 3, 3]
    assert store.rows["patient"].n_unique() == 3
    told = aside(store)
    assert "constant image" in told["p1/s1"]
    assert "RGB where grey is expected" in told["p2/s1"]
    assert "shapes must agree" in told["p0/v"]


def test_every_fault_is_one_line_and_the_rest_is_prepared(tmp_path: Path) -> None:
    folder = write_exams(tmp_path / "in", 9)
    good = head(1)

    def second(number: int, values: np.ndarray, affine: np.ndarray = PLAIN) -> None:
        write_nifti(folder / f"p{number}" / "T2.nii.gz", values, affine)

    second(0, np.full_like(good, np.nan))
    second(1, np.full_like(good, 7))
    second(2, np.stack([good, good], axis=-1))
    holes = good.copy()
    holes[:3], holes[5, 5, 5] = np.nan, np.inf
    second(3, holes)
    second(4, np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    damaged = folder / "p5" / "T2.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:200])
    (folder / "p6" / "T2.nii.gz").write_bytes(b"not a scan")
    far = PLAIN.copy()
    far[:3, 3] = 500
    second(7, good, far)
    store = prepared(folder, tmp_path / "store")
    assert ids(store) == ["p3", "p8"]
    told = aside(store)
    for own, reason in {
        "p0": "NaN everywhere",
        "p1": "constant image",
        "p2": "4-D",
        "p4": "RGB where grey is expected",
        "p5": "cut short",
        "p6": "not NIfTI",
        "p7": "do not overlap",
    }.items():
        assert reason in told[own]
        assert "T2.nii.gz" in told[own]
    assert len(told) == 7
    assert "not finite became the background" in store.rows["notes"][0]
    assert np.isfinite(store.target(0)).all()


def test_series_that_are_no_one_volume_are_refused(tmp_path: Path) -> None:
    folder, values = tmp_path / "in", head()
    for number in range(6):
        write_series(folder / f"p{number}" / "T1", values)
        if number not in (1, 5):
            write_series(folder / f"p{number}" / "T2", values, SeriesInstanceUID="1.9")
    write_slice(
        folder / "p0" / "T2" / "IM0000",
        values[:, :, 0].T,
        0,
        SeriesInstanceUID="1.9",
        ImageOrientationPatient=[0, 1, 0, 0, 0, 1],
    )
    colour = np.zeros((SIDE, SIDE, 3), np.uint8)
    for k in range(3):
        (folder / "p1" / "T2").mkdir(exist_ok=True)
        write_slice(folder / "p1" / "T2" / f"{k}", colour, k)
    sorted((folder / "p2" / "T2").iterdir())[9].unlink()
    write_slice(folder / "p3" / "T2" / "twice", values[:, :, 0].T, 1, SeriesInstanceUID="1.9")
    store = prepared(folder, tmp_path / "store")
    told = aside(store)
    assert ids(store) == ["p4"]
    assert "mixed orientations" in told["p0"]
    assert "RGB where grey is expected" in told["p1"]
    assert "a gap" in told["p2"]
    assert "two slices at one place" in told["p3"]
    assert told["p5"] == "no partner: it has no T2"


def test_known_transforms_bring_the_target_back(tmp_path: Path) -> None:
    """T2 lies 6 mm (3 voxels) further left (LPS +x) than its header says; the file knows."""
    folder = tmp_path / "in"
    for number in range(3):
        one = head(number)
        write_nifti(folder / f"p{number}" / "T1.nii", one)
        moved = np.roll(one, -3, axis=0)  # index i grows to the right (RAS +x)
        write_nifti(folder / f"p{number}" / "T2.nii", moved)
        (folder / f"p{number}" / "T2_to_common.txt").write_text(
            "#Insight Transform File V1.0\n#Transform 0\n"
            "Transform: MatrixOffsetTransformBase_double_3_3\n"
            "Parameters: 1 0 0 0 1 0 0 0 1 6 0 0\nFixedParameters: 0 0 0\n"
        )
    plain = prepared(folder, tmp_path / "plain")
    moved = prepared(folder, tmp_path / "all", "--transforms", "{name}_to_common.txt")
    given = ("--transforms-for", "test", "--test-patients", "p1", "--val", 0)
    test = prepared(folder, tmp_path / "t", "--transforms", "{name}_to_common.txt", *given)
    for row in range(3):
        source = clipped(moved.source(row))
        assert np.abs(clipped(plain.target(row)) - source).mean() > 0.05
        np.testing.assert_allclose(clipped(moved.target(row)), source, atol=5e-3)
    assert test.rows["moved"].to_list() == [False, True, False]
    np.testing.assert_array_equal(test.target(0), plain.target(0))
    np.testing.assert_array_equal(test.target(1), moved.target(1))


def test_patients_by_pattern_stay_together(tmp_path: Path) -> None:
    for name in ("a_1", "a_2", "b_1", "b_2", "c_1"):
        write_nifti(tmp_path / "in" / name / "T1.nii", head())
        write_nifti(tmp_path / "in" / name / "T2.nii", head())
    flags = ("--patient-pattern", "^([a-z])_", "--test", 0.34, "--val", 0)
    store = prepared(tmp_path / "in", tmp_path / "store", *flags)
    by_patient = store.rows.group_by("patient").n_unique()
    assert by_patient.height == 3
    assert by_patient["split"].to_list() == [1, 1, 1]


def test_only_some_slices_are_for_training_but_all_are_kept(tmp_path: Path) -> None:
    write_exams(tmp_path / "in", 1)
    store = prepared(tmp_path / "in", tmp_path / "s", "--slices", 0.25, 0.75)
    assert store.rows["slices"][0].to_list() == list(range(6, 18))
    assert store.source(0).shape[1] == SIDE
    store = prepared(tmp_path / "in", tmp_path / "m", "--min-foreground", 0.2)
    usable = store.rows["slices"][0].to_list()
    share = (clipped(store.source(0))[0] > -0.9).mean(axis=(1, 2))
    assert usable == np.flatnonzero(share >= 0.2).tolist()
    assert 0 < len(usable) < SIDE


def test_a_stopped_prepare_goes_on_and_ends_with_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radlearn.records import prepare_pairs

    folder = write_exams(tmp_path / "in", 3)
    key = tmp_path / "key"
    key.write_text("k" * 32)
    whole = prepared(folder, tmp_path / "whole", "--key", key)
    built, real = [], prepare_pairs.build

    def stops(exam, config, *, move):  # type: ignore[no-untyped-def]
        if len(built) == 2:
            raise KeyboardInterrupt
        built.append(exam.id)
        return real(exam, config, move=move)

    monkeypatch.setattr(prepare_pairs, "build", stops)
    command = ("prepare", "mri-pairs", folder, tmp_path / "store", "--source", "T1")
    command += ("--target", "T2", "--size", SIDE, "--key", key)
    assert run(*command) == 130
    built.clear()
    monkeypatch.setattr(
        prepare_pairs, "build", lambda e, c, *, move: built.append(e.id) or real(e, c, move=move)
    )
    store = prepared(folder, tmp_path / "store", "--key", key)
    assert built == ["p2"], "what was finished is done again"
    names = {path.relative_to(whole.path) for path in whole.path.rglob("*.*") if path.is_file()}
    for name in names - {Path(".lock")}:
        assert (store.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--source", "T9", "--target", "T2"), "no exam in .* has all of --source T9"),
        (("--source", "XX", "--target", "YY"), "the names there are: T1, T2"),
        (("--source", "T1", "--target", "t1"), "name a scan twice"),
        (("--spacing", "1", "2"), "one or three"),
        (("--slices", "0.8", "0.2"), "the first below the second"),
        (("--test-patients", "p9"), "no patient p9 among the 2"),
        (("--patient-pattern", "^(q)"), "does not fit the exam p0"),
        (("--patient-pattern", "("), "no regular expression"),
        (("--transforms", "{name}.txt"), "fits no file"),
        (("--transforms", "../{name}.txt"), "fits no file"),
        (("--transforms-for", "test"), "give both"),
        (("--table", "nowhere.csv"), "there is no file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_exams(tmp_path / "in", 2)
    names = () if "--source" in flags else ("--source", "T1", "--target", "T2")
    assert run("prepare", "mri-pairs", folder, tmp_path / "store", *names, *flags) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)


def test_a_store_made_with_other_settings_or_for_other_things_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_exams(tmp_path / "in", 2)
    prepared(folder, tmp_path / "store")
    again = ("prepare", "mri-pairs", folder, tmp_path / "store", "--source", "T1")
    assert run(*again, "--target", "T2", "--size", 32) == 2
    assert "other settings (size)" in capsys.readouterr().err
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").touch()
    assert run(*again[:3], tmp_path / "thesis", *again[4:], "--target", "T2") == 2
    assert "is not a store" in capsys.readouterr().err
