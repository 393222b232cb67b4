"""Masks of one class or several: run-lengths, PNG, TIFF, NIfTI and DICOM SEG."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from pydicom.dataset import Dataset

from radlearn.errors import UnreadableError
from radlearn.records import dicom_seg, nifti, raster
from radlearn.records.dicom_header import is_dicom, numbers, open_header, whole
from radlearn.records.guard import DEFAULT_LIMITS, Limits, Refusal, head, refusals
from radlearn.records.readers import read_pixels
from radlearn.records.record import (
    NOT_ANNOTATED,
    ClassFiles,
    MaskFiles,
    MaskSource,
    RunLengths,
)

HEAD = 4096
TURNED = 1e-2  # of a direction's unit vector; codes of headers are rounded
LPS = np.array([-1.0, -1.0, 1.0])


def decode_runs(mask: RunLengths) -> UInt8[np.ndarray, "height width"]:
    """0/1 pixels of runs that go down the columns, each start counted from the last run's end.

    That is how SIIM-ACR Pneumothorax (2019) encodes; several encodings of an image are united.

    Raises:
        UnreadableError: an encoding is not pairs of numbers, or leaves the image.
    """
    size = mask.height * mask.width
    changes = np.zeros(size + 1, np.int64)  # +1 where a run starts, -1 where it has ended
    for runs in mask.runs:
        words = runs.split()
        if len(words) % 2 or not all(word.isascii() and word.isdigit() for word in words):
            raise UnreadableError("run-lengths are not pairs of numbers")
        if any(len(word) > 18 for word in words):
            raise UnreadableError("a run-length of more than 18 digits")
        steps = np.array([min(int(word), size + 1) for word in words], np.int64)
        edges = np.cumsum(steps)
        if len(edges) and edges[-1] > size:
            raise UnreadableError(
                f"run-lengths end at pixel {edges[-1]} of {mask.height} x {mask.width}"
            )
        np.add.at(changes, edges[0::2], 1)
        np.add.at(changes, edges[1::2], -1)
    inside = np.cumsum(changes[:-1]) > 0
    return np.ascontiguousarray(inside.reshape(mask.width, mask.height).T.astype(np.uint8))


def read_mask(
    source: MaskSource, limits: Limits = DEFAULT_LIMITS, image: Path | None = None
) -> UInt8[np.ndarray, "height width"]:
    """The mask as numbers of classes, 0 where there is none, in the size that it was drawn in.

    A pixel of `NOT_ANNOTATED` (255) stays one where several classes are drawn by value. Several
    files are laid over each other, and of classes that overlap the later one lies on top.

    Args:
        image: what the mask is drawn on; a DICOM SEG must refer to it, and a NIfTI mask lie as it
            does, where that file says so.

    Raises:
        UnreadableError: a file or an encoding cannot be read or is beyond `limits`, the files of
            one mask differ in size, a value is no class, a class is not drawn, or the geometry is
            another than the image's.
    """
    if isinstance(source, RunLengths):
        if not 0 < source.height * source.width <= limits.pixels:
            raise UnreadableError(f"a mask of {source.height} x {source.width} pixels")
        return decode_runs(source)
    if isinstance(source, ClassFiles):
        return _of_classes(source, limits, image)
    return _of_files(source, limits, image)


def _of_classes(
    source: ClassFiles, limits: Limits, image: Path | None
) -> UInt8[np.ndarray, "height width"]:
    layers = []
    for name, paths in zip(source.names, source.paths, strict=True):
        if not paths:
            raise UnreadableError(
                f"no file of the class {name}, which may not be annotated; where there is none of "
                "it, an empty mask says so"
            )
        layers.append(_of_files(MaskFiles(paths, (name,)), limits, image))
    return _laid_over([layer * number for number, layer in enumerate(layers, 1)])


def _of_files(
    source: MaskFiles, limits: Limits, image: Path | None
) -> UInt8[np.ndarray, "height width"]:
    if not source.paths:
        raise UnreadableError("a mask of no files")
    segments: dict[str, Bool[np.ndarray, "height width"]] = {}
    layers = []
    for path in source.paths:
        with refusals(path):
            start = head(path, HEAD)
            if is_dicom(start) and dicom_seg.is_seg(path, limits):
                found = dicom_seg.read_segments(path, limits, image)
                if twice := sorted(segments.keys() & found.keys()):
                    raise Refusal(f"the segment {twice[0]} is in two files of one mask; keep one")
                segments |= found
            else:
                layers.append(_drawn(path, start, source, limits, image))
    if segments:
        layers += _segments(segments, source)
    return _laid_over(layers, [path.name for path in source.paths])


def _laid_over(
    layers: list[UInt8[np.ndarray, "height width"]], names: list[str] | None = None
) -> UInt8[np.ndarray, "height width"]:
    if len({layer.shape for layer in layers}) > 1:
        said = f": {', '.join(names)}" if names else ""
        raise UnreadableError(f"the files of one mask differ in size{said}")
    mask = layers[0].copy()
    for layer in layers[1:]:
        np.copyto(mask, layer, where=layer > 0)
    return mask


def _segments(
    segments: dict[str, Bool[np.ndarray, "height width"]], source: MaskFiles
) -> list[UInt8[np.ndarray, "height width"]]:
    """Layers of the classes by the labels of the segments."""
    if not source.names:
        return [drawn.astype(np.uint8) for drawn in segments.values()]
    by_label = {label.casefold(): drawn for label, drawn in segments.items()}
    for name in source.names:
        if name.casefold() not in by_label:
            raise UnreadableError(
                f"no segment is labelled {name}; there are {', '.join(list(segments)[:10])}"
            )
    return [
        by_label[name.casefold()].astype(np.uint8) * number
        for number, name in enumerate(source.names, 1)
    ]


def _drawn(
    path: Path, start: bytes, source: MaskFiles, limits: Limits, image: Path | None
) -> UInt8[np.ndarray, "height width"]:
    """A mask drawn by pixel values."""
    binary = len(source.names) <= 1 and not source.table
    if nifti.is_nifti(start):
        values, place = nifti.read_slice_codes(path, limits)
        _check_place(place, image, limits)
    elif not binary and not raster.is_raster(start):
        raise Refusal("a picture where a DICOM SEG, PNG, TIFF or NIfTI of classes is expected")
    elif not binary:
        values = raster.read_codes(path, limits)
    else:
        pixels = read_pixels(path, limits)
        deep = pixels.header.get("mode", "").startswith(("I", "F"))
        values = raster.read_codes(path, limits) if deep else pixels.values
        if start.startswith(raster.JPEG):
            values = (values >= 128).astype(np.uint8)
    codes = _whole(values)
    return _binary(codes) if binary else _numbered(codes, source)


def _whole(values: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, "height width"]:
    """The same as unsigned integers."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise Refusal("a mask with values that are not finite (NaN or infinity)")
        if (values != np.rint(values)).any():
            raise Refusal("a mask with values that are not whole numbers")
    if values.size and values.min() < 0:
        raise Refusal("a mask with negative values")
    if values.size and values.max() >= 2**16:
        raise Refusal("a mask with values above 65535")
    return values.astype(np.uint8 if values.dtype in (bool, np.uint8) else np.uint16)


