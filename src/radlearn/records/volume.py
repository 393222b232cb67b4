"""Volumes of every kind that radlearn reads: NIfTI, DICOM series, slices, arrays."""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64
from nibabel.nifti1 import Nifti1Image
from nibabel.nifti2 import Nifti2Image

from radlearn.errors import UnreadableError
from radlearn.records.guard import (
    DEFAULT_LIMITS,
    Limits,
    Refusal,
    contents,
    head,
    inflated,
    refusals,
    step,
)
from radlearn.records.intensity import window_of
from radlearn.records.nifti import GZIP, GZIP_BITS, TO_MILLIMETRES, is_nifti

Kind = Literal["nifti", "dicom", "raster", "array"]
HEAD = 4096
FLAT = 1e-9  # cubic millimetres; an affine of smaller voxels has lost a direction


@dataclass(frozen=True, eq=False)
class Volume:
    """One scan in its own space.

    Attributes:
        values: in the order of the affine's axes: values[i, j, k].
        affine: index to millimetres, RAS. What has no geometry of its own gets 1 mm voxels, its
            columns from right to left, its rows from anterior to posterior.
        header: what a writer needs to give the same header back: a nibabel header; the data sets
            of a DICOM series, sorted, without pixels.
        kind: what it was read from.
        notes: what was changed in reading.
    """

    values: Float32[np.ndarray, "i j k"]
    affine: Float64[np.ndarray, "4 4"]
    header: Any = field(default=None, repr=False)
    kind: Kind = "nifti"
    notes: tuple[str, ...] = ()


def read_volume(path: Path, limits: Limits = DEFAULT_LIMITS) -> Volume:
    """Read a NIfTI file, a folder of one DICOM series, a PNG or TIFF slice, or a .npy array.

    What it is, its contents say. Where some values are not finite they become the background,
    which `Volume.notes` says.

    Raises:
        UnreadableError: "name: reason": several volumes, colour, complex numbers, no finite value,
            damage, or beyond `limits`.
    """
    with refusals(path):
        start = head(path, HEAD)
        if is_nifti(start):
            volume = _nifti(path, limits)
        else:
            raise Refusal("not NIfTI")
        return _finite(volume)


def _nifti(path: Path, limits: Limits) -> Volume:
    raw = contents(path, limits)
    if raw.startswith(GZIP):
        raw = inflated(raw, limits, GZIP_BITS)
    with step("its NIfTI header is damaged"):
        kind = Nifti2Image if 540 in (raw[0] + 256 * raw[1], 256 * raw[2] + raw[3]) else Nifti1Image
        separate = (raw[344:347] if kind is Nifti1Image else raw[4:7]).startswith(b"ni")
    if separate:
        raise Refusal("a header whose values are in a separate .img file; join them first")
    with step("its NIfTI header is damaged"):
        image = kind.from_stream(io.BytesIO(raw))
        shape = tuple(int(n) for n in image.shape)
        dtype = image.get_data_dtype()
        offset = int(image.header["vox_offset"])
        affine = np.asarray(image.affine, np.float64)
        unit = TO_MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    if any(n != 1 for n in shape[3:]):
        said = " x ".join(map(str, shape))
        raise Refusal(f"{len(shape)}-D ({said}): several volumes in one file; split them first")
    if dtype.names or dtype.kind not in "iufb":
        raise Refusal(
            "complex numbers where grey is expected"
            if dtype.kind == "c"
            else "RGB where grey is expected"
        )
    shape = (*shape, 1, 1, 1)[:3]
    check_size(shape, dtype.itemsize, limits)
    if len(raw) < offset + math.prod(shape) * dtype.itemsize:
        raise Refusal("cut short: its header claims more values than there are")
    with step("its values cannot be decoded"):
        values = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
    header = image.header.copy()
    if unit != 1.0:
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
        header.set_xyzt_units("mm")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < FLAT:
        raise Refusal("its affine does not place voxels in space (singular or not finite)")
    return Volume(np.ascontiguousarray(values), affine, header, "nifti")


def check_size(shape: tuple[int, ...], item_bytes: int, limits: Limits) -> None:
    """Refuse a volume whose header claims more than `limits`, before anything is allocated."""
    if min(shape) < 1:
        raise Refusal(f"its header claims {' x '.join(map(str, shape))} voxels")
    if math.prod(shape) * max(item_bytes, 4) > limits.bytes:
        raise Refusal(
            f"its header claims {' x '.join(map(str, shape))} voxels, more than the limit of "
            f"{limits.bytes} bytes"
        )


def _finite(volume: Volume) -> Volume:
    finite = np.isfinite(volume.values)
    if finite.all():
        return volume
    try:
        low = window_of(volume.values).low
    except UnreadableError as error:
        raise Refusal(str(error)) from None
    note = f"{int((~finite).sum())} values that are not finite became the background"
    values = np.where(finite, volume.values, np.float32(low))
    return Volume(values, volume.affine, volume.header, volume.kind, (*volume.notes, note))
