"""DICOM files opened safely, and the facts of their headers."""

import io
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR

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
from radlearn.records.record import View

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", LABEL_MAP)
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PIXEL_TAGS = frozenset(tag_for_keyword(keyword) for keyword in PIXELS)
FIRST_GROUPS = frozenset({0x0002, 0x0004, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028})
VALUE_KINDS = frozenset(str(kind).encode() for kind in VR if len(str(kind)) == 2)
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
MARKS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "Rows",
    "DirectoryRecordSequence",
)
PIXEL_TAG_BYTES = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
DIRECTORY = "Media Storage Directory Storage"
CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
OLDEST = 150.0  # a larger age is a slip of the pen
HEADER_BYTES = 2**18  # enough for nearly every header; a longer one makes the file be read whole

FRONTAL = re.compile(r"\b(pa|ap|frontal|(postero|antero)[- ]?(anterior|posterior))\b")
LATERAL = re.compile(r"\b(ll|rl|lat|lateral|profile?)\b")
NEITHER = re.compile(r"\b(oblique|decub\w*|lordotic|[lr]ld|[lr][ap]o)\b")
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True)
class Header:
    """What a folder of DICOM files is sorted by, without decoding a pixel.

    Attributes:
        patient: PatientID as it stands in the file: hash it before it is written anywhere.
        study: StudyInstanceUID, likewise.
        series: SeriesInstanceUID, likewise.
        instance: SOPInstanceUID, likewise.
        view: from ViewPosition, the view code, or the words of the series and body part.
        age: years.
        sex: "M" or "F".
        modality: such as CR, DX, CT; empty where the file is silent.
        photometric: such as MONOCHROME2; empty where there is no picture.
        frames: how many pictures the header claims; 0 where it describes none.
        rows: of the picture.
        columns: of the picture.
        spacing: millimetres between rows and between columns.
    """

    patient: str | None
    study: str | None
    series: str | None
    instance: str | None
    view: View
    age: float | None
    sex: str | None
    modality: str
    photometric: str
    frames: int
    rows: int
    columns: int
    spacing: tuple[float, float] | None


def is_dicom(start: bytes) -> bool:
    """Whether a file's first bytes are those of DICOM, with its preamble or without."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8 or (start[2:4] == b"\0\0" and start[4:8] == b"\0\0\0\0"):
        return False
    little, big = (int.from_bytes(start[:2], order) for order in ("little", "big"))
    if little in FIRST_GROUPS:
        length = int.from_bytes(start[4:8], "little")
        return start[4:6] in VALUE_KINDS or length < 2**16
    return big in FIRST_GROUPS and start[4:6] in VALUE_KINDS


def read_header(path: Path, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Read the facts of a DICOM file, whether it holds a picture or not.

    Raises:
        UnreadableError: not DICOM, damaged, or beyond `limits`.
    """
    with refusals(path):
        return header_of(open_header(path, limits))


def open_header(path: Path, limits: Limits) -> Dataset:
    """Parse what stands before the pixels.

    Raises:
        Refusal: damaged, not DICOM, or beyond `limits`.
    """
    raw = head(path, HEADER_BYTES)
    if not is_dicom(raw):
        raise Refusal("not a DICOM file")
    try:
        dataset, complete = _parsed(raw, limits, header_only=True)
    except Refusal:
        complete = False
    if not complete:
        dataset, _ = _parsed(contents(path, limits), limits, header_only=True)
    return _flat(dataset)


def open_dicom(path: Path, limits: Limits) -> Dataset:
    """Parse a whole file, its pixels still as they are stored, a single frame's groups laid flat.

    Raises:
        Refusal: as `read_whole`.
    """
    return _flat(read_whole(path, limits))


def read_whole(path: Path, limits: Limits) -> Dataset:
    """Parse a whole file as it stands, its pixels still as they are stored.

    Raises:
        Refusal: damaged, not DICOM, without pixel data, or beyond `limits`.
    """
    raw = contents(path, limits)
    dataset, _ = _parsed(raw, limits, header_only=False)
    if not any(keyword in dataset for keyword in PIXELS):
        # pydicom gives nothing at all of a file that ends inside a sequence of fragments.
        header, _ = _parsed(raw, limits, header_only=True)
        raise Refusal(_without_pixels(_flat(header), raw))
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native
    return dataset


def _parsed(raw: bytes, limits: Limits, *, header_only: bool) -> tuple[Dataset, bool]:
    """The data set, and whether reading stopped before `raw` was at its end."""

    def stop(tag: int, kind: str | None, length: int) -> bool:
        return header_only and tag in PIXEL_TAGS

    with step("its header is damaged"):
        stream, length = io.BytesIO(raw), len(raw)
        read_preamble(stream, force=True)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, kind, n: tag >> 16 != 2)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            # pydicom would inflate without a limit, whatever the stream unpacks to.
            body = inflated(raw[stream.tell() :], limits, -zlib.MAX_WBITS)
            stream, length = io.BytesIO(body), len(body)
            dataset = read_dataset(stream, False, True, stop_when=stop)
            dataset.file_meta = FileMetaDataset(meta)
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        else:
            stream.seek(0)
            dataset = read_partial(stream, stop_when=stop, force=True)
        return dataset, stream.tell() < length


