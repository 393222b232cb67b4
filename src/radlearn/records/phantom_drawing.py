"""How a phantom is drawn: the shadows of a chest, one organ after another.

Lengths are in half fields: x and y run from -1 to 1, the patient's right on the left of the
picture, y downwards. Shadows add up as attenuation and become grey values at the end.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image, ImageDraw, ImageFont

from radlearn.records.phantom_lesions import Canvas, Field, Shadow, add_lesion, smooth_noise, soft
from radlearn.records.phantom_patients import Build, Finding, Lesion, Patient

BODY_Y = (-1.3, -1.0, -0.9, -0.82, -0.74, -0.62, -0.45, -0.25, -0.05, 0.15, 0.5, 1.3)
BODY_X = (0.29, 0.30, 0.34, 0.55, 0.88, 1.10, 1.20, 1.18, 1.02, 0.93, 0.90, 0.93)
VESSELS = 7  # that leave each hilum
HEART_DEPTH = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.87, 0.95, 1.02, 1.1, 1.2)
HEART_LEFT = (0.0, 0.10, 0.26, 0.48, 0.71, 0.90, 0.99, 1.0, 0.93, 0.72, 0.3)
HEART_RIGHT = (0.0, 0.06, 0.25, 0.62, 0.88, 0.99, 1.0, 0.96, 0.86, 0.7, 0.4)
MIDDLE_Y = (-1.3, -0.75, -0.5, -0.35, -0.15, 0.1, 0.4, 1.3)
MIDDLE_X = (0.10, 0.12, 0.145, 0.15, 0.15, 0.14, 0.14, 0.14)


@dataclass(frozen=True)
class Acquisition:
    """How one image was taken.

    Attributes:
        projection: "PA" or "AP"; AP magnifies the heart.
        turn: rotation of the picture, radians.
        scale: magnification.
        shift: of the patient on the detector, (x, y).
        breath: 0 (shallow) to 1 (deep).
        penetration: how far dense parts are burnt through, about 1.
        gamma: of the tone curve.
        noise: standard deviation at mid grey, in grey values of [0, 1].
        marker: text of the side marker.
    """

    projection: str
    turn: float
    scale: float
    shift: tuple[float, float]
    breath: float
    penetration: float
    gamma: float
    noise: float
    tilt: float
    marker: str
    border: tuple[float, ...]


@dataclass(frozen=True)
class Drawing:
    """A finished picture and what is where in it.

    Attributes:
        image: grey values in [0, 1].
        lungs: both lung fields, what lies over them included.
        heart: the heart's outline.
        lesions: the area of each lesion, in the order given; the heart's for cardiomegaly.
    """

    image: Float32[np.ndarray, "size size"]
    lungs: Bool[np.ndarray, "size size"]
    heart: Bool[np.ndarray, "size size"]
    lesions: tuple[Bool[np.ndarray, "size size"], ...]


def acquisition(rng: np.random.Generator, patient: Patient) -> Acquisition:
    """A plausible exposure; the old and ill are more often taken lying, AP."""
    supine = rng.random() < 0.25
    marker = str(rng.choice(["L", "R", "L", ""])) + (" AP" if supine and rng.random() < 0.6 else "")
    border = np.where(rng.random(4) < 0.12, rng.uniform(0.03, 0.12, 4), 0.0)
    return Acquisition(
        projection="AP" if supine else "PA",
        turn=float(rng.normal(0, 0.04 if supine else 0.022)),
        scale=float(rng.normal(1.06 if supine else 1.0, 0.055)),
        shift=(float(rng.normal(0, 0.045)), float(rng.normal(0, 0.05))),
        breath=float(np.clip(rng.normal(0.3 if supine else 0.6, 0.2), 0, 1)),
        penetration=float(np.exp(rng.normal(0.08 - 0.2 * patient.build.fat, 0.14))),
        gamma=float(np.exp(rng.normal(0.0, 0.17))),
        noise=float(rng.uniform(0.005, 0.014) + 0.012 * patient.build.fat),
        tilt=float(rng.normal(0, 0.035)),
        marker=marker,
        border=tuple(border.tolist()),
    )


def draw(
    patient: Patient,
    taken: Acquisition,
    lesions: tuple[Lesion, ...],
    size: int,
    rng: np.random.Generator,
) -> Drawing:
    """Draw one frontal radiograph.

    Args:
        patient: whose build is drawn.
        taken: how the image was taken.
        lesions: what is found in it.
        size: side of the picture, pixels.
        rng: of noise only; every shape is a function of the other arguments.
    """
    x, y = _placed(taken, size)
    build = patient.build
    spine = build.spine[0] * np.sin(2.2 * y + build.spine[1])
    canvas = _organs(build, taken, lesions, x - spine, y)
    shadow: Shadow = _soft_parts(canvas, build)
    shadow = shadow + _bones(canvas, build)
    shadow = shadow + canvas.lungs * (
        0.020 * smooth_noise(build.vessels, 14, size) + _vessels(build, taken, size, canvas)
    )
    areas = []
    for lesion in lesions:
        shadow, area = add_lesion(canvas, shadow, lesion)
        areas.append(area)
    image = _developed(shadow, canvas, taken, size, rng)
    return Drawing(image, canvas.lungs > 0.5, canvas.heart > 0.5, tuple(areas))


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[Field, Field]:
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _interpolated(at: Field, points: tuple[float, ...], values: tuple[float, ...]) -> Field:
    return np.interp(at, points, values).astype(np.float32)


def _chosen(where: Bool[np.ndarray, "size size"], yes: float, no: float) -> Field:
    return np.where(where, np.float32(yes), np.float32(no))


def _placed(taken: Acquisition, size: int) -> tuple[Field, Field]:
    x, y = _grid(size)
    x, y = x - taken.shift[0], y - taken.shift[1]
    c, s = math.cos(taken.turn) / taken.scale, math.sin(taken.turn) / taken.scale
    return c * x + s * y, c * y - s * x


def _organs(
    build: Build, taken: Acquisition, lesions: tuple[Lesion, ...], x: Field, y: Field
) -> Canvas:
    """The outlines that everything else refers to."""
    pixel = 2 / len(x)
    side = np.abs(x) / _chosen(x < 0, build.width - build.lean, build.width + build.lean)
    # The superellipse leans outwards with depth, as rib cages do.
    top = -0.80 * build.height + 0.03
    middle = 0.28
    leaning = side - (0.435 + 0.055 * y)
    ellipse = np.abs(leaning / (0.335 + 0.045 * y)) ** 2.3
    ellipse += np.abs((y - middle) / (middle - top)) ** _chosen(y < middle, 2.5, 6.0)
    drop = 0.11 * (taken.breath - 0.5)
    domes = _chosen(x < 0, build.domes[0] + drop, build.domes[1] + drop)
    diaphragm = domes + 0.8 * np.square(side - 0.36) * _chosen(side > 0.36, 1.45, 1.0)
    heart = _heart(build, taken, lesions, x, y, drop)
    middle_width = _interpolated(y, MIDDLE_Y, MIDDLE_X)
    knob = 0.035 + 0.8 * build.knob - np.hypot(x - 0.095, (y + 0.37) * 0.9)
    border = np.maximum(middle_width * _chosen(x < 0, 0.88, 0.92) - np.abs(x), knob)
    mediastinum = soft(border, 0.02 + pixel)
    cage = soft((1 - ellipse) * 0.3, 0.035 + pixel)
    above = soft(diaphragm - y, 0.012 + pixel)
    lungs = cage * above * (1 - np.maximum(mediastinum, heart))
    body = (
        _interpolated(y - build.shoulders, BODY_Y, BODY_X) * (0.94 + 0.1 * build.fat) * build.width
    )
    return Canvas(
        x, y, side, pixel, lungs, cage, heart, mediastinum, above, diaphragm, body, ellipse
    )


def _heart(
    build: Build, taken: Acquisition, lesions: tuple[Lesion, ...], x: Field, y: Field, drop: float
) -> Field:
    """Left ventricle and right atrium, as wide together as the ratio of heart to chest says."""
    ratio = build.heart + (0.025 if taken.projection == "AP" else 0.0) - 0.02 * taken.breath + 0.01
    for lesion in lesions:
        if lesion.finding is Finding.CARDIOMEGALY:
            ratio = max(ratio, 0.515) + 0.025 + 0.09 * lesion.extent
    half = 0.72 * build.width * ratio
    low = (build.domes[0] + build.domes[1]) / 2 + drop
    depth = np.clip((y + 0.24) / (low + 0.05 + 0.24), 0, 1.2) ** build.heart_shape
    left = 0.15 + (1.30 * half - 0.15) * _interpolated(depth, HEART_DEPTH, HEART_LEFT)
    right = 0.09 + (0.70 * half - 0.09) * _interpolated(depth, HEART_DEPTH, HEART_RIGHT)
    inside = np.minimum(left - x, right + x)
    return soft(inside, 0.018 + 2 / len(x)) * soft(depth - 0.05, 0.1) * soft(1.1 - depth, 0.05)


def _soft_parts(canvas: Canvas, build: Build) -> Shadow:
    """Muscle, fat, air, heart, vessels of the middle, liver, stomach, breasts."""
    x, y = canvas.x, canvas.y
    reach = np.clip(1 - np.square(x / canvas.body), 0, 1)
    inside = soft(canvas.body - np.abs(x), 0.012 + canvas.pixel)
    shadow = inside * (0.50 + 0.16 * build.fat) * (0.35 + 0.65 * np.sqrt(reach))
    shadow += inside * 0.10 * soft(y - canvas.diaphragm, 0.03) * canvas.cage
    shadow += 0.07 * inside * np.clip(y, 0, 1)
    depth = 1 - 0.55 * np.clip(canvas.ellipse, 0, 1) ** 2
    shadow -= (0.34 + 0.02 * build.fat) * canvas.cage * canvas.above * (0.4 + 0.6 * depth)
    middle = np.maximum(canvas.mediastinum, canvas.heart)
    thick = 0.10 * np.clip(1 - np.square((x - 0.05) / 0.5), 0, 1)
    shadow += canvas.above * canvas.cage * middle * (0.20 + thick)
    shadow += 0.05 * canvas.mediastinum * soft(0.1 - np.abs(x), 0.05)
    trachea = soft(0.034 - np.abs(x - 0.012), 0.02) * soft(-0.22 - y, 0.05)
    bronchi = soft(0.024 - np.abs(np.abs(x - 0.01) * 0.55 - (y + 0.24)), 0.02)
    shadow -= 0.075 * trachea + 0.04 * bronchi * soft(0.15 - np.abs(x), 0.04)
    bubble = soft(0.10 - np.hypot((x - 0.36) * 0.75, y - build.domes[1] - 0.13), 0.03)
    shadow -= 0.12 * bubble * (1 - canvas.above) * soft(build.domes[1] + 0.17 - y, 0.015)
    if build.breasts:
        fold = np.hypot((canvas.side - 0.47) * 0.95, y - 0.30) - 0.24 - 0.08 * build.breasts
        shadow += (0.04 + 0.06 * build.breasts) * inside * soft(-fold, 0.05) * soft(y, 0.25)
    return shadow.astype(np.float32)


def _band(distance: Field, half: float, edge: float) -> Field:
    """A tube's shadow: brighter at its cortex than along its middle."""
    inside = soft(half - np.abs(distance), edge)
    return inside * (0.62 + 0.5 * np.square(np.clip(distance / half, -1, 1)))


