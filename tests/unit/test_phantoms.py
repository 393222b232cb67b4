"""Phantoms are the same every time, and their parts say the same thing."""

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from radlearn.errors import InputError
from radlearn.records.phantom_drawing import acquisition, draw
from radlearn.records.phantom_patients import Finding, Lesion, phantom_patient
from radlearn.records.phantoms import (
    COLUMNS,
    LABEL_NAMES,
    Phantom,
    image_count,
    phantom,
    write_phantoms,
)
from radlearn.records.transforms import generator

SEED = 5
WORDS = {
    "Cardiomegaly": ("heart", "cardi"),
    "Consolidation": ("opaci", "consolid", "infiltrat", "pneumonia", "density"),
    "Effusion": ("effusion", "fluid", "costophrenic"),
    "Nodule": ("nodul", "density"),
    "Pneumothorax": ("pneumothora", "pleural"),
}


@pytest.fixture(scope="module")
def crowd() -> list[Phantom]:
    return [phantom(patient, 0, SEED, 64) for patient in range(200)]


def test_the_same_arguments_give_the_same_phantom_in_any_order() -> None:
    first = phantom(3, 0, SEED, 96)
    phantom(4, 0, SEED, 64)
    again = phantom(3, 0, SEED, 96)
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.report, first.labels, first.boxes) == (again.report, again.labels, again.boxes)


def test_another_seed_another_image_and_another_patient_differ() -> None:
    patient = next(p for p in range(50) if image_count(p, SEED) > 1)
    image = phantom(patient, 0, SEED, 64).image
    for other in (
        phantom(patient, 1, SEED, 64),
        phantom(patient + 1, 0, SEED, 64),
        phantom(patient, 0, SEED + 1, 64),
    ):
        assert np.abs(image.astype(float) - other.image).mean() > 2


def test_a_larger_picture_shows_the_same() -> None:
    small, large = phantom(7, 0, SEED, 64), phantom(7, 0, SEED, 128)
    halved = large.exposure.reshape(64, 2, 64, 2).mean((1, 3))
    assert np.corrcoef(halved.ravel(), small.exposure.ravel())[0, 1] > 0.97
    assert (small.report, small.truth) == (large.report, large.truth)


def test_pictures_look_like_radiographs(crowd: list[Phantom]) -> None:
    for drawn in crowd:
        assert drawn.image.dtype == np.uint8 and drawn.image.shape == (64, 64)
        assert 0.12 < drawn.lung_mask.mean() < 0.5
        lung = np.median(drawn.exposure[drawn.lung_mask])
        middle = np.median(drawn.exposure[20:50, 29:35])
        assert lung < middle, "lungs are darker than the mediastinum"


def test_labels_are_what_was_drawn_or_uncertain_or_absent(crowd: list[Phantom]) -> None:
    values = [value for drawn in crowd for value in drawn.labels.values()]
    for drawn in crowd:
        assert set(drawn.truth) == set(LABEL_NAMES)
        for name, value in drawn.labels.items():
            assert value in (-1.0, drawn.truth[name])
    assert values.count(-1.0) > 0
    assert len(values) < len(crowd) * len(LABEL_NAMES)


def test_every_finding_is_found_in_some_and_not_in_most(crowd: list[Phantom]) -> None:
    for name in LABEL_NAMES:
        assert 0.04 < np.mean([drawn.truth[name] for drawn in crowd]) < 0.4
    assert 0.2 < np.mean([not any(drawn.truth.values()) for drawn in crowd]) < 0.7


def test_reports_name_every_finding_and_vary(crowd: list[Phantom]) -> None:
    reports = [drawn.report for drawn in crowd if drawn.report]
    assert 0.7 < len(reports) / len(crowd) < 0.97
    assert len(set(reports)) > 0.9 * len(reports)
    named = missed = 0
    for drawn in crowd:
        for name, true in drawn.truth.items():
            if true and drawn.report:
                found = any(word in drawn.report.lower() for word in WORDS[name])
                named, missed = named + found, missed + (not found)
    assert missed <= 0.02 * named, "only a typo may hide a finding"
    assert not any("{" in report or "  " in report for report in reports)