def _binary(codes: Shaped[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Foreground is what is not 0; the softened edge of a drawing counts from half on."""
    top = codes.max()
    between = (codes > 0) & (codes < top)
    if not between.any():
        return (codes > 0).astype(np.uint8)
    inside = codes[1:-1, 1:-1]
    around = (codes[:-2, 1:-1], codes[2:, 1:-1], codes[1:-1, :-2], codes[1:-1, 2:])
    if (between[1:-1, 1:-1] & np.logical_and.reduce([inside == each for each in around])).any():
        raise Refusal(
            "areas of several values where one class is drawn: name the classes by --mask-names"
        )
    return (codes >= top / 2).astype(np.uint8)


def _numbered(
    codes: Shaped[np.ndarray, "height width"], source: MaskFiles
) -> UInt8[np.ndarray, "height width"]:
    """Numbers of classes by the table of values, or the values themselves."""
    lookup = np.zeros(2**16, np.uint8)
    lookup[NOT_ANNOTATED] = NOT_ANNOTATED
    for value, number in source.table:
        lookup[value] = number
    if not source.table:
        count = len(source.names)
        lookup[1 : count + 1] = np.arange(1, count + 1)
        there = np.flatnonzero(np.bincount(codes.ravel()))
        strange = [v for v in there.tolist() if v > count and v != NOT_ANNOTATED]
        if strange:
            raise Refusal(
                f"the value {strange[0]} is none of its {count} classes (1 to {count}, and "
                f"{NOT_ANNOTATED} where not annotated)"
            )
    return lookup[codes]


def _check_place(drawn: nifti.OnScreen, image: Path | None, limits: Limits) -> None:
    """Refuse a NIfTI mask that lies elsewhere than its image, where that says how it lies."""
    start = head(image, HEAD) if image else b""
    if image is None or not (nifti.is_nifti(start) or is_dicom(start)):
        return
    if nifti.is_nifti(start):
        lies = nifti.place_of(*nifti.open_slice(image, limits))
    elif (told := _told(open_header(image, limits))) is not None:
        lies = told
    else:
        return
    if np.abs(drawn.directions - lies.directions).max() > TURNED:
        raise Refusal("its affine turns it against its image")
    off = lies.directions @ (drawn.middle - lies.middle)  # a file of two axes has no third place
    if np.abs(off).max() > max(drawn.pixel, lies.pixel):
        raise Refusal(
            f"its affine puts it {np.linalg.norm(off):.0f} mm beside its image; save the mask with "
            "the image's affine"
        )


def _told(header: Dataset) -> nifti.OnScreen | None:
    """Where a DICOM picture lies; None where it does not say."""
    directions = numbers(header, "ImageOrientationPatient")
    spacing, first = numbers(header, "PixelSpacing"), numbers(header, "ImagePositionPatient")
    if len(directions) != 6 or len(spacing) != 2 or len(first) != 3:
        return None
    along = np.reshape(directions, (2, 3)) * LPS
    steps = [
        spacing[1] * (whole(header, "Columns", 1) - 1),
        spacing[0] * (whole(header, "Rows", 1) - 1),
    ]
    return nifti.OnScreen(along, LPS * first + np.array(steps) / 2 @ along, max(spacing))