def _bones(canvas: Canvas, build: Build) -> Shadow:
    """Spine, ribs behind and in front, clavicles, shoulder blades, heads of the upper arms."""
    x, y, side, pixel = canvas.x, canvas.y, canvas.side, canvas.pixel
    gap = build.rib_gap
    wall = soft((1.12 - canvas.ellipse) * 0.3, 0.03) * soft(y + 0.9, 0.06)
    behind = -0.10 * np.sin(np.clip(side / 0.42, 0, 1.6) * np.pi * 0.62)
    behind += (0.10 + build.rib_slope) * np.clip(side - 0.22, 0, 1) ** 1.5 * 1.5
    order = (y - behind + 0.66) / gap + build.rib_start[0]
    ribs = _band((order - np.floor(order) - 0.5) * gap, gap * 0.235, 0.008 + pixel / 2)
    fade = (0.40 + 0.60 * canvas.above) * (1 - 0.35 * canvas.heart)
    shadow = 0.078 * ribs * wall * fade * soft(side - 0.07, 0.03) * soft(order, 0.1)
    front = 0.42 * build.rib_slope + 0.60 * np.square(np.clip(0.80 - side, 0, 1))
    order = (y - front + 0.60) / (gap * 1.08) + build.rib_start[1]
    ribs = _band((order - np.floor(order) - 0.5) * gap, gap * 0.27, 0.012 + pixel / 2)
    shadow += 0.042 * ribs * wall * canvas.above * soft(side - 0.36, 0.08) * soft(order, 0.1)
    shadow += 0.05 * soft(0.035 - np.abs(canvas.ellipse - 1.06) * 0.3, 0.03) * soft(0.75 - y, 0.1)

    column = soft(0.082 - np.abs(x), 0.012 + pixel)
    disc = np.abs(((y + 0.03 * np.abs(x)) / 0.135) % 1 - 0.5)
    vertebra = (
        0.55 + 0.45 * soft(0.41 - disc, 0.08) + 0.25 * soft(0.03 - np.abs(np.abs(x) - 0.078), 0.02)
    )
    shadow += 0.062 * column * vertebra * (1 - 0.35 * canvas.heart)

    curve = build.shoulders - 0.55 - build.clavicle * side + 0.045 * np.sin(side * 7.5 + 0.2)
    ends = soft(side - 0.06, 0.02) * soft(0.80 - side, 0.03)
    shadow += 0.12 * _band(y - curve, 0.033, 0.008 + pixel / 2) * ends
    blade = (
        soft(side - (0.70 + 0.06 * y), 0.02 + pixel) * soft(0.06 - y, 0.1) * soft(y + 0.62, 0.05)
    )
    edge = soft(0.02 - np.abs(side - (0.715 + 0.06 * y)), 0.02) * soft(0.02 - y, 0.1)
    shadow += (0.03 * blade + 0.04 * edge * soft(y + 0.6, 0.05)) * soft(1.0 - side, 0.08)
    arm = np.hypot(side - 0.97, (y - build.shoulders + 0.60) * 0.9)
    shadow += 0.045 * soft(0.115 - arm, 0.03 + pixel)
    shaft = _band(side - 1.02 - 0.08 * (y + 0.4), 0.055, 0.015 + pixel)
    shadow += 0.06 * shaft * soft(y + 0.56, 0.05)
    return (shadow * build.bone).astype(np.float32)


