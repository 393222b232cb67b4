"""Phantoms whose reports say what is plain to see: something that a tiny model can learn.

The anatomy, the exposure and the noise are those of every phantom; the findings are large and
obvious, and the words are few. Whoever reads a report can tell what the image shows, though not
which words were chosen, so that an exact match is never certain.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from radlearn.records.phantom_drawing import acquisition, draw
from radlearn.records.phantom_patients import ZONES, Finding, Lesion, phantom_patient
from radlearn.records.transforms import generator

STREAM = 0x5EEC
SENTENCES = {
    "heart": ("Heart size is normal.", "The heart is not enlarged."),
    "large heart": ("Marked cardiomegaly.", "The heart is enlarged."),
    "no fluid": ("No pleural effusion.", "The costophrenic angles are sharp."),
    "fluid": ("Large {side} pleural effusion.", "Pleural fluid on the {side}."),
    "clear": ("The lungs are clear.", "No focal consolidation."),
    "consolidation": ("{side} {zone} zone consolidation.", "Pneumonia in the {side} {zone} zone."),
}
LABELS = ("Cardiomegaly", "Effusion", "Consolidation")


def obvious(patient: int, seed: int, size: int) -> tuple[np.ndarray, str, tuple[int, ...]]:
    """An image (size, size), its report and its labels, in the order of `LABELS`."""
    rng = generator(seed, STREAM, patient)
    person = phantom_patient(patient, seed)
    said, lesions = [], []

    def say(kind: str, **words: str) -> None:
        choices = SENTENCES[kind]
        text = choices[int(rng.integers(len(choices)))].format(**words)
        said.append(text[:1].upper() + text[1:])

    heart, fluid, lung = rng.random(3) < (0.4, 0.5, 0.5)
    if heart:
        lesions.append(Lesion(Finding.CARDIOMEGALY, "", "", 1.0, 1.0))
    say("large heart" if heart else "heart")
    side = "left" if rng.random() < 0.5 else "right"
    if fluid:
        lesions.append(Lesion(Finding.EFFUSION, side, "", 0.9, 1.0))
    say("fluid" if fluid else "no fluid", side=side)
    side = "left" if rng.random() < 0.5 else "right"
    zone = "upper" if rng.random() < 0.5 else "lower"
    if lung:
        x, y = ZONES[zone]
        shadow = Lesion(Finding.CONSOLIDATION, side, zone, 1.0, 1.0, x, y, int(rng.integers(2**31)))
        lesions.append(shadow)
    say("consolidation" if lung else "clear", side=side, zone=zone)
    drawn = draw(person, acquisition(rng, person), tuple(lesions), size, rng)
    pixels = np.round(drawn.image * 255).astype(np.uint8)
    return pixels, " ".join(said), (int(heart), int(fluid), int(lung))


def write_obvious(folder: Path, patients: int, size: int, seed: int) -> None:
    """images/*.png and records.csv, one image a patient."""
    (folder / "images").mkdir(parents=True)
    with (folder / "records.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "patient", "report", *LABELS])
        for patient in range(patients):
            pixels, report, labels = obvious(patient, seed, size)
            Image.fromarray(pixels).save(folder / "images" / f"{patient:04d}.png")
            writer.writerow([f"images/{patient:04d}.png", f"P{patient:04d}", report, *labels])
