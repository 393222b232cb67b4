"""What a record is: as a source describes it, and as the pixels of it are read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt16

UNCERTAIN = -1.0
"""A label that its source gives as uncertain; kept in the store, resolved when training starts."""

NOT_ANNOTATED = 255
"""A mask's pixel that nobody says anything of; neither background nor a class."""

MOST_CLASSES = 254
"""Of a mask: what is left of eight bits beside background and `NOT_ANNOTATED`."""


class View(StrEnum):
    FRONTAL = "frontal"
    LATERAL = "lateral"
    UNKNOWN = "unknown"


class Split(StrEnum):
    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Box(NamedTuple):
    """A finding's rectangle in fractions (0 to 1) of the source image's width and height."""

    finding: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class MaskFiles:
    """A mask in files that are laid over each other.

    Attributes:
        paths: images of one size, or DICOM SEG.
        names: of its classes, which number 1, 2, ... in this order. None or one of them is a
            binary mask, and more are the pixel values 1, 2, ...; the segments of a DICOM SEG are
            told apart by their labels.
        table: (pixel value, number of its class) where values are other ones; what it does not
            name is background.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...] = ()
    table: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class ClassFiles:
    """A mask with files of its own for each class, whatever is not 0 in one of them.

    Attributes:
        names: of the classes.
        paths: of each class; a class without any is not annotated, and so the mask none. Where
            classes overlap, the later one lies on top.
    """

    names: tuple[str, ...]
    paths: tuple[tuple[Path, ...], ...]


@dataclass(frozen=True)
class RunLengths:
    """A mask of one class as run-lengths down the columns, each start counted from the last end.

    An empty tuple of runs is a mask without foreground. Height and width are in source pixels.
    """

    runs: tuple[str, ...]
    height: int
    width: int


MaskSource = MaskFiles | ClassFiles | RunLengths


@dataclass(frozen=True)
class SourceRecord:
    """One record as its source describes it, before any pixel is read.

    Attributes:
        id: unique in its source; what predictions and lists call the record.
        patient: the source's own patient id; it is hashed before anything is written.
        image: where the pixels are, None for a report alone.
        labels: label name to 0, 1 or `UNCERTAIN`; what is absent is not labelled.
        split: where a published list puts it, None where the list (or there is none) is silent.
        licence: the record's own licence where it differs from its source's.
        extra: any further column of the source, for groups in an evaluation.
    """

    id: str
    patient: str
    image: Path | None = None
    report: str | None = None
    labels: Mapping[str, float] = field(default_factory=dict)
    mask: MaskSource | None = None
    boxes: tuple[Box, ...] = ()
    view: View = View.UNKNOWN
    age: float | None = None
    sex: str | None = None
    split: Split | None = None
    licence: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SetAside:
    """A file or row that was not taken in, and why. `path` is relative to the source."""

    path: str
    reason: str


@dataclass(frozen=True)
class Source:
    """What a layout found at a place.

    Attributes:
        records: may be iterated once; a generator keeps memory flat.
        mask_names: classes of the masks: name k stands for the pixel value k + 1.
        set_aside: filled while `records` is iterated (rows without a file, ...).
        same_patient: groups of the source's patient ids that are one patient.
    """

    name: str
    label_names: tuple[str, ...]
    licence: str
    terms: str
    records: Iterable[SourceRecord]
    set_aside: list[SetAside] = field(default_factory=list)
    same_patient: tuple[frozenset[str], ...] = ()
    mask_names: tuple[str, ...] = ("mask",)


@dataclass(frozen=True)
class Pixels:
    """A radiograph as read: one channel, larger is brighter, air dark.

    Attributes:
        values: (H, W), full range of its type used.
        spacing: millimetres between rows and between columns, None where the file is silent.
        view: from the header, where it says.
        header: header facts worth keeping that identify nobody (modality, photometric, bits).
    """

    values: UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]
    spacing: tuple[float, float] | None = None
    view: View = View.UNKNOWN
    age: float | None = None
    sex: str | None = None
    header: Mapping[str, str] = field(default_factory=dict)