@lru_cache(maxsize=128)
def _tree(seed: int) -> tuple[Float32[np.ndarray, "segments 4"], ...]:
    """Vessels of both lungs, a generation of branches each: (x, y, x, y) from the hila outwards."""
    rng = np.random.default_rng(seed)
    angle = np.concatenate([np.linspace(-1.25, 1.35, VESSELS)] * 2)
    mirror = np.repeat([-1.0, 1.0], VESSELS)
    x = 0.19 * mirror
    y = np.where(mirror < 0, -0.07, -0.10) + 0.16 * rng.random(2 * VESSELS)
    generations = []
    for generation in range(5):
        length = rng.uniform(0.10, 0.17, len(x)) * 0.88**generation
        bend = angle + rng.normal(0, 0.13, len(x))
        ends = np.stack([x, y, x + mirror * length * np.cos(bend), y + length * np.sin(bend)], 1)
        generations.append(ends.astype(np.float32))
        fork = np.stack([rng.uniform(0.1, 0.45, len(x)), -rng.uniform(0.1, 0.45, len(x))], 1)
        angle = (bend[:, None] + fork).ravel()
        x, y, mirror = (np.repeat(v, 2) for v in (ends[:, 2], ends[:, 3], mirror))
    return tuple(generations)


def _vessels(build: Build, taken: Acquisition, size: int, canvas: Canvas) -> Shadow:
    """The tree of vessels, drawn at twice the size so that thin ones fade instead of breaking."""
    c, s = math.cos(taken.turn) * taken.scale, math.sin(taken.turn) * taken.scale
    turn = np.array([[c, s], [-s, c]]) * np.array([[build.width], [build.height]])
    page = Image.new("L", (size * 2, size * 2))
    pen = ImageDraw.Draw(page)
    tree = _tree(build.vessels)
    for generation in reversed(range(len(tree))):  # trunks over twigs
        thinning = 0.68**generation
        placed = tree[generation].reshape(-1, 2, 2) @ turn + np.array(taken.shift)
        width = max(1, round(0.030 * thinning * size))
        for ends in ((placed + 1) * size).reshape(-1, 4).tolist():
            pen.line(ends, fill=round(70 + 160 * thinning), width=width)
    small = page.resize((size, size), Image.Resampling.HAMMING)
    hila = soft(0.115 - np.hypot(canvas.side - 0.185, (canvas.y + 0.035) * 0.62), 0.10)
    return np.asarray(small, dtype=np.float32) * (0.105 / 255 * build.blood) + 0.055 * hila


