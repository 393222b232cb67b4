"""Who the phantoms are: patients whose build stays theirs, and findings that come and go."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import numpy as np

from radlearn.records.transforms import generator

PATIENT_STREAM = 0x9A71E  # keeps patients apart from every other use of the same seed
MAX_IMAGES = 4


class Finding(StrEnum):
    """The labels of the phantoms, in the order of their columns."""

    CARDIOMEGALY = "Cardiomegaly"
    CONSOLIDATION = "Consolidation"
    EFFUSION = "Effusion"
    NODULE = "Nodule"
    PNEUMOTHORAX = "Pneumothorax"


PREVALENCE = {
    Finding.CARDIOMEGALY: 0.17,
    Finding.CONSOLIDATION: 0.20,
    Finding.EFFUSION: 0.18,
    Finding.NODULE: 0.15,
    Finding.PNEUMOTHORAX: 0.11,
}
"""Chance that a patient's first image shows the finding, before age and company change it."""

# Centres of the lobes in units of half the field, for the patient's right side; the left mirrors.
ZONES = {"upper": (0.40, -0.42), "middle": (0.42, 0.02), "lower": (0.44, 0.34)}


@dataclass(frozen=True)
class Lesion:
    """One finding of one image.

    Attributes:
        side: "left" or "right" of the patient; "" for the heart.
        zone: "upper", "middle" or "lower"; "" where the finding has no lobe.
        extent: 0 (small) to 1 (large).
        strength: 0 (barely visible) to 1 (obvious).
        x: centre, half fields from the spine, positive on either side.
        y: centre, half fields from the middle, positive downwards.
        seed: of its texture, so that it looks like itself in the next image.
    """

    finding: Finding
    side: str
    zone: str
    extent: float
    strength: float
    x: float = 0.0
    y: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Build:
    """What of a body does not change between two images; lengths in half fields, angles in radians.

    Attributes:
        width: of the chest, about 1.
        height: of the lungs, about 1.
        fat: 0 (thin) to 1 (obese).
        bone: how well bones show, about 1.
        heart: width of the heart over that of the chest, without cardiomegaly.
        rib_gap: between two ribs.
        rib_slope: how far ribs fall towards the side.
        rib_start: where the first ribs begin, behind and in front, in gaps.
        spine: amplitude of its curve to the side, and where along it the curve is.
        lean: how much wider the left half of the chest is than the right.
        shoulders: their height, and that of the clavicles with them.
        clavicle: how far the clavicles rise towards the side.
        heart_shape: above 1 a low heart, below 1 a high one.
        knob: radius of the aortic knob.
        domes: height of the right and the left half of the diaphragm.
        vessels: seed of the tree of vessels.
        blood: how well vessels show, about 1.
    """

    width: float
    height: float
    fat: float
    bone: float
    heart: float
    rib_gap: float
    rib_slope: float
    rib_start: tuple[float, float]
    spine: tuple[float, float]
    lean: float
    shoulders: float
    clavicle: float
    heart_shape: float
    knob: float
    domes: tuple[float, float]
    breasts: float
    vessels: int
    blood: float


@dataclass(frozen=True)
class Patient:
    """A patient and all of the studies.

    Attributes:
        studies: the findings of each image, first to last.
        ages: years at each image.
    """

    sex: str
    ages: tuple[float, ...]
    build: Build
    studies: tuple[tuple[Lesion, ...], ...]


@lru_cache(maxsize=256)
def phantom_patient(patient: int, seed: int) -> Patient:
    """The patient numbered `patient`: a pure function of the two numbers, 1 to 4 studies."""
    rng = generator(seed, PATIENT_STREAM, patient)
    sex = "F" if rng.random() < 0.48 else "M"
    age = float(np.clip(rng.normal(56, 18), 18, 94).round())
    count = int(rng.choice(MAX_IMAGES, p=[0.45, 0.27, 0.17, 0.11])) + 1
    build = _build(rng, sex, age)
    studies = [_first_study(rng, age)]
    while len(studies) < count:
        studies.append(_next_study(rng, studies[-1], age))
    ages = age + np.floor(np.cumsum(rng.exponential(0.35, count)))
    return Patient(sex, tuple(ages.tolist()), build, tuple(studies))


