"""A computed volume as a DICOM series of the study that it was computed from.

The new series lies beside its source: same patient, study, frame of reference and geometry, since
that is where a viewer looks for it. What described the source's pixels, and private elements, which
may, are left out. Identifiers follow from the source's and the new pixels: the same answer has the
same ones, another answer has others.
"""

import copy
import hashlib
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt16
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from radlearn.errors import InputError, UnreadableError
from radlearn.files import replacing
from radlearn.records.dicom_header import numbers, whole

OURS = re.compile(r"\d{4,}\.dcm")
LONGEST = 64  # characters of a description
FEWEST, MOST = 1000, 2**16 - 1  # steps of a stored value between the darkest and the brightest
SERIES_NUMBERS = 9000  # where viewers list computed series: behind those acquired
LPS = np.array([-1.0, -1.0, 1.0])

# Facts of the source's pixels that are none of the new ones'.
GONE = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenterWidthExplanation",
    "PresentationLUTShape",
    "PresentationLUTSequence",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "PixelAspectRatio",
    "PlanarConfiguration",
    "NumberOfFrames",
    "RealWorldValueMappingSequence",
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstanceCreatorUID",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
DRAWN_OVER = (0x5000, 0x6000)  # curves and overlays, 16 groups each


class Told(NamedTuple):
    """What a series says of itself: its description, how it came about, and its window."""

    description: str
    derivation: str
    low: float
    high: float


def write_series(
    folder: Path,
    values: Float32[np.ndarray, "i j k"],
    affine: Float64[np.ndarray, "4 4"],
    sources: Sequence[Dataset],
    told: Told,
) -> None:
    """Write a file a slice, 16 bits, explicit little endian; a series that was there is replaced.

    Args:
        folder: of the series.
        values: what is shown, in the index space of `affine`.
        affine: index to RAS, mm.
        sources: the headers of the slices that the values were computed from, in any order.

    Raises:
        UnreadableError: a header does not say where its slice lies, or cannot be written again.
        InputError: the folder holds other files, or cannot be written.
    """
    if folder.exists() and not _ours(folder):
        raise InputError(f"{folder} holds other files than a series of radlearn; move it away")
    try:
        planes = [_plane(values, affine, source) for source in sources]
    except (ValueError, IndexError, ZeroDivisionError, np.linalg.LinAlgError):
        raise UnreadableError("its headers do not say where the slices lie") from None
    slope, intercept = _scale(values, told)
    stored = [
        np.clip(np.rint((plane - intercept) / slope), 0, MOST).astype(np.uint16) for plane in planes
    ]
    seal = hashlib.sha256(b"".join(each.tobytes() for each in stored)).hexdigest()
    series = generate_uid(entropy_srcs=[str(sources[0].get("SeriesInstanceUID", "")), seal])
    with _swapped(folder) as fresh:
        for number, (source, pixels) in enumerate(zip(sources, stored, strict=True), start=1):
            file = _described(source, pixels, told, slope, intercept)
            file.SeriesInstanceUID = series
            own = [str(source.get("SOPInstanceUID", number)), seal]
            file.SOPInstanceUID = generate_uid(entropy_srcs=own)
            file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
            with replacing(fresh / f"{number:04d}.dcm") as temporary:
                _save(file, temporary)


