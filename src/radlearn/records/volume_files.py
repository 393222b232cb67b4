"""Volumes written as what they were made from: NIfTI, a DICOM series, PNG or .npy."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError
from PIL import Image

from radlearn.errors import UnreadableError
from radlearn.files import replacing
from radlearn.records.made_series import Told, write_series
from radlearn.records.nifti import TO_MILLIMETRES
from radlearn.records.volume import Volume

__all__ = ["Told", "answer_path", "write_field", "write_nifti", "write_volume"]

ENDINGS = {"nifti": ".nii.gz", "dicom": "", "array": ".npy"}
VECTOR = 1007  # NIFTI_INTENT_VECTOR
FASTEST = 1  # of gzip; medical images of noise gain little from more
LPS = np.array([-1.0, -1.0, 1.0], np.float32)


def answer_path(place: Path, like: Volume) -> Path:
    """Where `write_volume` writes: `place` with the ending of the kind; of DICOM a folder."""
    ending = _raster_ending(like) if like.kind == "raster" else ENDINGS[like.kind]
    return place.with_name(place.name + ending)


def write_volume(
    place: Path, values: Float32[np.ndarray, "i j k"], like: Volume, told: Told
) -> Path:
    """Write values in the index space of `like`, as a file or series of its kind and geometry.

    NIfTI keeps every field of the header but the data type, which is float32: a generator's values
    are no whole numbers, and a scale factor would be one more thing that a reader can leave out;
    and the display range, which becomes the window's. PNG and TIFF are rounded to the 8 or 16 bits
    of their source, TIFF of floats and .npy are float32. DICOM: see `write_series`.

    Args:
        place: of the answer, without an ending.
        told: what the answer says of itself where its format has words for it; its window.

    Returns:
        What was written: a file, or the folder of a series.

    Raises:
        UnreadableError: a header of `like` that cannot be written again.
        InputError: the folder cannot be written.
    """
    path = answer_path(place, like)
    if like.kind == "dicom":
        write_series(path, values, like.affine, like.header, told)
    elif like.kind == "nifti":
        write_nifti(path, values, like, told)
    elif like.kind == "raster":
        _write_raster(path, values, like)
    else:
        with replacing(path) as temporary, temporary.open("wb") as file:
            stack = values.transpose(2, 1, 0)
            flat = like.header["dimensions"] == 2
            np.save(file, stack[0] if flat else stack, allow_pickle=False)
    return path


def write_nifti(path: Path, values: Float32[np.ndarray, "i j k"], like: Volume, told: Told) -> None:
    """Write float32 NIfTI; with the header of `like` where that is NIfTI, else with its affine."""
    header = _nifti_header(like)
    header["cal_min"], header["cal_max"] = told.low, told.high
    _write_image(path, values.reshape(_own_shape(like, header)), header)


def write_field(path: Path, field: Float32[np.ndarray, "3 i j k"], like: Volume) -> None:
    """Write a displacement field so that ITK, ANTs and what is built on them take it as one.

    NIfTI of five dimensions, (I, J, K, 1, 3), intent code 1007 (vector): at each voxel of `like`
    the step, in millimetres along L, P and S, to the place whose value belongs here. ITK takes
    vectors of this code as they are, and its own millimetres are LPS.

    Args:
        field: millimetres along R, A and S.
    """
    header = _nifti_header(like)
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent(VECTOR, (), name="")
    _write_image(path, (field.transpose(1, 2, 3, 0) * LPS)[:, :, :, None, :], header)


def _nifti_header(like: Volume) -> Any:
    """A copy of the header that NIfTI came with; a new one for other kinds."""
    if not isinstance(like.header, Nifti1Header):
        image = Nifti1Image(np.zeros((1, 1, 1), np.float32), like.affine)
        image.header.set_xyzt_units("mm")
        return image.header
    header = like.header.copy()
    unit = TO_MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    said = np.diag([unit, unit, unit, 1.0]) @ header.get_best_affine()
    if not np.allclose(said, like.affine, rtol=1e-4, atol=1e-4):
        # its numbers are in another unit than the one it names: say both anew
        header.set_xyzt_units("mm")
        header.set_zooms([*np.linalg.norm(like.affine[:3, :3], axis=0), *header.get_zooms()[3:]])
        header.set_qform(like.affine, int(header["qform_code"]))
        header.set_sform(like.affine, int(header["sform_code"]))
    return header


def _own_shape(like: Volume, header: Any) -> tuple[int, ...]:
    """The shape that the file itself gives, which may count axes of one, or leave them out."""
    said = tuple(int(n) for n in header.get_data_shape())
    return said if np.prod(said) == like.values.size else like.values.shape


def _write_image(path: Path, values: np.ndarray, header: Any) -> None:
    header.set_data_dtype(np.float32)
    kind = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    try:
        # Without an affine of its own the image leaves both of the header's as they are.
        raw = kind(values.astype(np.float32), None, header).to_bytes()
    except (ValueError, HeaderDataError):
        raise UnreadableError(f"{path.name}: its NIfTI header cannot be written again") from None
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(raw, FASTEST, mtime=0))


def _raster_ending(like: Volume) -> str:
    return ".tif" if like.header["format"] == "TIFF" else ".png"


def _write_raster(path: Path, values: Float32[np.ndarray, "i j k"], like: Volume) -> None:
    pages = values.transpose(2, 1, 0)
    mode = like.header["mode"]
    if mode != "F":
        kind = np.uint8 if mode in ("1", "L") else np.uint16
        pages = np.clip(np.rint(pages), 0, np.iinfo(kind).max).astype(kind)
    first, *others = [Image.fromarray(page) for page in pages]
    with replacing(path) as temporary:
        if _raster_ending(like) == ".tif":
            first.save(temporary, format="TIFF", save_all=True, append_images=others)
        else:
            first.save(temporary, format="PNG")
