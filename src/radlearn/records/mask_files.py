"""Masks written as files in the grid and geometry of the picture that they belong to."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, UInt8
from nibabel.nifti1 import Nifti1Extension, Nifti1Extensions, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from radlearn.errors import InputError
from radlearn.files import replacing
from radlearn.records.dicom_header import is_dicom, numbers, open_header
from radlearn.records.guard import DEFAULT_LIMITS, Limits, head, refusals
from radlearn.records.nifti import is_nifti, off_screen, open_slice
from radlearn.records.record import NOT_ANNOTATED

MaskKind = Literal["png", "nifti", "dicom-seg"]
ENDINGS: dict[MaskKind, str] = {"png": ".png", "nifti": ".nii.gz", "dicom-seg": ".dcm"}
HEAD = 4096
LABEL = 1002  # NIFTI_INTENT_LABEL
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_mask(
    values: UInt8[np.ndarray, "height width"],
    names: Sequence[str],
    like: Path,
    out: Path,
    kind: MaskKind,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Write a mask as one file; see `geometry.unfitted` for the way from a square to its source.

    PNG: 0 and 255 for one class, else the numbers of the classes. NIfTI: the numbers, in the axes,
    shape and affine of a NIfTI source, or in the place and spacing that a DICOM source tells.
    DICOM SEG: a segment a class; see `made_segmentation`. PNG and NIfTI say in a comment what
    their values are.

    Args:
        values: 0, k for the class `names[k - 1]`, 255 where not annotated, as `read_pixels` shows
            the source.
        like: the source picture.
        out: the file, with the ending of `ENDINGS`.

    Raises:
        InputError: a DICOM SEG of a source that is not DICOM, or a kind that has no word for "not
            annotated"; the file cannot be written.
        UnreadableError: the source cannot be read, or is of another size than the mask (NIfTI and
            DICOM).
    """
    silent = kind == "dicom-seg" or (kind == "png" and len(names) == 1)
    if silent and (values == NOT_ANNOTATED).any():
        raise InputError(f"{out.name}: this kind of mask cannot say where it is not annotated")
    if kind == "png":
        _write_png(out, values, names)
    elif kind == "nifti":
        _write_nifti(out, values, names, like, limits)
    else:
        with refusals(like):
            dicom = is_dicom(head(like, HEAD))
        if not dicom:
            raise InputError(
                f"{like.name} is not a DICOM file, and a DICOM SEG refers to one: choose png or "
                "nifti"
            )
        from radlearn.records.made_segmentation import write_segmentation

        write_segmentation(out, values, names, like, limits)


def _write_png(out: Path, values: UInt8[np.ndarray, "height width"], names: Sequence[str]) -> None:
    told = PngInfo()
    told.add_itxt("Comment", _legend(names, 255 if len(names) == 1 else 1))
    shown = values * np.uint8(255) if len(names) == 1 else values
    with replacing(out) as temporary:
        Image.fromarray(np.ascontiguousarray(shown)).save(temporary, format="PNG", pnginfo=told)


def _legend(names: Sequence[str], first: int = 1) -> str:
    return "; ".join(f"{value} {name}" for value, name in enumerate(names, first))


def _write_nifti(
    out: Path,
    values: UInt8[np.ndarray, "height width"],
    names: Sequence[str],
    like: Path,
    limits: Limits,
) -> None:
    with refusals(like):
        start = head(like, HEAD)
        if is_nifti(start):
            image, plane = open_slice(like, limits)
            stored, header = off_screen(values, image, plane), image.header.copy()
        else:
            affine = _affine(like, limits) if is_dicom(start) else np.diag([-1.0, -1.0, 1.0, 1.0])
            stored = np.ascontiguousarray(values.T)[:, :, None]
            header = Nifti1Image(stored, affine).header
            header.set_xyzt_units("mm")
        _describe(header, names)
        kind = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
        # Without an affine of its own the image leaves both of the header's as they are.
        raw = kind(stored, None, header).to_bytes()
    with replacing(out) as temporary:
        temporary.write_bytes(gzip.compress(raw, mtime=0))


def _describe(header: Any, names: Sequence[str]) -> None:
    """Whole numbers of classes, and no word of what the source's header said of its own values."""
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, len(names)
    header["descrip"], header["aux_file"], header["db_name"] = b"", b"", b""
    header.set_intent(LABEL, (), name="")
    header.extensions = Nifti1Extensions([Nifti1Extension("comment", _legend(names).encode())])


def _affine(like: Path, limits: Limits) -> Float64[np.ndarray, "4 4"]:
    """Index (column, row) to RAS, mm: what a DICOM header tells; else its spacing alone."""
    header = open_header(like, limits)
    spacing = numbers(header, "PixelSpacing") or numbers(header, "ImagerPixelSpacing")
    down, along = spacing if len(spacing) == 2 and min(spacing) > 0 else (1.0, 1.0)
    directions = numbers(header, "ImageOrientationPatient")
    position = numbers(header, "ImagePositionPatient")
    affine = np.eye(4)
    cosines = np.reshape(directions if len(directions) == 6 else (1, 0, 0, 0, 1, 0), (2, 3))
    thickness = (numbers(header, "SliceThickness") or [1.0])[0]
    affine[:3, 0], affine[:3, 1] = cosines[0] * along, cosines[1] * down
    affine[:3, 2] = np.cross(*cosines) * (thickness if thickness > 0 else 1.0)
    affine[:3, 3] = position if len(position) == 3 else 0
    return LPS @ affine