def _plane(
    values: Float32[np.ndarray, "i j k"], affine: Float64[np.ndarray, "4 4"], source: Dataset
) -> Float32[np.ndarray, "rows columns"]:
    """The slice of a header, rows and columns as that header counts them."""
    between_rows, between_columns = numbers(source, "PixelSpacing")
    cosines = np.array(numbers(source, "ImageOrientationPatient")).reshape(2, 3) * LPS
    to_index = np.linalg.inv(affine)
    start = to_index[:3, :3] @ (LPS * numbers(source, "ImagePositionPatient")) + to_index[:3, 3]
    along = to_index[:3, :3] @ (cosines[0] * between_columns)  # from column to column
    down = to_index[:3, :3] @ (cosines[1] * between_rows)
    columns, rows = int(np.abs(along).argmax()), int(np.abs(down).argmax())
    (through,) = {0, 1, 2} - {columns, rows}
    number = round(float(start[through]))
    if not 0 <= number < values.shape[through]:
        raise IndexError
    plane = values.take(number, axis=through)
    plane = plane if rows < columns else plane.T
    plane = plane[:: 1 if down[rows] > 0 else -1, :: 1 if along[columns] > 0 else -1]
    if plane.shape != (whole(source, "Rows", 0), whole(source, "Columns", 0)):
        raise ValueError
    return plane


def _scale(values: np.ndarray, told: Told) -> tuple[float, float]:
    """Slope and intercept of stored values; 1 and 0 where whole numbers are fine enough."""
    low, high = min(float(values.min()), told.low), max(float(values.max()), told.high)
    intercept = 0.0 if low >= 0 else float(np.floor(low))
    if told.high - told.low >= FEWEST and high - intercept <= MOST:
        return 1.0, intercept
    return _short((high - intercept) / MOST * 1.001), intercept


def _short(number: float) -> float:
    """A number that a decimal string of 16 characters holds without loss."""
    return float(f"{number:.8e}")


def _described(
    source: Dataset, pixels: UInt16[np.ndarray, "rows columns"], told: Told, slope: float, at: float
) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = source.get("SOPClassUID", "")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = Dataset()
    file.file_meta = meta
    with _quiet():
        file.update(copy.deepcopy(dict(source.items())))
        file.remove_private_tags()
        for element in list(file):
            if _drawn_over(element.tag.group):
                del file[element.tag]
        for keyword in GONE:
            if keyword in file:
                delattr(file, keyword)
        kinds = [str(kind) for kind in _several(file.get("ImageType"))]
        file.ImageType = ["DERIVED", "SECONDARY", *(kinds[2:] or ["OTHER"])]
        file.SeriesDescription = told.description[:LONGEST]
        file.DerivationDescription = told.derivation
        file.SourceImageSequence = [_reference(source)]
        file.SeriesNumber = SERIES_NUMBERS + whole(source, "SeriesNumber", 0) % 1000
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
        file.PixelRepresentation = 0
        file.RescaleSlope, file.RescaleIntercept, file.RescaleType = f"{slope:.10g}", at, "US"
        file.WindowCenter = f"{(told.low + told.high) / 2:.8g}"
        file.WindowWidth = f"{max(told.high - told.low, slope):.8g}"
        file.PixelData = pixels.astype("<u2").tobytes()
        file["PixelData"].VR = "OW"
    return file


def _reference(source: Dataset) -> Dataset:
    item, purpose = Dataset(), Dataset()
    item.ReferencedSOPClassUID = source.get("SOPClassUID", "")
    item.ReferencedSOPInstanceUID = source.get("SOPInstanceUID", "")
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _several(value: object) -> list[object]:
    if value is None or isinstance(value, str):
        return [value] if value else []
    return list(value) if hasattr(value, "__iter__") else [value]


def _drawn_over(group: int) -> bool:
    return any(first <= group < first + 0x20 for first in DRAWN_OVER)


def _save(file: Dataset, path: Path) -> None:
    with _quiet():
        file.save_as(path, enforce_file_format=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """A header that pydicom cannot copy or write is the source's fault; its values stay untold."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        reason = f"its header cannot be written again ({type(error).__name__})"
        raise UnreadableError(reason) from None


def _ours(folder: Path) -> bool:
    return folder.is_dir() and all(OURS.fullmatch(path.name) for path in folder.iterdir())


@contextmanager
def _swapped(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` once it is full."""
    fresh, old = (folder.with_name(f".{folder.name}.{end}") for end in ("part", "old"))
    try:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
