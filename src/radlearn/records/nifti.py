"""NIfTI files that hold one two-dimensional radiograph."""

import io
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from jaxtyping import Float64, Shaped
from nibabel.nifti1 import Nifti1Image
from nibabel.nifti2 import Nifti2Image

from radlearn.records.display import rendered
from radlearn.records.guard import Limits, Refusal, contents, inflated, refusals, step
from radlearn.records.record import Pixels

GZIP = b"\x1f\x8b"
GZIP_BITS = 16 + zlib.MAX_WBITS
MAGICS = {348: (344, (b"n+1\0", b"ni1\0")), 540: (4, (b"n+2\0", b"ni2\0"))}
TO_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
LUMA = np.array([0.299, 0.587, 0.114])


def is_nifti(head: bytes) -> bool:
    """Whether a file's first bytes, packed by gzip or not, are those of NIfTI-1 or NIfTI-2."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(GZIP_BITS).decompress(head, 4096)
        except zlib.error:
            return False
    return _magic(head) is not None


def _magic(head: bytes) -> tuple[int, bytes] | None:
    for order in ("little", "big"):
        size = int.from_bytes(head[:4], order)
        if size in MAGICS:
            offset, known = MAGICS[size]
            magic = head[offset : offset + 4]
            return (size, magic) if magic in known else None
    return None


def read_nifti(path: Path, limits: Limits) -> Pixels:
    """Read a single-slice NIfTI as a radiological viewer shows it.

    The affine says which way the axes run. The patient's left is on the right of the screen, and
    superior (in a slice without that axis: anterior) is up; in a sagittal slice anterior is on the
    left. Unscaled uint8 is taken as it is; everything else gets the percentile window. NaN is dark.

    Raises:
        UnreadableError: a volume, complex values, pixels in a separate file, damage, or beyond
            `limits`.
    """
    with refusals(path):
        image, plane = open_slice(path, limits)
        with step("its pixels cannot be decoded"):
            values, spacing = _on_screen(image, plane)
            if values.dtype == np.uint8:
                return Pixels(values=values, spacing=spacing, header={"format": "NIfTI"})
            shown, window = rendered(values, (), bits=16)
    return Pixels(values=shown, spacing=spacing, header={"format": "NIfTI", "window": window})


def read_slice_codes(
    path: Path, limits: Limits
) -> tuple[Shaped[np.ndarray, "height width"], "OnScreen"]:
    """The numbers of a single-slice NIfTI, as `read_nifti` turns it, and where they lie.

    Raises:
        UnreadableError: colours, and see `read_nifti`.
    """
    with refusals(path):
        image, plane = open_slice(path, limits)
        if image.get_data_dtype().names:
            raise Refusal("colours where one value a class is expected")
        with step("its pixels cannot be decoded"):
            values, _ = _on_screen(image, plane)
        return values, place_of(image, plane)


class OnScreen(NamedTuple):
    """Where a picture lies (RAS, mm): along its rows, down its columns, its middle, its pixel."""

    directions: Float64[np.ndarray, "2 3"]
    middle: Float64[np.ndarray, "3"]
    pixel: float


def place_of(image: Nifti1Image, plane: tuple[int, int]) -> OnScreen:
    """Where the picture lies that `read_nifti` shows."""
    affine = np.asarray(image.affine, np.float64)
    steps = np.stack([affine[:3, axis] * step for axis, step in _axes(image, plane)])
    lengths = np.linalg.norm(steps, axis=1)
    middle = [(n - 1) / 2 for n in (*image.shape, 1, 1)[:3]]
    return OnScreen(
        steps / np.maximum(lengths, 1e-12)[:, None], affine[:3] @ [*middle, 1], float(lengths.max())
    )


def open_slice(path: Path, limits: Limits) -> tuple[Nifti1Image, tuple[int, int]]:
    """A single-slice NIfTI and the two axes of its picture; no pixel is read.

    Raises:
        Refusal: a volume, complex values, pixels in a separate file, damage, or beyond `limits`.
    """
    raw = contents(path, limits)
    if raw.startswith(GZIP):
        raw = inflated(raw, limits, GZIP_BITS)
    size, magic = _magic(raw) or (0, b"")
    if magic in (b"ni1\0", b"ni2\0"):
        raise Refusal("a header whose pixels are in a separate .img file; join them first")
    with step("its NIfTI header is damaged"):
        kind = Nifti1Image if size == 348 else Nifti2Image
        image = kind.from_stream(io.BytesIO(raw))
        shape = tuple(int(n) for n in image.shape)
        dtype = image.get_data_dtype()
        offset = int(image.header["vox_offset"])
    if sum(n > 1 for n in shape) > 2 or any(n != 1 for n in shape[3:]):
        raise Refusal(f"a volume of {' x '.join(map(str, shape))}; use mri-pairs")
    if dtype.kind == "c":
        raise Refusal("its values are complex numbers")
    plane = _plane(shape)
    limits.check(shape[plane[0]], shape[plane[1]], max(dtype.itemsize, 8))
    if len(raw) < offset + math.prod(shape) * dtype.itemsize:
        raise Refusal("cut short: its header claims more pixels than there are")
    return image, plane


def off_screen(
    shown: Shaped[np.ndarray, "height width"], image: Nifti1Image, plane: tuple[int, int]
) -> Shaped[np.ndarray, "..."]:
    """A slice as `read_nifti` shows it, back in the file's own axes and shape.

    Raises:
        Refusal: it has another size.
    """
    across, down = _axes(image, plane)
    if shown.shape != (image.shape[down[0]], image.shape[across[0]]):
        raise Refusal(f"a mask of {shown.shape[0]} x {shown.shape[1]} pixels is not of its size")
    rows_first = shown[:: down[1], :: across[1]]
    values = rows_first if plane[0] == down[0] else rows_first.T
    return np.ascontiguousarray(values).reshape(image.shape)


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """The two axes of the picture: those longer than one, the first ones where there are fewer."""
    long = [axis for axis, n in enumerate(shape[:3]) if n != 1]
    chosen = sorted((long + [axis for axis in range(len(shape[:3])) if axis not in long])[:2])
    if len(chosen) < 2:
        raise Refusal("it has fewer than two dimensions")
    return chosen[0], chosen[1]


def _on_screen(
    image: Nifti1Image, plane: tuple[int, int]
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """The slice as (rows, columns), and millimetres between its rows and its columns."""
    data = np.asarray(image.dataobj)
    keep = tuple(slice(None) if axis in plane else 0 for axis in range(data.ndim))
    data = data[keep]
    if data.dtype.names:
        data = np.stack([data[name] for name in "RGB"], -1) @ LUMA
        data = np.rint(data).astype(np.uint8)
    across, down = _axes(image, plane)
    if plane[0] == down[0]:
        rows_first, spacing_axes = data, plane
    else:
        rows_first, spacing_axes = data.T, plane[::-1]
    rows_first = rows_first[:: down[1], :: across[1]]
    scale = TO_MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    zooms = [float(image.header.get_zooms()[axis]) * scale for axis in spacing_axes]
    known = all(math.isfinite(zoom) and zoom > 0 for zoom in zooms)
    native = rows_first.astype(rows_first.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(native), (zooms[0], zooms[1]) if known else None


def _axes(image: Nifti1Image, plane: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The axis across the screen and the one down it, each with the step (1 or -1) to take."""
    codes = nibabel.aff2axcodes(image.affine)
    named = {axis: codes[axis] or "" for axis in plane}  # "" is in "LP" too: taken as stored
    first, second = plane
    # Down the screen runs the axis of superior, else that of anterior, else the second.
    down = next(
        (axis for pair in ("SI", "AP") for axis in plane if named[axis] and named[axis] in pair),
        second,
    )
    across = first if down == second else second
    return (across, 1 if named[across] in "LP" else -1), (down, 1 if named[down] in "IP" else -1)
