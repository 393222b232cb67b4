"""DICOM radiographs as a viewer shows them: rescaled, windowed, MONOCHROME1 turned over."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Num
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from radlearn.records.dicom_header import (
    SEGMENTATIONS,
    Header,
    code,
    header_of,
    is_dicom,
    numbers,
    open_dicom,
    read_header,
    whole,
)
from radlearn.records.dicom_pixels import stored_values
from radlearn.records.display import Grey, Rendering, Values, rendered, unchanged
from radlearn.records.guard import Limits, Refusal, refusals, step
from radlearn.records.record import Pixels

__all__ = ["Header", "is_dicom", "read_dicom", "read_header"]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
Mapping = Callable[[Values], Values]


def read_dicom(path: Path, limits: Limits) -> Pixels:
    """Read a single-frame DICOM file.

    Grey: the modality LUT or rescale; then the first of these that shows anything (see
    `rendered`): the VOI LUT, the windows in their order (linear, linear exact or sigmoid), for
    eight stored bits their whole range, and at last the 0.5th to 99.5th percentile. Pixel padding
    takes no part in this and comes out dark. MONOCHROME1, or a presentation LUT shape of INVERSE,
    is turned over. Colour of every kind becomes luma, and keeps its own range. uint8 for up to
    eight stored bits, else uint16.

    Raises:
        UnreadableError: no picture, several frames, damage, or beyond `limits`.
    """
    with refusals(path):
        dataset = open_dicom(path, limits)
        facts = header_of(dataset)
        if str(dataset.get("SOPClassUID", "")) in SEGMENTATIONS:
            raise Refusal("a DICOM SEG, which is a mask: name its folder by --mask-folder")
        stored, photometric = stored_values(dataset, limits)
        with step("its display settings are damaged"):
            values, window = _shown(dataset, stored, photometric)
    kept = {
        "modality": facts.modality,
        "photometric": facts.photometric,
        "bits": str(whole(dataset, "BitsStored", 0) or ""),
        "window": window,
        "burned_in": code(dataset, "BurnedInAnnotation"),
    }
    return Pixels(
        values=values,
        spacing=facts.spacing,
        view=facts.view,
        age=facts.age,
        sex=facts.sex,
        header={name: value for name, value in kept.items() if value},
    )


def _shown(dataset: Dataset, stored: Num[np.ndarray, "..."], photometric: str) -> tuple[Grey, str]:
    depth = whole(dataset, "BitsStored", 8 * stored.dtype.itemsize)
    bits = 8 if depth <= 8 else 16
    if stored.ndim == 3:
        grey = stored[..., 0] if photometric.startswith("YBR") else _luma(stored)
        if depth == 8 and grey.dtype == np.uint8:
            return grey, "stored range"
        return rendered(grey, (_whole_range(grey.dtype, depth),), bits=bits)
    if photometric == "PALETTE COLOR":
        return rendered(stored, (_palette(dataset, stored.dtype),), bits=bits)
    if not photometric.startswith("MONOCHROME"):
        raise Refusal("a photometric interpretation that is not supported")
    inverted = photometric == "MONOCHROME1"
    if "PresentationLUTShape" in dataset:
        inverted = inverted or code(dataset, "PresentationLUTShape") == "INVERSE"
    modality = _modality(dataset)
    proposals = [*_lookups(dataset, modality), *_windows(dataset, modality)]
    if depth <= 8:
        proposals.append(_whole_range(stored.dtype, depth, modality))
    padding = _padding(dataset, stored.dtype)
    return rendered(stored, proposals, grey=modality, inverted=inverted, padding=padding, bits=bits)


def _luma(colour: Num[np.ndarray, "height width 3"]) -> Num[np.ndarray, "height width"]:
    """Rounded luma row by row, so that the wide temporary stays small; grey stays exact."""
    grey = np.empty(colour.shape[:2], colour.dtype)
    for row, line in zip(grey, colour, strict=True):
        row[:] = np.rint(line @ LUMA)
    return grey


def _whole_range(dtype: np.dtype, depth: int, modality: Mapping = unchanged) -> Rendering:
    signed = np.issubdtype(dtype, np.signedinteger)
    low = -(2 ** (depth - 1)) if signed else 0
    ends = modality(np.array([low, low + 2**depth - 1], np.float64))
    return Rendering("stored range", modality, float(ends.min()), float(ends.max()))


def _palette(dataset: Dataset, dtype: np.dtype) -> Rendering:
    """The palette's luma as a lookup of the stored index."""
    bounds = np.iinfo(dtype)
    lowest = int(bounds.min)
    indices = np.arange(lowest, int(bounds.max) + 1)
    colours = apply_color_lut(indices, dataset, palette=None)
    table = colours[:, :3].astype(np.float64) @ LUMA
    top = float(np.iinfo(colours.dtype).max)
    entry_bits = numbers(dataset, "RedPaletteColorLookupTableDescriptor")[2]
    if entry_bits == 8 and table.max() <= 255:
        top = 255.0
    return Rendering("palette", lambda values: table[values.astype(np.int64) - lowest], 0.0, top)


