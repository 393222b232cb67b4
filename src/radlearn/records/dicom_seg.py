"""DICOM segmentations: which segments a file draws on which image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from pydicom.dataset import Dataset

from radlearn.records.dicom_header import (
    LABEL_MAP,
    SEGMENTATIONS,
    code,
    is_dicom,
    numbers,
    open_dicom,
    open_header,
    whole,
)
from radlearn.records.dicom_pixels import frame_values
from radlearn.records.guard import DEFAULT_LIMITS, Limits, Refusal, head, refusals, step

HEAD = 4096
LONGEST = 64  # characters of a label
TURNED = 1e-3  # of direction cosines
SHARED, EACH = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"

Vector = Sequence[float]


@dataclass(frozen=True)
class SegFacts:
    """What a segmentation says before its pixels are read.

    Attributes:
        labels: of its segments, in their order.
        instances: SOPInstanceUID of every image that it refers to.
    """

    labels: tuple[str, ...]
    instances: frozenset[str]


@dataclass(frozen=True)
class _Frame:
    """A frame: its place in the file, its segment, what it was drawn on, and where it lies."""

    index: int
    segment: int
    instances: frozenset[str]
    place: "_Place"


@dataclass(frozen=True)
class _Place:
    """Position of the first pixel, directions and spacing (mm), empty where a file is silent."""

    position: Vector
    directions: Vector
    spacing: Vector
    rows: int
    columns: int


def is_seg(path: Path, limits: Limits = DEFAULT_LIMITS) -> bool:
    """Whether a DICOM file is a segmentation.

    Raises:
        UnreadableError: not DICOM, damaged, or beyond `limits`.
    """
    with refusals(path):
        return _is_seg(open_header(path, limits))


def seg_facts(path: Path, limits: Limits = DEFAULT_LIMITS) -> SegFacts | None:
    """Facts of a segmentation; None for any other file.

    Raises:
        UnreadableError: DICOM that is damaged or beyond `limits`.
    """
    with refusals(path):
        if not is_dicom(head(path, HEAD)):
            return None
        dataset = open_header(path, limits)
        if not _is_seg(dataset):
            return None
        with step("its description of segments is damaged"):
            labels = tuple(_labels(dataset).values())
            return SegFacts(labels, _all_instances(dataset))


def read_segments(
    path: Path, limits: Limits = DEFAULT_LIMITS, image: Path | None = None
) -> dict[str, Bool[np.ndarray, "rows columns"]]:
    """What a segmentation draws on one image, by the labels of its segments.

    Segments of one label are united. A segment without a frame for this image is empty. Of a
    fractional one, what is at least half is drawn.

    Args:
        image: a DICOM file, of which the frames must speak by their references; or of another
            kind, and then the file must have one frame a segment.

    Raises:
        UnreadableError: damaged, beyond `limits`, drawn on another image, at another place, or on
            several where nothing says which is meant.
    """
    with refusals(path):
        dataset = open_dicom(path, limits)
        if not _is_seg(dataset):
            raise Refusal("not a DICOM SEG")
        rows, columns = whole(dataset, "Rows", 0), whole(dataset, "Columns", 0)
        bits = whole(dataset, "BitsAllocated", 0)
        if bits not in (1, 8, 16):
            raise Refusal(f"its header claims {bits} bits a pixel")
        count = whole(dataset, "NumberOfFrames", 1)
        limits.check(rows, columns, bits / 8)
        if count < 1 or rows * columns * count * bits / 8 > limits.bytes:
            raise Refusal(
                f"its header claims {count} frames of {rows} x {columns} pixels, more than the "
                f"limit of {limits.bytes} bytes"
            )
        with step("its description of segments is damaged"):
            labels = _labels(dataset)
            frames = list(_frames(dataset, count))
        if not labels:
            raise Refusal("a DICOM SEG without segments")
        chosen = _chosen(dataset, frames, image, limits)
        drawn = {label: np.zeros((rows, columns), bool) for label in dict.fromkeys(labels.values())}
        many = code(dataset, "SegmentationType") == "LABELMAP" or _class(dataset) == LABEL_MAP
        _check_once(chosen)
        for frame in chosen:
            values = frame_values(dataset, frame.index, limits)[0]
            if many:
                for number, label in labels.items():
                    drawn[label] |= values == number
            elif frame.segment not in labels:
                raise Refusal(f"a frame of segment {frame.segment}, which it does not describe")
            else:
                drawn[labels[frame.segment]] |= _foreground(dataset, values)
        return drawn


def _foreground(dataset: Dataset, values: np.ndarray) -> Bool[np.ndarray, "rows columns"]:
    if code(dataset, "SegmentationType") != "FRACTIONAL":
        return values > 0
    return 2 * values.astype(np.int64) >= whole(dataset, "MaximumFractionalValue", 255)


def _class(dataset: Dataset) -> str:
    return str(dataset.get("SOPClassUID", ""))


def _is_seg(dataset: Dataset) -> bool:
    return _class(dataset) in SEGMENTATIONS


def _labels(dataset: Dataset) -> dict[int, str]:
    """Number to label; a label that is no plain line of text gives way to the number."""
    found = {}
    for item in dataset.get("SegmentSequence") or ():
        number = int(item.SegmentNumber)
        label = str(item.get("SegmentLabel") or "").strip()
        plain = label.isprintable() and 0 < len(label) <= LONGEST
        found[number] = label if plain else f"segment {number}"
    return dict(sorted(found.items()))


def _frames(dataset: Dataset, count: int) -> Iterator[_Frame]:
    shared = (dataset.get(SHARED) or [Dataset()])[0]
    each = dataset.get(EACH) or ([Dataset()] if count == 1 else [])
    if len(each) != count:
        raise Refusal(f"its header claims {count} frames and describes {len(each)}")
    for index, own in enumerate(each):
        yield _Frame(
            index,
            int(
                _group(own, shared, "SegmentIdentificationSequence").get(
                    "ReferencedSegmentNumber", 0
                )
            ),
            frozenset(_references(own) or _references(shared)),
            _Place(
                numbers(_group(own, shared, "PlanePositionSequence"), "ImagePositionPatient"),
                numbers(_group(own, shared, "PlaneOrientationSequence"), "ImageOrientationPatient"),
                numbers(_group(own, shared, "PixelMeasuresSequence"), "PixelSpacing"),
                whole(dataset, "Rows", 0),
                whole(dataset, "Columns", 0),
            ),
        )


def _group(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    return next((each[keyword].value[0] for each in (own, shared) if each.get(keyword)), Dataset())


def _references(groups: Dataset) -> Iterator[str]:
    for derivation in groups.get("DerivationImageSequence") or ():
        for source in derivation.get("SourceImageSequence") or ():
            if code(source, "SpatialLocationsPreserved") in ("NO", "REORIENTED_ONLY"):
                raise Refusal("a frame that does not lie on its source image as it is")
            yield str(source.get("ReferencedSOPInstanceUID", ""))


def _all_instances(dataset: Dataset) -> frozenset[str]:
    """Of the frames, and of what the file as a whole refers to."""
    found = {
        str(source.get("ReferencedSOPInstanceUID", ""))
        for series in dataset.get("ReferencedSeriesSequence") or ()
        for source in series.get("ReferencedInstanceSequence") or ()
    }
    found |= {
        str(source.get("ReferencedSOPInstanceUID", ""))
        for source in dataset.get("SourceImageSequence") or ()
    }
    for groups in (*(dataset.get(SHARED) or ()), *(dataset.get(EACH) or ())):
        found |= set(_references(groups))
    return frozenset(found - {""})


def _chosen(
    dataset: Dataset, frames: list[_Frame], image: Path | None, limits: Limits
) -> list[_Frame]:
    """The frames that are drawn on `image`."""
    if image is None or not is_dicom(head(image, HEAD)):
        return frames
    header = open_header(image, limits)
    own = str(header.get("SOPInstanceUID", ""))
    named = _all_instances(dataset)
    if named and own not in named:
        raise Refusal("drawn on another image: none of its references is this one")
    place = _Place(
        numbers(header, "ImagePositionPatient"),
        numbers(header, "ImageOrientationPatient"),
        numbers(header, "PixelSpacing"),
        whole(header, "Rows", 0),
        whole(header, "Columns", 0),
    )
    chosen = [frame for frame in frames if own in frame.instances]
    for frame in chosen:
        if wrong := _misplaced(frame.place, place):
            raise Refusal(wrong)
    silent = [frame for frame in frames if not frame.instances]
    if chosen or not silent:
        return chosen
    told = [frame for frame in silent if frame.place.position]
    if len(named) > 1 and len(told) < len(silent):
        raise Refusal("drawn on several images, and nothing says which of them a frame belongs to")
    fitting = [frame for frame in silent if _misplaced(frame.place, place) is None]
    if len(silent) == 1 and not fitting:
        raise Refusal(_misplaced(silent[0].place, place) or "")
    return fitting


def _check_once(frames: list[_Frame]) -> None:
    if len({frame.segment for frame in frames}) < len(frames):
        raise Refusal(
            "several frames of one segment, as for a volume or several images; nothing says which "
            "belongs to this one"
        )


def _misplaced(drawn: _Place, image: _Place) -> str | None:
    """Why a frame does not cover an image; None where it does, or not both say where they lie."""
    if any(len(place.directions) != 6 or len(place.spacing) != 2 for place in (drawn, image)):
        return None
    if np.abs(np.subtract(drawn.directions, image.directions)).max() > TURNED:
        return "drawn in another orientation than its image"
    ours, its = ((p.spacing[0] * p.rows, p.spacing[1] * p.columns) for p in (drawn, image))
    pixel = max(*drawn.spacing, *image.spacing)
    off = float(np.abs(np.subtract(ours, its)).max())
    if all(len(p.position) == 3 for p in (drawn, image)):
        off = max(off, float(np.linalg.norm(_middle(drawn) - _middle(image))))
    return "drawn on another place than its image shows" if off > pixel else None


def _middle(place: _Place) -> np.ndarray:
    along, down = np.reshape(place.directions, (2, 3))
    return (
        np.asarray(place.position, np.float64)
        + along * (place.spacing[1] * (place.columns - 1) / 2)
        + down * (place.spacing[0] * (place.rows - 1) / 2)
    )