def _developed(
    shadow: Shadow, canvas: Canvas, taken: Acquisition, size: int, rng: np.random.Generator
) -> Float32[np.ndarray, "size size"]:
    """From attenuation to grey: penetration, tone curve, unevenness, noise, marker, borders."""
    gx, gy = _grid(size)
    inside = soft(canvas.body - np.abs(canvas.x), 0.012 + canvas.pixel)
    dense = np.clip(shadow, 0, None) / taken.penetration
    image = 1 - np.exp(-1.75 * dense * dense - 0.55 * dense)
    image = (0.03 + 1.12 * image * inside) * (1 + taken.tilt * gx - 0.6 * taken.tilt * gy)
    image = np.clip(image, 0, 1) ** taken.gamma
    grain = rng.standard_normal((size, size), dtype=np.float32)
    # Films and detectors blur a little; half-and-half neighbours keep grain from being pixel-sharp.
    grain = 0.6 * grain + 0.3 * np.roll(grain, 1, 0) + 0.3 * np.roll(grain, 1, 1)
    image += grain * taken.noise * (0.45 + image)
    if taken.marker:
        image = np.maximum(image, _marker(taken, size))
    left, upper, right, lower = taken.border
    lit = (gx > 2 * left - 1) & (gx < 1 - 2 * right) & (gy > 2 * upper - 1) & (gy < 1 - 2 * lower)
    return np.clip(np.where(lit, image, 0.015), 0, 1).astype(np.float32)


def _marker(taken: Acquisition, size: int) -> Float32[np.ndarray, "size size"]:
    page = Image.new("L", (size, size))
    place = (size * (0.06 if taken.marker.startswith("R") else 0.84), size * 0.06)
    font = ImageFont.load_default(size=max(7, size * 0.055))
    ImageDraw.Draw(page).text(place, taken.marker, fill=245, font=font)
    return np.asarray(page, dtype=np.float32) / 255