def _flat(dataset: Dataset) -> Dataset:
    """Lay the functional groups of a single frame flat, where rescale, window and spacing hide."""
    with step("its header is damaged"):
        if not any(mark in dataset for mark in (*MARKS, *PIXELS)):
            raise Refusal("not a DICOM file, or one cut short in its header")
        for keyword in FUNCTIONAL_GROUPS:
            for macro in (dataset.get(keyword) or [Dataset()])[0]:
                for element in macro.value[0] if macro.VR == VR.SQ and macro.value else ():
                    if element.tag not in dataset:
                        dataset.add(element)
    return dataset


def _without_pixels(dataset: Dataset, raw: bytes) -> str:
    kind = UID(str(dataset.get("SOPClassUID", "")))
    stored = UID(str(dataset.file_meta.get("MediaStorageSOPClassUID", "")))
    if "DirectoryRecordSequence" in dataset or stored.name == DIRECTORY:
        return "a DICOMDIR, which lists files and holds no picture"
    if "Rows" in dataset:
        found = any(tag in raw for tag in PIXEL_TAG_BYTES)
        return (
            "cut short or damaged in its pixel data"
            if found
            else "no pixel data, though its header describes a picture"
        )
    known = kind.name if kind.name != kind else code(dataset, "Modality") or "of an unknown kind"
    return f"no pixel data ({known})"


def header_of(dataset: Dataset) -> Header:
    """The facts of an open data set.

    Raises:
        Refusal: a number in the header is not one.
    """
    with step("its header is damaged"):
        rows, columns = (whole(dataset, keyword, 0) for keyword in ("Rows", "Columns"))
        sex = code(dataset, "PatientSex")
        return Header(
            patient=_text(dataset, "PatientID"),
            study=_text(dataset, "StudyInstanceUID"),
            series=_text(dataset, "SeriesInstanceUID"),
            instance=_text(dataset, "SOPInstanceUID"),
            view=_view(dataset),
            age=_age(dataset),
            sex=sex if sex in ("M", "F") else None,
            modality=code(dataset, "Modality"),
            photometric=code(dataset, "PhotometricInterpretation"),
            frames=whole(dataset, "NumberOfFrames", 1) if rows and columns else 0,
            rows=rows,
            columns=columns,
            spacing=_spacing(dataset),
        )


def whole(dataset: Dataset, keyword: str, default: int) -> int:
    """A whole number of the header; `default` where it is absent or empty.

    Raises:
        Refusal: there is a value and it is not a whole number.
    """
    try:
        value = dataset.get(keyword)
        return default if value is None or value == "" else int(value)
    except (TypeError, ValueError, OverflowError):
        raise Refusal(f"its header is damaged: {keyword} is not a whole number") from None


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The finite numbers of an element; none where it is absent or says something else."""
    try:
        value = dataset.get(keyword)
        several = (
            [] if value is None else value if isinstance(value, list | MultiValue) else [value]
        )
        found = [float(item) for item in several]
    except (TypeError, ValueError, OverflowError):
        return []
    return found if all(map(math.isfinite, found)) else []


def code(dataset: Dataset, keyword: str) -> str:
    """A code string of the header, or "" where it is absent or could be anything but a code."""
    value = str(_value(dataset, keyword)).strip().upper()
    return value if CODE.fullmatch(value) else ""


def _value(dataset: Dataset, keyword: str) -> Any:
    try:
        value = dataset.get(keyword)
    except Exception:  # one bad element of many that only help
        return ""
    return "" if value is None else value


def _text(dataset: Dataset, keyword: str) -> str | None:
    return str(_value(dataset, keyword)).strip(" \0") or None


def _view(dataset: Dataset) -> View:
    """ViewPosition, then the view's code, then the words of the series and of the body part."""
    codes = _value(dataset, "ViewCodeSequence")
    words = [_value(item, "CodeMeaning") for item in codes] if isinstance(codes, Sequence) else []
    for said in (
        [_value(dataset, "ViewPosition")],
        words,
        [_value(dataset, "SeriesDescription"), _value(dataset, "BodyPartExamined")],
    ):
        text = re.sub(r"[_.]", " ", " ".join(map(str, said)).lower().replace(".", ""))
        frontal, lateral = bool(FRONTAL.search(text)), bool(LATERAL.search(text))
        if NEITHER.search(text) or (frontal and lateral):
            return View.UNKNOWN
        if frontal or lateral:
            return View.FRONTAL if frontal else View.LATERAL
    return View.UNKNOWN


def _age(dataset: Dataset) -> float | None:
    found = re.fullmatch(r"(\d{1,3})([DWMY]?)", str(_value(dataset, "PatientAge")).strip().upper())
    years = int(found[1]) * YEARS[found[2] or "Y"] if found else math.inf
    return years if years <= OLDEST else None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        found = numbers(dataset, keyword)
        if len(found) == 2 and min(found) > 0:
            return found[0], found[1]
    return None
