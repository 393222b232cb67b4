"""DICOM images without who they are of: nothing that was in the header is left in the files."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from e2e.conftest import run
from radlearn.records.dicom import read_dicom
from radlearn.records.guard import DEFAULT_LIMITS
from unit.made_dicom import RAMP, made

SECRET = "SECRET"


def nested() -> Sequence:
    inner, outer = Dataset(), Dataset()
    inner.PatientName = f"{SECRET}^INNER"
    inner.ReferencedSOPInstanceUID = "1.2.840.99999.1"
    outer.OperatorsName = f"{SECRET}^OUTER"
    outer.ReferencedImageSequence = Sequence([inner])
    return Sequence([outer])


def exam(folder: Path, number: int, patient: str = f"{SECRET}-1", **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = made(
        folder / f"{SECRET}-{number}.dcm",
        RAMP + number,
        **{
            "SOPInstanceUID": f"1.2.840.99999.{number}",
            "StudyInstanceUID": "1.2.840.99999.100",
            "SeriesInstanceUID": "1.2.840.99999.200",
            "PatientID": patient,
            "PatientName": f"{SECRET}^Jane",
            "PatientBirthDate": "19510203",
            "PatientSex": "F",
            "PatientAge": "071Y",
            "StudyDate": "20210405",
            "InstitutionName": f"{SECRET} hospital",
            "StudyDescription": f"{SECRET} chest",
            "ReferringPhysicianName": f"{SECRET}^Doctor",
            "AccessionNumber": f"{SECRET}7",
            "Modality": "DX",
            "BurnedInAnnotation": "NO",
            "ReferencedSeriesSequence": nested(),
            "SourceImageSequence": nested(),
        }
        | more,
    )
    dataset = dcmread(path)
    dataset.preamble = SECRET.encode().ljust(128, b"\0")
    block = dataset.private_block(0x0099, f"{SECRET} vendor", create=True)
    block.add_new(1, "LO", f"{SECRET} private")
    dataset.save_as(path)
    return path


def outcome(out: Path) -> list[Path]:
    return sorted(out.rglob("*.dcm"))


def test_nothing_of_the_header_is_left_and_the_pixels_stay(tmp_path: Path) -> None:
    for number in (1, 2):
        exam(tmp_path / "in", number)
    assert run("deidentify", tmp_path / "in", tmp_path / "out") == 0
    files = outcome(tmp_path / "out")
    assert len(files) == 2
    for file in files:
        whole = str(file).encode() + file.read_bytes()
        for secret in (SECRET, "19510203", "20210405", "071Y", "1.2.840.99999"):
            assert secret.encode() not in whole, secret
        dataset = dcmread(file)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    pixels = {read_dicom(file, DEFAULT_LIMITS).values.tobytes() for file in files}
    sources = sorted((tmp_path / "in").iterdir())
    assert pixels == {read_dicom(file, DEFAULT_LIMITS).values.tobytes() for file in sources}


def test_one_key_gives_one_code_everywhere_and_another_key_another(tmp_path: Path) -> None:
    exam(tmp_path / "one", 1)
    exam(tmp_path / "two", 2)
    exam(tmp_path / "two", 3, patient=f"{SECRET}-2")
    assert run("deidentify", tmp_path / "one", tmp_path / "a") == 0
    key = tmp_path / "a.key"
    assert key.stat().st_mode & 0o077 == 0
    assert run("deidentify", tmp_path / "two", tmp_path / "b", "--key", key) == 0
    first = dcmread(outcome(tmp_path / "a")[0])
    others = [dcmread(file) for file in outcome(tmp_path / "b")]
    assert [one.PatientID for one in others].count(first.PatientID) == 1
    assert {one.StudyInstanceUID for one in others} == {first.StudyInstanceUID}
    # what an image refers to is renamed as the image itself
    assert others[0].SourceImageSequence == [] or "99999" not in str(others[0])
    assert run("deidentify", tmp_path / "one", tmp_path / "c") == 0
    assert dcmread(outcome(tmp_path / "c")[0]).PatientID != first.PatientID


def test_sex_and_age_stay_where_asked(tmp_path: Path) -> None:
    exam(tmp_path / "in", 1)
    flags = ("--keep-characteristics", True)
    assert run("deidentify", tmp_path / "in", tmp_path / "out", *flags) == 0
    dataset = dcmread(outcome(tmp_path / "out")[0])
    assert (dataset.PatientSex, dataset.PatientAge) == ("F", "071Y")
    assert [code.CodeValue for code in dataset.DeidentificationMethodCodeSequence] == [
        "113100",
        "113108",
    ]


def test_what_cannot_be_cleaned_is_set_aside_and_nothing_of_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exam(tmp_path / "in", 1)
    exam(tmp_path / "in", 2, BurnedInAnnotation="YES")
    exam(tmp_path / "in", 3, Modality="SR")
    exam(tmp_path / "in", 4, Modality="US", BurnedInAnnotation=None)
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    assert run("deidentify", tmp_path / "in", tmp_path / "out") == 1
    assert len(outcome(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert "1 of them may show text in their pixels" in " ".join(said.split())
    assert SECRET not in said
    listed = (tmp_path / "out.set_aside.csv").read_text()
    assert "burnt into its pixels" in listed and "its content is text" in listed
    assert "ultrasound" in (tmp_path / "out.look_at.csv").read_text()
    assert 'notes.txt,"not a DICOM file' in listed


def test_folders_that_overlap_and_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    exam(tmp_path / "in", 1)
    assert run("deidentify", tmp_path / "in", tmp_path / "in" / "out") == 2
    (tmp_path / "short.key").write_text("abc")
    assert run("deidentify", tmp_path / "in", tmp_path / "o", "--key", tmp_path / "short.key") == 2
    assert run("deidentify", tmp_path / "absent", tmp_path / "o") == 2


def test_the_same_command_goes_on_where_it_was(tmp_path: Path) -> None:
    for number in range(3):
        exam(tmp_path / "in", number)
    assert run("deidentify", tmp_path / "in", tmp_path / "out") == 0
    before = {file: file.stat().st_mtime_ns for file in outcome(tmp_path / "out")}
    first = next(iter(before))
    first.unlink()
    assert run("deidentify", tmp_path / "in", tmp_path / "out") == 0
    after = {file: file.stat().st_mtime_ns for file in outcome(tmp_path / "out")}
    assert after.keys() == before.keys()
    assert all(after[file] == before[file] for file in before if file != first)
    assert np.array_equal(read_dicom(first, DEFAULT_LIMITS).values.shape, RAMP.shape)
