"""Embedded phantoms: chest radiographs with findings, reports, labels and masks, drawn by script.

No patient, no download: enough to try every command and to test that a model learns.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from radlearn.errors import InputError
from radlearn.files import replacing, write_text
from radlearn.records.phantom_dicom import write_dicom
from radlearn.records.phantom_drawing import acquisition, draw
from radlearn.records.phantom_patients import Finding, Lesion, phantom_patient
from radlearn.records.phantom_reports import dictate
from radlearn.records.record import UNCERTAIN, Box
from radlearn.records.transforms import generator

IMAGE_STREAM = 0x1A6E
WORDS_STREAM = 0x30BD
LABEL_NAMES = tuple(finding.value for finding in Finding)
WITHOUT_REPORT = 0.15
WITHOUT_LABELS = 0.06
WITHOUT_ONE_LABEL = 0.04
COLUMNS = ("image", "patient", "report", *LABEL_NAMES, "age", "sex", "view", "mask")


@dataclass(frozen=True)
class Phantom:
    """One drawn radiograph and everything known about it.

    Attributes:
        exposure: grey values in [0, 1] before they are stored in 8 bits.
        lung_mask: both lung fields, what lies over them included.
        lesion_mask: every finding but the heart's size.
        labels: as a hospital has them: 0, 1, `UNCERTAIN`; what is absent is not labelled.
        truth: what was drawn, 0 or 1 for every name of `LABEL_NAMES`.
        report: None where nobody dictated one.
        view: "PA" or "AP".
    """

    exposure: Float32[np.ndarray, "size size"]
    lung_mask: Bool[np.ndarray, "size size"]
    lesion_mask: Bool[np.ndarray, "size size"]
    labels: Mapping[str, float]
    truth: Mapping[str, int]
    report: str | None
    age: float
    sex: str
    boxes: tuple[Box, ...]
    view: str

    @property
    def image(self) -> UInt8[np.ndarray, "size size"]:
        return np.round(self.exposure * 255).astype(np.uint8)


def image_count(patient: int, seed: int) -> int:
    """How many images the patient has: 1 to 4."""
    return len(phantom_patient(patient, seed).studies)


def phantom(patient: int, image: int, seed: int, size: int) -> Phantom:
    """Draw image number `image` of a patient; the same arguments give the same phantom.

    Args:
        patient: any number from 0; build, sex, heart and nodules stay the patient's own.
        image: 0 to `image_count(patient, seed)` - 1, in order of time.
        seed: of the whole collection.
        size: side in pixels; the same picture at every size, but for its noise.

    Raises:
        IndexError: the patient has no such image.
    """
    person = phantom_patient(patient, seed)
    if not 0 <= image < len(person.studies):
        raise IndexError(f"patient {patient} has {len(person.studies)} images, not image {image}")
    lesions = person.studies[image]
    rng = generator(seed, IMAGE_STREAM, patient, image)
    taken = acquisition(rng, person)
    drawing = draw(person, taken, lesions, size, rng)
    words = generator(seed, WORDS_STREAM, patient, image)
    before = person.studies[image - 1] if image else None
    age = person.ages[image]
    report, uncertain = dictate(lesions, before, age, person.sex, taken.projection, words)
    found = {lesion.finding for lesion in lesions}
    truth = {finding.value: int(finding in found) for finding in Finding}
    seen = [
        area
        for lesion, area in zip(lesions, drawing.lesions, strict=True)
        if lesion.finding is not Finding.CARDIOMEGALY
    ]
    return Phantom(
        exposure=drawing.image,
        lung_mask=drawing.lungs,
        lesion_mask=np.logical_or.reduce([np.zeros_like(drawing.lungs), *seen]),
        labels=_labels(truth, {finding.value for finding in uncertain}, words),
        truth=truth,
        report=None if words.random() < WITHOUT_REPORT else report,
        age=age,
        sex=person.sex,
        boxes=tuple(_boxes(lesions, drawing.lesions)),
        view=taken.projection,
    )


def write_phantoms(folder: Path, patients: int, size: int, seed: int, dicom: int = 4) -> None:
    """Write a folder as a hospital would hand it over.

    `images/<patient>/<image>.png`, `masks/<patient>/<image>.png` (lungs, 0 and 255),
    `records.csv` (one row an image: image, patient, report, a column a label holding 1, 0, -1 for
    uncertain or nothing, age, sex, view, mask; paths relative to the folder) and
    `dicom/<n>.dcm`: images of further patients, 12 bits in several encodings, four times the size.

    Raises:
        InputError: the folder cannot be written.
    """
    rows = []
    for patient in range(patients):
        name = f"P{patient:05d}"
        for number in range(image_count(patient, seed)):
            drawn = phantom(patient, number, seed, size)
            place = f"{name}/{name}_{number}.png"
            _write_png(folder / "images" / place, drawn.image)
            _write_png(folder / "masks" / place, drawn.lung_mask.astype(np.uint8) * 255)
            rows.append(
                {
                    "image": f"images/{place}",
                    "patient": name,
                    "report": drawn.report,
                    **{label: f"{value:.0f}" for label, value in drawn.labels.items()},
                    "age": f"{drawn.age:.0f}",
                    "sex": drawn.sex,
                    "view": drawn.view,
                    "mask": f"masks/{place}",
                }
            )
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "records.csv", table.getvalue())
    for extra in range(dicom):
        drawn = phantom(patients + extra, 0, seed, size * 4)
        with replacing(folder / "dicom" / f"{extra:03d}.dcm") as temporary:
            write_dicom(temporary, drawn.exposure, extra, seed, drawn.view, drawn.sex, drawn.age)


def _write_png(path: Path, pixels: UInt8[np.ndarray, "size size"]) -> None:
    """PNGs are many and can be drawn again: renamed into place, not synced one by one."""
    temporary = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=3)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free some space"
        ) from error


def _labels(
    truth: Mapping[str, int], uncertain: set[str], rng: np.random.Generator
) -> dict[str, float]:
    """What somebody entered: now and then nothing, for one label or for all."""
    absent = rng.random() < WITHOUT_LABELS
    entered = rng.random(len(truth)) >= WITHOUT_ONE_LABEL
    return {
        name: UNCERTAIN if name in uncertain else float(value)
        for (name, value), known in zip(truth.items(), entered, strict=True)
        if known and not absent
    }


def _boxes(
    lesions: tuple[Lesion, ...], areas: tuple[Bool[np.ndarray, "size size"], ...]
) -> list[Box]:
    boxes = []
    for lesion, area in zip(lesions, areas, strict=True):
        rows, columns = np.flatnonzero(area.any(1)), np.flatnonzero(area.any(0))
        if len(rows):
            size = len(area)
            x, y = columns[0] / size, rows[0] / size
            width, height = (columns[-1] + 1) / size - x, (rows[-1] + 1) / size - y
            boxes.append(Box(lesion.finding.value, *map(float, (x, y, width, height))))
    return boxes
