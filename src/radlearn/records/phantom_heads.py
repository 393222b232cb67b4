"""Phantom heads: MR exams drawn by script, T1, T2 and FLAIR of the same anatomy.

Points are in millimetres, RAS, from the middle of the head. Anatomy is a function of the point, so
that a volume of any space and spacing is drawn in place and none is ever interpolated.
"""

import gzip
import math
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float, Int16
from scipy import ndimage

from radlearn.files import replacing, write_text
from radlearn.records.transforms import generator

HEAD_STREAM = 0x4EAD  # keeps heads apart from every other use of the same seed
NOISE_STREAM = 0x401CE
MOTION_STREAM = 0x307103
FIELD_OF_VIEW = (224.0, 224.0, 168.0)
REACH = 140.0
"""Fields of noise are defined up to here from the middle, mm."""
SEQUENCES = ("T1", "T2", "FLAIR")
TISSUES: dict[str, tuple[float, float, float]] = {
    "air": (0, 0, 0),
    "fat": (900, 520, 500),
    "bone": (110, 70, 80),
    "fluid": (170, 1000, 110),
    "grey": (460, 600, 620),
    "white": (700, 360, 440),
    "nucleus": (530, 430, 520),
    "lesion": (420, 860, 950),
}
"""Signal by sequence. T2 is no function of T1: bone and fluid, cortex and lesion look alike there.
"""
NOISE = 14.0  # std in each of the two channels of the receiver, on the scale of `TISSUES`

Points = Float[np.ndarray, "3 i j k"]
Field = Float[np.ndarray, "i j k"]
Affine = Float[np.ndarray, "4 4"]
Part = tuple[np.ndarray, np.ndarray]  # centre and half axes of an ellipsoid, mm


@dataclass(frozen=True, eq=False)
class Head:
    """The anatomy of one patient; noise is given on coarse grids.

    Attributes:
        axes: half the width, length and height of the head, mm.
        pose: from anatomy to the scanner.
        bend: what makes the head no ellipsoid: displacements, mm, (3, n, n, n).
        folds: sulci run where this is 0.
        fluids: ventricles.
        nuclei: deep grey matter.
        lesions: in white matter; most heads have none.
    """

    axes: np.ndarray
    pose: Affine
    bend: np.ndarray
    folds: np.ndarray
    fluids: tuple[Part, ...]
    nuclei: tuple[Part, ...]
    lesions: tuple[Part, ...]


def head(patient: int, seed: int) -> Head:
    """The patient of that number, from 0; the same arguments give the same head."""
    rng = generator(HEAD_STREAM, seed, patient)
    axes = np.array([74.0, 92.0, 84.0]) * rng.uniform(0.93, 1.05, 3)
    wide = rng.uniform(0.7, 1.5)
    fluids, nuclei = [_ellipsoid((0, -6, 0), (2.5, 12, 9))], list[Part]()
    for side in (-1, 1):
        fluids.append(_ellipsoid((side * 10 * wide**0.5, 10, 16), (5.5 * wide, 24, 9 * wide)))
        fluids.append(_ellipsoid((side * 20, -26, 8), (6 * wide, 14, 10 * wide)))
        nuclei.append(_ellipsoid((side * 10, -10, 3), (8, 14, 9)))
        nuclei.append(_ellipsoid((side * 25, 6, 2), (6, 17, 10)))
        nuclei.append(_ellipsoid((side * 14, 26, 8), (5, 9, 10)))
    lesions = []
    for _ in range(int(rng.integers(1, 5)) if rng.random() < 0.35 else 0):
        side, far = rng.choice((-1, 1)), rng.uniform((24, -40, 10), (40, 40, 34))
        lesions.append((far * (side, 1, 1), rng.uniform(4, 9, 3)))
    return Head(
        axes,
        rigid(rng.uniform(-4, 4, 3), rng.uniform(-5, 5, 3)),
        rng.normal(0, 2.6, (3, 7, 7, 7)),
        rng.normal(0, 1, (14, 14, 14)),
        tuple(fluids),
        tuple(nuclei),
        tuple(lesions),
    )