def test_boxes_and_masks_lie_where_the_findings_are(crowd: list[Phantom]) -> None:
    for drawn in crowd:
        found = {name for name, true in drawn.truth.items() if true}
        assert {box.finding for box in drawn.boxes} <= found
        assert drawn.lesion_mask.any() <= bool(found - {"Cardiomegaly"})
        for box in drawn.boxes:
            assert 0 <= box.x < box.x + box.width <= 1 and 0 <= box.y < box.y + box.height <= 1
    boxed = sum(len({box.finding for box in drawn.boxes}) for drawn in crowd)
    assert boxed > 0.97 * sum(sum(drawn.truth.values()) for drawn in crowd)


@pytest.mark.parametrize("finding", [f for f in Finding if f is not Finding.CARDIOMEGALY])
def test_a_finding_changes_its_area_and_little_else(finding: Finding) -> None:
    """Opacities brighten where they are, escaped air darkens."""
    seen = 0
    for number in range(100):
        person = phantom_patient(number, SEED)
        lesions = tuple(lesion for lesion in person.studies[0] if lesion.finding is finding)[:1]
        if lesions:
            taken = acquisition(generator(number), person)
            without = draw(person, taken, (), 64, generator(1))
            drawn = draw(person, taken, lesions, 64, generator(1))
            change = drawn.image - without.image
            inside = drawn.lesions[0] & (without.image < 0.97)
            outside = ~drawn.lesions[0]
            sign = -1 if finding is Finding.PNEUMOTHORAX else 1
            assert sign * change[inside].mean() > 0.01
            assert np.abs(change[outside]).mean() < 0.2 * np.abs(change[inside]).mean()
            seen += 1
    assert seen > 5


def test_cardiomegaly_widens_the_heart() -> None:
    person = phantom_patient(1, SEED)
    taken = acquisition(generator(1), person)
    large = Lesion(Finding.CARDIOMEGALY, "", "", 0.5, 0.5)
    normal = draw(person, taken, (), 64, generator(1)).heart.any(0).sum()
    assert draw(person, taken, (large,), 64, generator(1)).heart.any(0).sum() > 1.15 * normal


def test_an_image_that_the_patient_does_not_have_is_an_error() -> None:
    with pytest.raises(IndexError, match="images"):
        phantom(0, 9, SEED, 64)


def test_the_folder_holds_what_its_table_says(tmp_path: Path) -> None:
    write_phantoms(tmp_path, patients=12, size=48, seed=SEED, dicom=4)
    with (tmp_path / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(image_count(patient, SEED) for patient in range(12))
    assert {row["patient"] for row in rows} == {f"P{patient:05d}" for patient in range(12)}
    for row in rows:
        assert Image.open(tmp_path / row["image"]).size == (48, 48)
        assert set(np.unique(np.asarray(Image.open(tmp_path / row["mask"])))) == {0, 255}
        assert {row[name] for name in LABEL_NAMES} <= {"0", "1", "-1", ""}
    assert len(list(tmp_path.rglob("*.png"))) == 2 * len(rows)
    assert not list(tmp_path.rglob("*.part"))


def test_dicom_files_are_genuine_and_show_the_phantom(tmp_path: Path) -> None:
    write_phantoms(tmp_path, patients=1, size=32, seed=SEED, dicom=4)
    kinds = set()
    for number in range(4):
        file = pydicom.dcmread(tmp_path / "dicom" / f"{number:03d}.dcm")
        kinds.add((file.PhotometricInterpretation, file.file_meta.TransferSyntaxUID.name))
        assert (file.BitsStored, file.BitsAllocated) == (12, 16)
        output = file.pixel_array.astype(float) * file.RescaleSlope + file.RescaleIntercept
        shown = np.clip((output - file.WindowCenter) / file.WindowWidth + 0.5, 0, 1)
        if file.PhotometricInterpretation == "MONOCHROME1":
            shown = 1 - shown
        drawn = phantom(1 + number, 0, SEED, 128)
        assert np.abs(shown - drawn.exposure).mean() < 0.01
    assert {photometric for photometric, _ in kinds} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({syntax for _, syntax in kinds}) == 3


def test_the_folder_is_the_same_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_phantoms(tmp_path / name, patients=2, size=32, seed=SEED, dicom=1)
    for file in (tmp_path / "one").rglob("*"):
        if file.is_file():
            other = tmp_path / "two" / file.relative_to(tmp_path / "one")
            assert file.read_bytes() == other.read_bytes(), file.name


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="cannot write"):
        write_phantoms(tmp_path / "taken", patients=1, size=32, seed=SEED, dicom=0)
