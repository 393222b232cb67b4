"""One exam becomes two stored volumes on one grid, and the row that leads back."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16

from radlearn.datasets.mri_pairs import Exam
from radlearn.datasets.pair_candidates import Scan
from radlearn.errors import UnreadableError
from radlearn.records.grid import Grid, grid_of, onto
from radlearn.records.guard import Limits
from radlearn.records.intensity import FOREGROUND, Window, scaled, stored, window_of
from radlearn.records.itk_transforms import between
from radlearn.records.pair_settings import PairsConfig
from radlearn.records.volume import Volume, read_dicom_volume, read_volume

INSIDE = 2 * FOREGROUND - 1  # of scaled values


@dataclass(frozen=True, eq=False)
class Built:
    """Stored volumes of an exam, None for a side that it does not have, and its row."""

    source: Float16[np.ndarray, "channels depth height width"] | None
    target: Float16[np.ndarray, "targets depth height width"] | None
    row: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Read:
    scan: Scan
    volume: Volume
    window: Window


def build(exam: Exam, config: PairsConfig, *, move: bool) -> Built:
    """Read an exam's scans, scale them, and lay them on the grid of the first.

    Args:
        move: whether transforms that are there are applied to what is resampled.

    Raises:
        UnreadableError: a scan cannot be taken in, or the scans do not fit each other.
    """
    limits = config.limits.limits
    source = [_read(scan, config, limits) for scan in exam.source]
    target = [_read(scan, config, limits) for scan in exam.target]
    everything = [*source, *target]
    first = everything[0]
    _agree([one.volume for one in everything], [one.scan.path.name for one in everything])
    grid = grid_of(first.volume, config.axis, config.size, config.asked_spacing, first.window)
    volumes = {
        side: np.stack([_laid(one, first, grid, move) for one in read]) if read else None
        for side, read in (("source", source), ("target", target))
    }
    usable = _usable([v for v in volumes.values() if v is not None], config)
    if not usable:
        raise UnreadableError(
            f"no slice has {config.min_foreground:g} of foreground on both sides; lower "
            "--min-foreground or widen --slices"
        )
    notes = [f"{o.scan.path.name}: {note}" for o in everything for note in o.volume.notes]
    cut = _cut(first, grid, volumes["source" if source else "target"])
    row = {
        "id": exam.id,
        "depth": grid.shape[0],
        "slices": usable,
        "source": [_relative(one.scan, config.folder) for one in source],
        "target": [_relative(one.scan, config.folder) for one in target],
        "source_sha256": [_sha256(one.scan) for one in source],
        "target_sha256": [_sha256(one.scan) for one in target],
        "grid": json.dumps(grid.to_json()),
        "spacing": list(grid.spacing),
        "source_windows": json.dumps([[o.window.low, o.window.high] for o in source]),
        "target_windows": json.dumps([[o.window.low, o.window.high] for o in target]),
        "has_source": bool(source),
        "has_target": bool(target),
        "moved": move and any(one.scan.transform is not None for one in everything),
        "cut": cut,
        "notes": "; ".join(notes) or None,
    }
    return Built(volumes["source"], volumes["target"], row)


def _read(scan: Scan, config: PairsConfig, limits: Limits) -> _Read:
    volume = (
        read_dicom_volume(scan.path, scan.files, limits)
        if scan.files
        else read_volume(scan.path, limits)
    )
    try:
        return _Read(scan, volume, window_of(volume.values, config.percentile))
    except UnreadableError as error:
        raise UnreadableError(f"{scan.path.name}: {error}") from None


def _agree(volumes: Sequence[Volume], names: Sequence[str]) -> None:
    """What has no geometry can only be laid on what has the same shape."""
    placed = [volume.kind in ("nifti", "dicom") for volume in volumes]
    if all(placed):
        return
    if any(placed):
        bare = names[placed.index(False)]
        raise UnreadableError(
            f"{bare} says nothing of where it is in space, {names[placed.index(True)]} does"
        )
    for volume, name in zip(volumes, names, strict=True):
        if volume.values.shape != volumes[0].values.shape:
            own, other = (" x ".join(map(str, v.values.shape)) for v in (volume, volumes[0]))
            raise UnreadableError(
                f"{name} is {own} and {names[0]} {other}: without geometry their shapes must agree"
            )


def _laid(
    one: _Read, first: _Read, grid: Grid, move: bool
) -> Float16[np.ndarray, "depth height width"]:
    transform = None
    if move and one is not first:
        transform = between(first.scan.transform, one.scan.transform)
    values = scaled(onto(one.volume, grid, transform, fill=one.window.low), one.window)
    if not (values > INSIDE).any():
        raise UnreadableError(
            f"{one.scan.path.name} has no foreground where {first.scan.path.name} is: by their "
            "headers they do not overlap"
        )
    return stored(values)


def _usable(volumes: Sequence[np.ndarray], config: PairsConfig) -> list[int]:
    """Slices in the asked range that have enough foreground in every side's first channel."""
    depth = volumes[0].shape[1]
    low, high = math.floor(config.slices[0] * depth), math.ceil(config.slices[1] * depth)
    shares = [(volume[0] > INSIDE).mean(axis=(1, 2)) for volume in volumes]
    least = np.min(shares, axis=0)
    return [d for d in range(low, high) if least[d] > 0 and least[d] >= config.min_foreground]


def _cut(first: _Read, grid: Grid, laid: np.ndarray | None) -> float:
    """Share of the foreground that lies outside the grid, by millimetres."""
    assert laid is not None
    volume = first.volume
    whole = (volume.values > first.window.foreground).sum() * _voxel(volume.affine)
    kept = (laid[0] > INSIDE).sum() * _voxel(grid.affine)
    return max(0.0, 1.0 - float(kept / whole)) if whole else 0.0


def _voxel(affine: np.ndarray) -> float:
    return abs(float(np.linalg.det(affine[:3, :3])))


def _relative(scan: Scan, folder: Path) -> str:
    """Relative to the source, so that a store tells nothing of the machine it was made on."""
    real, root = (Path(os.path.realpath(path)) for path in (scan.path, folder))
    return real.relative_to(root).as_posix() if real.is_relative_to(root) else scan.path.name


def _sha256(scan: Scan) -> str:
    """Of the file; of a series, of its files' sorted digests."""
    digests = []
    for path in scan.files or (scan.path,):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