def _build(rng: np.random.Generator, sex: str, age: float) -> Build:
    female = sex == "F"
    return Build(
        width=float(rng.normal(0.96 if female else 1.0, 0.045)),
        height=float(rng.normal(0.97 if female else 1.01, 0.06)),
        fat=float(rng.beta(1.8, 2.4)),
        bone=float(np.clip(rng.normal(1.08 - 0.003 * max(age - 50, 0), 0.12), 0.6, 1.4)),
        heart=float(np.clip(rng.normal(0.44 + 0.0004 * (age - 50), 0.026), 0.37, 0.495)),
        rib_gap=float(rng.normal(0.158, 0.009)),
        rib_slope=float(np.clip(rng.normal(0.28, 0.06), 0.15, 0.42)),
        rib_start=(float(rng.random()), float(rng.random())),
        spine=(float(rng.normal(0, 0.022)), float(rng.uniform(0, 2 * math.pi))),
        lean=float(rng.normal(0, 0.025)),
        shoulders=float(rng.normal(0, 0.045)),
        clavicle=float(np.clip(rng.normal(0.20, 0.06), 0.05, 0.35)),
        heart_shape=float(np.exp(rng.normal(0, 0.14))),
        knob=float(np.clip(rng.normal(0.075 + 0.0007 * (age - 50), 0.015), 0.04, 0.14)),
        domes=(float(rng.normal(0.50, 0.05)), float(rng.normal(0.55, 0.05))),
        breasts=float(rng.uniform(0.3, 1.0)) if female else 0.0,
        vessels=int(rng.integers(2**31)),
        blood=float(np.exp(rng.normal(0, 0.25))),
    )


def _first_study(rng: np.random.Generator, age: float) -> tuple[Lesion, ...]:
    lesions: list[Lesion] = []
    for finding, chance in PREVALENCE.items():
        odds = chance / (1 - chance) * math.exp(_leaning(finding, age, lesions))
        if rng.random() < odds / (1 + odds):
            lesions += _drawn(rng, finding)
    return tuple(lesions)


def _leaning(finding: Finding, age: float, lesions: list[Lesion]) -> float:
    """Log odds by age and by what the patient already has, as findings keep company."""
    has = {lesion.finding for lesion in lesions}
    if finding is Finding.CARDIOMEGALY:
        return 0.03 * (age - 56)
    if finding is Finding.EFFUSION:
        return 0.9 * (Finding.CARDIOMEGALY in has) + 0.7 * (Finding.CONSOLIDATION in has) - 0.3
    if finding is Finding.NODULE:
        return 0.02 * (age - 56)
    if finding is Finding.PNEUMOTHORAX:
        return -0.02 * (age - 56)
    return 0.0


def _drawn(rng: np.random.Generator, finding: Finding) -> list[Lesion]:
    """One finding as one lesion or, for some, several of the same kind."""
    twice = {Finding.EFFUSION: 0.3, Finding.NODULE: 0.25, Finding.CONSOLIDATION: 0.22}
    first = _lesion(rng, finding)
    if rng.random() >= twice.get(finding, 0.0):
        return [first]
    second = _lesion(rng, finding)
    if finding is Finding.NODULE:
        return [first, second]
    return [first, replace(second, side="left" if first.side == "right" else "right")]


def _lesion(rng: np.random.Generator, finding: Finding) -> Lesion:
    extent, strength = float(rng.beta(1.3, 1.5)), float(rng.beta(1.7, 1.7))
    seed = int(rng.integers(2**31))
    if finding is Finding.CARDIOMEGALY:
        return Lesion(finding, "", "", extent, strength, seed=seed)
    side = "right" if rng.random() < 0.54 else "left"
    if finding in (Finding.EFFUSION, Finding.PNEUMOTHORAX):
        return Lesion(finding, side, "", extent, strength, seed=seed)
    odds = [0.42, 0.26, 0.32] if finding is Finding.NODULE else [0.24, 0.22, 0.54]
    zone = str(rng.choice(list(ZONES), p=odds))
    x, y = ZONES[zone]
    spread = 0.11 if finding is Finding.NODULE else 0.06
    x, y = x + rng.normal(0, spread), y + rng.normal(0, spread)
    return Lesion(finding, side, zone, extent, strength, float(x), float(y), seed)


def _next_study(
    rng: np.random.Generator, before: tuple[Lesion, ...], age: float
) -> tuple[Lesion, ...]:
    """Hearts and nodules stay; the rest grows, shrinks, clears, and now and then begins."""
    lasting = (Finding.CARDIOMEGALY, Finding.NODULE)
    lesions: list[Lesion] = []
    for lesion in before:
        change = 0.06 if lesion.finding in lasting else 0.3
        if lesion.finding in lasting or rng.random() < 0.68:
            extent = float(np.clip(lesion.extent + rng.normal(0, change), 0, 1))
            lesions.append(replace(lesion, extent=extent))
    known = {lesion.finding for lesion in before}
    for finding, chance in PREVALENCE.items():
        if finding not in known and finding not in lasting and rng.random() < 0.4 * chance:
            lesions += _drawn(rng, finding)
    return tuple(lesions)
