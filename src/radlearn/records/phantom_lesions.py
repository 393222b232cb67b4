"""How findings are drawn over a phantom's organs."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from radlearn.records.phantom_patients import Finding, Lesion

Field = Float32[np.ndarray, "size size"]
Shadow = Float32[np.ndarray, "size size"]
Area = Bool[np.ndarray, "size size"]


@dataclass(frozen=True)
class Canvas:
    """Coordinates and outlines of one picture; outlines are 0 outside and 1 inside, soft between.

    Attributes:
        x, y: of every pixel on the patient, half fields.
        side: distance from the spine over the width of the chest.
        pixel: side of a pixel, half fields.
        lungs: both lung fields.
        cage: inside of the ribs, the heart included.
        above: above the diaphragm.
        diaphragm: its height under every x.
        body: half the body's width at every y.
        ellipse: below 1 inside the rib cage, 1 at the pleura.
    """

    x: Field
    y: Field
    side: Field
    pixel: float
    lungs: Field
    cage: Field
    heart: Field
    mediastinum: Field
    above: Field
    diaphragm: Field
    body: Field
    ellipse: Field


def soft(distance: Field, width: float) -> Field:
    """0 where `distance` is below -width, 1 above width, smooth between."""
    t = np.clip(distance * (0.5 / width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=128)
def smooth_noise(seed: int, cells: int, size: int) -> Field:
    """Smooth noise of unit variance or less, the same picture at every size."""
    coarse = np.random.default_rng(seed).standard_normal((cells, cells)).astype(np.float32)
    fine = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(fine)


def add_lesion(canvas: Canvas, shadow: Shadow, lesion: Lesion) -> tuple[Shadow, Area]:
    """The picture with the lesion in it, and the lesion's area."""
    if lesion.finding is Finding.CARDIOMEGALY:  # the heart was drawn wide already
        return shadow, canvas.heart > 0.5
    sign = -1.0 if lesion.side == "right" else 1.0
    lung = canvas.lungs * (canvas.x * sign > 0)
    x = canvas.x * sign
    if lesion.finding is Finding.NODULE:
        return _nodule(canvas, shadow, lesion, lung, x)
    if lesion.finding is Finding.CONSOLIDATION:
        return _consolidation(canvas, shadow, lesion, lung, x)
    if lesion.finding is Finding.EFFUSION:
        return _effusion(canvas, shadow, lesion, lung)
    return _pneumothorax(canvas, shadow, lesion, lung)


def _nodule(
    canvas: Canvas, shadow: Shadow, lesion: Lesion, lung: Field, x: Field
) -> tuple[Shadow, Area]:
    radius = 0.065 + 0.075 * lesion.extent
    dx, dy = x - lesion.x, canvas.y - lesion.y
    wobble = 1 + 0.10 * np.sin(3 * np.arctan2(dy, dx) + lesion.seed % 7)
    distance = np.hypot(dx, dy) * wobble
    inside = soft(radius - distance, 0.016 + canvas.pixel)
    # A ball casts the shadow of its thickness.
    dome = inside * (0.55 + 0.45 * np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1)))
    shown = soft(canvas.cage - 0.4, 0.3)
    return shadow + shown * dome * (0.20 + 0.16 * lesion.strength), distance < radius


def _consolidation(
    canvas: Canvas, shadow: Shadow, lesion: Lesion, lung: Field, x: Field
) -> tuple[Shadow, Area]:
    size = len(x)
    radius = 0.22 + 0.17 * lesion.extent
    dx, dy = (x - lesion.x) / 1.1, canvas.y - lesion.y
    ragged = 0.22 * smooth_noise(lesion.seed, 9, size) + 0.12 * smooth_noise(
        lesion.seed + 1, 22, size
    )
    level = 1 - np.hypot(dx, dy) / radius + ragged
    cloud = soft(level - 0.32, 0.42)
    mottle = 0.8 + 0.2 * smooth_noise(lesion.seed + 2, 30, size)
    area = (cloud > 0.4) & (lung > 0.5)
    return shadow + lung * cloud * mottle * (0.18 + 0.17 * lesion.strength), area


def _effusion(canvas: Canvas, shadow: Shadow, lesion: Lesion, lung: Field) -> tuple[Shadow, Area]:
    """Fluid fills the angle first; its surface climbs along the chest wall (the meniscus)."""
    right = canvas.x < 0
    base = np.where(right, *_angles(canvas)).astype(np.float32)
    top = base - (0.03 + 0.40 * lesion.extent**1.5)
    climb = 0.16 * np.clip(canvas.side - 0.30, 0, 1) ** 2 / 0.16
    level = top + 0.07 - climb * (0.6 + 0.6 * lesion.extent)
    fluid = lung * soft(canvas.y - level, 0.028 + canvas.pixel)
    fill = 0.12 + 0.12 * lesion.strength + 0.06 * lesion.extent
    return shadow + fluid * fill, (fluid > 0.5)


def _angles(canvas: Canvas) -> tuple[float, float]:
    """Height of the costophrenic angle, right and left."""
    near = np.abs(canvas.side - 0.70) < 0.03 + canvas.pixel
    return (
        float(canvas.diaphragm[near & (canvas.x < 0)].mean()),
        float(canvas.diaphragm[near & (canvas.x > 0)].mean()),
    )


def _pneumothorax(
    canvas: Canvas, shadow: Shadow, lesion: Lesion, lung: Field
) -> tuple[Shadow, Area]:
    """Air around a lung that has shrunk from the apex and the side, and the line of its pleura."""
    gap = 0.08 + 0.20 * lesion.extent
    apex = np.clip(0.25 - canvas.y, 0, 1) ** 0.7
    rim = 1 - gap * (0.35 + 1.6 * apex)
    shrunk = np.clip(rim, 0.2, 1) ** 2.3
    air = lung * soft((canvas.ellipse - shrunk) * 0.25, 0.010 + canvas.pixel / 2)
    air = air * soft(0.5 - canvas.y, 0.15)
    pleura = lung * soft(0.010 - np.abs((canvas.ellipse - shrunk) * 0.25), 0.012 + canvas.pixel / 2)
    pleura = pleura * soft(0.4 - canvas.y, 0.15)
    depth = 0.065 + 0.065 * lesion.strength
    return shadow - air * depth + pleura * 0.07, air > 0.5