def _modality(dataset: Dataset) -> Mapping:
    """Stored values to the modality's: by LUT, by slope and intercept, or not at all."""
    items = dataset.get("ModalityLUTSequence")
    if items and items[0].get("LUTData"):
        return _lookup(dataset, items[0], unchanged)[0]
    slope, intercept = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    if not slope or slope[0] == 0:
        return unchanged
    factor, offset = slope[0], intercept[0] if intercept else 0.0
    return lambda values: values * factor + offset


def _lookups(dataset: Dataset, modality: Mapping) -> list[Rendering]:
    """The first VOI LUT, over the range that its entries really use."""
    try:
        items = dataset.get("VOILUTSequence") or []
        found = [_lookup(dataset, item, modality) for item in items[:1]]
    except (TypeError, ValueError, AttributeError, KeyError, IndexError):
        return []  # a damaged one leaves the windows and percentiles
    return [
        Rendering("VOI LUT", mapping, float(table.min()), float(table.max()))
        for mapping, table in found
    ]


def _lookup(dataset: Dataset, item: Dataset, before: Mapping) -> tuple[Mapping, Values]:
    """A lookup table (PS3.3 C.11.1.1) after `before`; beyond its ends it goes on level."""
    count, first, _ = (int(number) for number in item.LUTDescriptor)
    count = count or 2**16
    if first > 2**15 and whole(dataset, "PixelRepresentation", 0) == 1:
        first -= 2**16
    entries = item.LUTData
    if isinstance(entries, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        entries = np.frombuffer(entries, f"{order}u2" if len(entries) >= 2 * count else "u1")
    table = np.atleast_1d(np.asarray(entries, np.float64))[:count]
    if not table.size:
        raise ValueError("a lookup table without entries")

    def mapping(values: Values) -> Values:
        places = np.clip(np.rint(before(values)) - first, 0, table.size - 1)
        return table[places.astype(np.int64)]

    return mapping, table


def _windows(dataset: Dataset, modality: Mapping) -> list[Rendering]:
    """The windows in their order (PS3.3 C.11.2.1); those without a width are left out."""
    shape = code(dataset, "VOILUTFunction") or "LINEAR"
    found = []
    pairs = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    for number, (center, width) in enumerate(pairs, 1):
        name = f"window {number}"
        if shape == "SIGMOID" and width > 0:
            found.append(Rendering(name, _sigmoid(modality, center, width), 0.0, 1.0))
        elif shape == "LINEAR_EXACT" and width > 0:
            found.append(Rendering(name, modality, center - width / 2, center + width / 2))
        elif shape not in ("SIGMOID", "LINEAR_EXACT") and width > 1:
            low = center - 0.5 - (width - 1) / 2
            found.append(Rendering(name, modality, low, low + width - 1))
    return found


def _sigmoid(modality: Mapping, center: float, width: float) -> Mapping:
    return lambda values: (
        1 / (1 + np.exp(np.clip(-4 * (modality(values) - center) / width, -700, 700)))
    )


def _padding(dataset: Dataset, dtype: np.dtype) -> tuple[float, float] | None:
    """The stored values that stand for no picture; their sign follows the pixels', not the VR."""
    ends = [
        numbers(dataset, keyword)[:1] for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    ]
    found = [int(value) for end in ends for value in end]
    if not ends[0] or not np.issubdtype(dtype, np.integer) or dtype.itemsize > 2:
        return None
    size = 2 ** (8 * dtype.itemsize)
    signed = np.issubdtype(dtype, np.signedinteger)
    wrapped = [(v + size // 2) % size - size // 2 if signed else v % size for v in found]
    return float(min(wrapped)), float(max(wrapped))