def rigid(degrees: np.ndarray, shift: np.ndarray) -> Affine:
    """Turns about x, y and z, one after the other, then a shift, mm."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(4)
        first, second = [other for other in range(3) if other != axis]
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    matrix[:3, 3] = shift
    return matrix


def signals(drawn: Head, points: Points, voxel: float) -> dict[str, Field]:
    """What each sequence of `SEQUENCES` would measure at the points, without noise.

    Args:
        points: of the anatomy, mm.
        voxel: how wide the transition from one tissue to the next is, mm: the partial volume.
    """
    bent = points + np.stack([_noise(part, points) for part in drawn.bend])
    depth = (1 - _radius(bent, np.zeros(3), drawn.axes)) * drawn.axes.min()
    brain = depth - 19
    fissure = np.where(bent[2] > 20, np.abs(bent[0]), np.inf)
    crack = np.minimum(_distance(drawn.folds, bent), fissure)
    layers = [
        ("fat", depth),
        ("bone", depth - 7),
        ("fluid", depth - 14),
        ("grey", brain),
        ("white", np.minimum(brain - 8, crack + 0.3 * np.maximum(brain - 8, 0) - 10)),
        ("fluid", np.minimum(brain + 1, 4 - crack - 0.1 * np.maximum(brain, 0))),
    ]
    parts = (("nucleus", drawn.nuclei), ("lesion", drawn.lesions), ("fluid", drawn.fluids))
    for tissue, ellipsoids in parts:
        for centre, axes in ellipsoids:
            layers.append((tissue, (1 - _radius(bent, centre, axes)) * axes.min()))
    measured = np.zeros((len(SEQUENCES), *depth.shape))
    for tissue, inside in layers:
        cover = np.clip(inside / voxel + 0.5, 0, 1)
        signal = np.array(TISSUES[tissue]).reshape(-1, 1, 1, 1)
        measured += cover * (signal - measured)
    return dict(zip(SEQUENCES, measured, strict=True))


def scan(
    drawn: Head, affine: Affine, shape: tuple[int, int, int], rng: np.random.Generator
) -> dict[str, Int16[np.ndarray, "i j k"]]:
    """One visit to the scanner: every sequence, with gain, uneven coils and Rician noise.

    Air is exactly 0, as a scanner that suppresses the background leaves it.

    Args:
        affine: from index to scanner, RAS, mm.
    """
    places = np.indices(shape).reshape(3, -1).astype(np.float64)
    to_anatomy = np.linalg.inv(drawn.pose) @ affine
    points = (to_anatomy[:3, :3] @ places + to_anatomy[:3, 3:]).reshape(3, *shape)
    voxel = float(np.linalg.norm(affine[:3, :3], axis=0).mean())
    volumes = {}
    for name, signal in signals(drawn, points, voxel).items():
        uneven = np.exp(_noise(rng.normal(0, 0.08, (4, 4, 4)), points))
        real, imaginary = rng.normal(0, NOISE, (2, *shape))
        noisy = np.hypot(signal * uneven + real, imaginary) * rng.uniform(0.6, 1.6)
        volumes[name] = np.where(signal > 0, np.maximum(np.round(noisy), 1), 0).astype(np.int16)
    return volumes


def write_heads(folder: Path, patients: int, side: int, seed: int, moved: bool = False) -> None:
    """Write `head001/T1.nii.gz`, `T2.nii.gz` and `FLAIR.nii.gz`, a folder a patient.

    int16, side x side x side / 2 voxels over 224 x 224 x 168 mm, stored left to right as scanners
    leave it. The volumes of an exam share one space and line up.

    Args:
        moved: the patient moves before T2, by up to 4 degrees and 6 mm, and T2 has slices of its
            own, three quarters as many, obliquely; `T2_to_T1.txt`, an ITK transform, takes points
            of T1 (LPS, mm) to those of T2.

    Raises:
        InputError: the folder cannot be written.
    """
    for patient in range(patients):
        exam = folder / f"head{patient + 1:03d}"
        drawn, rng = head(patient, seed), generator(NOISE_STREAM, seed, patient)
        shape = (side, side, side // 2)
        affine = _affine(shape)
        volumes = {
            name: (volume, affine) for name, volume in scan(drawn, affine, shape, rng).items()
        }
        if moved:
            still = generator(MOTION_STREAM, seed, patient)
            motion = rigid(still.uniform(-4, 4, 3), still.uniform(-6, 6, 3))
            tilt = rigid(still.uniform(-5, 5, 3), still.uniform(-3, 3, 3))
            shape = (side, side, side * 3 // 8)
            affine = tilt @ _affine(shape)
            later = replace(drawn, pose=motion @ drawn.pose)
            volumes["T2"] = (scan(later, affine, shape, rng)["T2"], affine)
            write_text(exam / "T2_to_T1.txt", itk_text(motion))
        for name, (volume, space) in volumes.items():
            _write(exam / f"{name}.nii.gz", volume, space)


def itk_text(matrix: Affine) -> str:
    """A transform of points in RAS as ITK writes it, in LPS."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned = flip @ matrix @ flip
    numbers = " ".join(f"{value:.12g}" for value in [*turned[:3, :3].ravel(), *turned[:3, 3]])
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n"
    )


def _affine(shape: tuple[int, int, int]) -> Affine:
    spacing = np.array(FIELD_OF_VIEW) / shape
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _write(path: Path, volume: Int16[np.ndarray, "i j k"], affine: Affine) -> None:
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), 3, mtime=0))


def _ellipsoid(centre: tuple[float, ...], axes: tuple[float, ...]) -> Part:
    return np.array(centre, dtype=np.float64), np.array(axes, dtype=np.float64)


def _radius(points: Points, centre: np.ndarray, axes: np.ndarray) -> Field:
    """0 in the middle of the ellipsoid, 1 on its surface."""
    away = (points - centre.reshape(3, 1, 1, 1)) / axes.reshape(3, 1, 1, 1)
    return np.sqrt(np.square(away).sum(0))


def _distance(coarse: Float[np.ndarray, "n n n"], points: Points) -> Field:
    """About how far it is to the surface on which the field is 0, mm."""
    here = _noise(coarse, points)
    slopes = [_noise(coarse, points + a_mm) - here for a_mm in np.eye(3).reshape(3, 3, 1, 1, 1)]
    steepness = np.sqrt(np.square(slopes).sum(0))
    return np.abs(here) / np.maximum(steepness, 1e-3)


def _noise(coarse: Float[np.ndarray, "n n n"], points: Points) -> Field:
    """A smooth field through the coarse values, which reach `REACH` from the middle."""
    places = (points + REACH) / (2 * REACH) * (len(coarse) - 1)
    return ndimage.map_coordinates(coarse, places, order=3, mode="nearest")
