"""Volumes of every kind that radlearn reads: NIfTI, DICOM series, slices, arrays."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64
from nibabel.nifti1 import Nifti1Image
from nibabel.nifti2 import Nifti2Image

from radlearn.errors import UnreadableError
from radlearn.records.dicom_header import is_dicom
from radlearn.records.dicom_series import dicom_files, read_series
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
from radlearn.records.raster import is_raster
from radlearn.records.volume_arrays import (
    NPY,
    check_size,
    read_npy_volume,
    read_raster_volume,
)

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
        if path.is_dir():
            return _finite(_series(dicom_files(path), limits))
        start = head(path, HEAD)
        if is_dicom(start):  # first: its preamble may be another format's first bytes
            return _finite(_series((path,), limits))
        if is_nifti(start):
            return _finite(_nifti(path, limits))
        if start.startswith(NPY):
            return _finite(Volume(*_unplaced(read_npy_volume(path, limits)), "array"))
        if is_raster(start):
            return _finite(Volume(*_unplaced(read_raster_volume(path, limits)), "raster"))
        raise Refusal("not NIfTI, DICOM, PNG, JPEG, TIFF or .npy by its contents")


def read_dicom_volume(
    folder: Path, files: Sequence[Path], limits: Limits = DEFAULT_LIMITS
) -> Volume:
    """Read the files of one DICOM series, wherever they are below `folder`.

    Raises:
        UnreadableError: see `read_volume`.
    """
    with refusals(folder):
        return _finite(_series(files, limits))


def _series(files: Sequence[Path], limits: Limits) -> Volume:
    return Volume(*read_series(files, limits), "dicom")


def _unplaced(
    read: tuple[Float32[np.ndarray, "i j k"], dict[str, Any]],
) -> tuple[Float32[np.ndarray, "i j k"], Float64[np.ndarray, "4 4"], dict[str, Any]]:
    return read[0], np.diag([-1.0, -1.0, 1.0, 1.0]), read[1]


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
