"""A DICOM file's stored values, decoded only after its header's claims were checked."""

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from jaxtyping import Num, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from radlearn.records.dicom_header import PIXELS, code, whole
from radlearn.records.guard import Limits, Refusal, step

SILENCE = threading.Lock()
LITTLE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
JP2 = b"\0\0\0\x0cjP  "
JPEG2000 = b"\xff\x4f\xff\x51"
FRAME_STARTS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""JPEG's markers of a frame header, and that of JPEG-LS."""


def stored_values(dataset: Dataset, limits: Limits) -> tuple[Num[np.ndarray, "..."], str]:
    """Decode the one frame of an open data set; see `frame_values`.

    Raises:
        Refusal: several frames.
    """
    frames = whole(dataset, "NumberOfFrames", 1)
    if frames != 1:
        raise Refusal(f"{frames} frames; only single pictures are taken in")
    return frame_values(dataset, 0, limits)


def frame_values(
    dataset: Dataset, index: int, limits: Limits
) -> tuple[Num[np.ndarray, "..."], str]:
    """Decode a frame of an open data set, counted from 0.

    Returns:
        (H, W) or (H, W, 3), and the photometric interpretation of what was decoded.

    Raises:
        Refusal: sizes that do not fit the data or `limits`, or damage.
    """
    rows, columns, samples, bits = (
        whole(dataset, keyword, default)
        for keyword, default in (
            ("Rows", 0),
            ("Columns", 0),
            ("SamplesPerPixel", 1),
            ("BitsAllocated", 0),
        )
    )
    if "PixelData" in dataset and (samples not in (1, 3) or bits not in (1, 8, 16, 32)):
        raise Refusal(f"its header claims {samples} samples of {bits} bits a pixel")
    limits.check(rows, columns, samples * max(bits, 8) / 8)
    syntax = dataset.file_meta.TransferSyntaxUID
    name = _name(syntax)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise Refusal(f"its transfer syntax is not supported ({name})") from None
    with step(f"its pixel data are damaged ({name})"):
        if syntax.is_encapsulated:
            _check_encapsulated(dataset, index, rows, columns, samples, bits)
        else:
            _check_length(dataset, rows, columns)
    try:
        with step(f"its pixels cannot be decoded ({name})"):
            if bits == 1 and samples == 1 and syntax in LITTLE:
                values, told = _bits(dataset, index, rows, columns), None
            else:
                with _silenced() if syntax == RLELossless else nullcontext():
                    values, meta = decoder.as_array(dataset, index=index)
                told = meta.get("photometric_interpretation")
    except BaseException as error:
        # The run-length decoder is Rust, and its panics are no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise Refusal(f"its pixels cannot be decoded ({name}; PanicException)") from None
    if values.shape[:2] != (rows, columns) or values.ndim != (3 if samples == 3 else 2):
        raise Refusal("its pixels do not have the size that its header claims")
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native, str(told or code(dataset, "PhotometricInterpretation"))


def _bits(
    dataset: Dataset, index: int, rows: int, columns: int
) -> UInt8[np.ndarray, "{rows} {columns}"]:
    """One bit a pixel; frames follow each other without a gap, within a byte too.

    pydicom gives single frames only where they begin with a byte.
    """
    start, count = index * rows * columns, rows * columns
    packed = np.frombuffer(dataset.PixelData, np.uint8)[start // 8 : -(-(start + count) // 8)]
    unpacked = np.unpackbits(packed, bitorder="little")
    return unpacked[start % 8 : start % 8 + count].reshape(rows, columns)


def _name(syntax: UID) -> str:
    """The syntax's name in the standard; an unknown one is not repeated, whatever it says."""
    return syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"


def _check_length(dataset: Dataset, rows: int, columns: int) -> None:
    keyword = next(keyword for keyword in PIXELS if keyword in dataset)
    actual, expected = len(dataset[keyword].value or b""), get_expected_length(dataset)
    if actual < expected:
        raise Refusal(f"cut short: {actual} bytes of pixel data where {expected} are claimed")
    # Some writers pad; but a whole row or column too many means that rows or columns are wrong.
    if actual - expected >= max(2, expected // max(rows, columns)):
        raise Refusal(f"{actual} bytes of pixel data where its header claims {expected}")


@contextmanager
def _silenced() -> Iterator[None]:
    """Rust tells its panics on the process's standard error, whatever Python catches of them."""
    with SILENCE:  # two at once would each put back what the other one had put there
        kept = os.dup(2)
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _check_encapsulated(
    dataset: Dataset, index: int, rows: int, columns: int, samples: int, bits: int
) -> None:
    """A compressed frame has a header of its own, which decides what a decoder allocates."""
    frame = get_frame(
        dataset.PixelData, index, number_of_frames=whole(dataset, "NumberOfFrames", 1)
    )
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        if len(frame) > 2 * rows * columns * samples * bits // 8 + 2**16:
            raise Refusal("more run-length data than its header's size can need")
        return
    size = codestream_size(frame)
    if size is None:
        raise Refusal("its compressed pixel data have no readable header")
    if size != (rows, columns, samples):
        raise Refusal(
            f"its compressed picture is {size[0]} x {size[1]} x {size[2]}, "
            f"its header claims {rows} x {columns} x {samples}"
        )


def codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 stream announces, or None."""
    if frame.startswith((JP2, JPEG2000)):
        start = _first_codestream(frame)
        sizes = frame[start + 8 : start + 42]
        if not frame.startswith(JPEG2000, start) or len(sizes) < 34:
            return None
        right, bottom, left, top = struct.unpack(">4I", sizes[:16])
        return bottom - top, right - left, int.from_bytes(sizes[32:34], "big")
    if not frame.startswith(b"\xff\xd8"):
        return None
    offset = 2
    while offset + 10 <= len(frame):
        if frame[offset] != 0xFF:
            return None
        marker = frame[offset + 1]
        if marker in FRAME_STARTS:
            rows, columns, components = struct.unpack_from(">HHB", frame, offset + 5)
            return rows, columns, components
        if marker == 0xFF:  # a fill byte
            offset += 1
            continue
        offset += 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
    return None


def _first_codestream(frame: bytes) -> int:
    """Where the codestream of a JP2 file starts; its end where a box before that is damaged.

    pydicom walks the same boxes, and stands still for ever at one of no length.
    """
    offset = 0
    while frame.startswith(JP2) and frame[offset + 4 : offset + 8] != b"jp2c":
        length = int.from_bytes(frame[offset : offset + 4], "big")
        if length < 8:
            return len(frame)
        offset += length
    return offset + 8 if offset else 0
