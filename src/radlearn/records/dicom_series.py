"""A DICOM series as one volume: slices sorted by where they are, refused where they do not fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from pydicom.dataset import Dataset

from radlearn.records.dicom_header import PIXELS, header_of, is_dicom, numbers, open_dicom
from radlearn.records.dicom_pixels import stored_values
from radlearn.records.guard import Limits, Refusal, head, refusals

HEAD = 4096
TURNED = 1e-3  # of direction cosines
UNEVEN = 0.05
"""Share of the distance between slices by which one may be off its place."""
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _Slice:
    values: Float32[np.ndarray, "rows columns"]
    origin: Float64[np.ndarray, "3"]
    directions: Float64[np.ndarray, "2 3"]
    spacing: tuple[float, float]
    series: str | None
    dataset: Dataset


def dicom_files(folder: Path) -> tuple[Path, ...]:
    """Files of a folder (not of those below it) whose contents begin as DICOM does."""
    return tuple(
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".") and is_dicom(head(path, HEAD))
    )


def read_series(
    files: Sequence[Path], limits: Limits
) -> tuple[Float32[np.ndarray, "i j k"], Float64[np.ndarray, "4 4"], list[Dataset]]:
    """Columns, rows and slices in rescaled values, their affine (RAS), and the headers in order.

    Raises:
        UnreadableError: a file of it is damaged, colour or multi-frame.
        Refusal: several series, mixed orientations, spacings or sizes, two slices at one place, a
            gap, or more than `limits`.
    """
    if not files:
        raise Refusal("a folder without DICOM files")
    slices: list[_Slice] = []
    for path in files:
        with refusals(path):
            slices.append(_slice(path, limits, len(files)))
        if slices[-1].values.shape != slices[0].values.shape:
            raise Refusal("its slices are of different sizes; split the series")
    first = slices[0]
    if len({one.series for one in slices}) > 1:
        raise Refusal(f"{len({one.series for one in slices})} series in one folder; split them")
    if any(np.abs(one.directions - first.directions).max() > TURNED for one in slices):
        raise Refusal("mixed orientations: its slices do not lie parallel; split the series")
    if any(not np.allclose(one.spacing, first.spacing, rtol=1e-3) for one in slices):
        raise Refusal("its slices have different pixel spacings; split the series")
    normal = np.cross(*first.directions)
    slices.sort(key=lambda one: float(one.origin @ normal))
    step = _step(slices, normal)
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[1]
    affine[:3, 1] = first.directions[1] * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, slices[0].origin
    values = np.stack([one.values.T for one in slices], axis=2)
    return np.ascontiguousarray(values), LPS @ affine, [one.dataset for one in slices]


def _slice(path: Path, limits: Limits, count: int) -> _Slice:
    dataset = open_dicom(path, limits)
    facts = header_of(dataset)
    if facts.rows * facts.columns * count * 4 > limits.bytes:
        raise Refusal(f"a series of more than the limit of {limits.bytes} bytes")
    origin = numbers(dataset, "ImagePositionPatient")
    directions = np.array(numbers(dataset, "ImageOrientationPatient"), np.float64)
    spacing = numbers(dataset, "PixelSpacing")
    known = len(origin) == 3 and directions.size == 6 and len(spacing) == 2
    if not known or min(spacing) <= 0:
        raise Refusal(
            "it does not say where it is (ImagePositionPatient, ImageOrientationPatient, "
            "PixelSpacing)"
        )
    directions = directions.reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(directions[0] @ directions[1]) > 0.01:
        raise Refusal("its ImageOrientationPatient is no pair of directions at right angles")
    stored, photometric = stored_values(dataset, limits)
    if stored.ndim != 2 or not photometric.startswith("MONOCHROME"):
        raise Refusal("RGB where grey is expected")
    slope, intercept = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    factor, offset = (slope or [1.0])[0] or 1.0, (intercept or [0.0])[0]
    for keyword in PIXELS:
        if keyword in dataset:
            delattr(dataset, keyword)
    return _Slice(
        (stored.astype(np.float64) * factor + offset).astype(np.float32),
        np.array(origin, np.float64),
        directions / lengths[:, None],
        (spacing[0], spacing[1]),
        facts.series,
        dataset,
    )


def _step(slices: Sequence[_Slice], normal: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """Millimetres from a slice to the next, the same for all (a tilted gantry shears)."""
    if len(slices) == 1:
        thickness = numbers(slices[0].dataset, "SliceThickness")
        return normal * (thickness[0] if thickness and thickness[0] > 0 else 1.0)
    places = np.array([one.origin for one in slices])
    along = np.diff(places @ normal)
    usual = float(np.median(along))
    if along.min() < 0.01 or usual <= 0:
        raise Refusal(
            "two slices at one place: several volumes in one series (echoes, times); split it"
        )
    worst = int(np.abs(along - usual).argmax())
    if abs(along[worst] - usual) > UNEVEN * usual:
        raise Refusal(
            f"a gap: its slices are {usual:.2f} mm apart, but {along[worst]:.2f} mm after slice "
            f"{worst + 1} of {len(slices)}"
        )
    step = (places[-1] - places[0]) / (len(slices) - 1)
    straight = places[0] + np.arange(len(slices))[:, None] * step
    if np.abs(places - straight).max() > UNEVEN * usual + 0.05:
        raise Refusal("its slices do not lie on one line; split the series")
    return step
