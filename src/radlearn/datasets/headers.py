"""What a layout needs to know of an image before its pixels are read."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from radlearn.errors import UnreadableError
from radlearn.records.dicom import read_header


@dataclass(frozen=True)
class Facts:
    """Size in pixels, and the patient where a DICOM header names one."""

    height: int
    width: int
    patient: str | None = None


def facts(path: Path) -> Facts | None:
    """Facts of a DICOM, PNG, JPEG or TIFF file from its header; None where it gives none.

    Why a file cannot be read is said where its pixels are.
    """
    try:
        header = read_header(path)
        return Facts(header.rows, header.columns, (header.patient or "").strip() or None)
    except UnreadableError:
        pass
    try:
        with Image.open(path) as image:
            return Facts(image.height, image.width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def dicom_patient(path: Path) -> str | None:
    """PatientID of a DICOM header, None where there is none."""
    try:
        return (read_header(path).patient or "").strip() or None
    except UnreadableError:
        return None
