"""Volumes written as what they were made from: NIfTI, a DICOM series, PNG or .npy."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from jaxtyping import Float32, Float64
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from PIL import Image

from radlearn.errors import UnreadableError
from radlearn.files import replacing
from radlearn.records.made_series import Told, write_series
from radlearn.records.volume import Kind, Volume

__all__ = ["Told", "answer_path", "write_field", "write_nifti", "write_volume"]

ENDINGS: dict[Kind, str] = {"nifti": ".nii.gz", "dicom": "", "raster": ".png", "array": ".npy"}
VECTOR = 1007  # NIFTI_INTENT_VECTOR
FASTEST = 1  # of gzip; medical images of noise gain little from more
LPS = np.array([-1.0, -1.0, 1.0], np.float32)


def answer_path(place: Path, like: Volume) -> Path:
    """Where `write_volume` writes: `place` with the ending of the kind; of DICOM a folder."""
    return place.with_name(place.name + ENDINGS[like.kind])


def write_volume(
    place: Path, values: Float32[np.ndarray, "i j k"], like: Volume, told: Told
) -> Path:
    """Write values in the index space of `like`, as a file or series of its kind and geometry.

    NIfTI keeps every field of the header but the data type, which is float32: a generator's values
    are no whole numbers, and a scale factor would be one more thing that a reader can leave out;
    and the display range, which becomes the window's. PNG is rounded to the bits of its source,
    .npy is float32, DICOM see `write_series`.

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
        _write_png(path, values, like)
    else:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, values.reshape(_own_shape(like)), allow_pickle=False)
    return path


def write_nifti(path: Path, values: Float32[np.ndarray, "i j k"], like: Volume, told: Told) -> None:
    """Write float32 NIfTI; with the header of `like` where that is NIfTI, else with its affine."""
    header = _nifti_header(like)
    header["cal_min"], header["cal_max"] = told.low, told.high
    _write_image(path, values.reshape(_own_shape(like)), header)


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
    if isinstance(like.header, Nifti1Header | Nifti2Header):
        return like.header.copy()
    image = Nifti1Image(np.zeros((1, 1, 1), np.float32), _float32(like.affine))
    image.header.set_xyzt_units("mm")
    return image.header


def _float32(affine: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """What a NIfTI header holds of an affine, so that its two ways to say it agree."""
    return affine.astype(np.float32).astype(np.float64)


def _write_image(path: Path, values: np.ndarray, header: Any) -> None:
    header.set_data_dtype(np.float32)
    kind = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    try:
        # Without an affine of its own the image leaves both of the header's as they are.
        raw = kind(values.astype(np.float32), None, header).to_bytes()
    except (ValueError, nibabel.spatialimages.HeaderDataError):
        raise UnreadableError(f"{path.name}: its NIfTI header cannot be written again") from None
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(raw, FASTEST, mtime=0))


def _own_shape(like: Volume) -> tuple[int, ...]:
    """The shape that the file itself gives, which may count axes of one, or leave them out."""
    said: tuple[int, ...] = like.values.shape
    if isinstance(like.header, Nifti1Header | Nifti2Header):
        said = tuple(int(n) for n in like.header.get_data_shape())
    elif isinstance(like.header, dict) and "shape" in like.header:
        said = tuple(int(n) for n in like.header["shape"])
    return said if np.prod(said) == like.values.size else like.values.shape


def _write_png(path: Path, values: Float32[np.ndarray, "1 height width"], like: Volume) -> None:
    kind = np.uint8 if like.header["bits"] == 8 else np.uint16
    rounded = np.clip(np.rint(values[0]), 0, np.iinfo(kind).max).astype(kind)
    with replacing(path) as temporary:
        Image.fromarray(rounded).save(temporary, format="PNG")
