"""Pixels from any file that radlearn reads; what a file is, its contents say, not its name."""

from collections.abc import Callable
from pathlib import Path

from radlearn.records import dicom, nifti, raster
from radlearn.records.guard import DEFAULT_LIMITS, Limits, Refusal, head, refusals
from radlearn.records.record import Pixels

__all__ = ["Limits", "is_image", "read_pixels"]

HEAD = 4096  # bytes that are enough to tell every kind apart
# DICOM first: its preamble may be another format's first bytes (dual-personality files).
KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[Path, Limits], Pixels]], ...] = (
    (dicom.is_dicom, dicom.read_dicom),
    (raster.is_raster, raster.read_raster),
    (nifti.is_nifti, nifti.read_nifti),
)


def is_image(path: Path) -> bool:
    """Whether the contents of `path` begin as DICOM, PNG, JPEG, TIFF or NIfTI do."""
    try:
        return _reader(path) is not None
    except (OSError, Refusal):
        return False


def read_pixels(path: Path, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Read one picture: one grey channel, larger is brighter, air dark, uint8 or uint16.

    Raises:
        UnreadableError: "name: reason", for any file that is not one still picture within `limits`.
    """
    with refusals(path):
        read = _reader(path)
        if read is None:
            raise Refusal("not DICOM, PNG, JPEG, TIFF or NIfTI by its contents")
    return read(path, limits)


def _reader(path: Path) -> Callable[[Path, Limits], Pixels] | None:
    start = head(path, HEAD)
    return next((read for recognises, read in KINDS if recognises(start)), None)
