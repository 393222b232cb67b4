"""A computed mask as a DICOM segmentation (SEG) of the image that it was computed from.

It lies beside its source: same patient and study, and every frame refers to the source's instance.
A radiograph lies in no frame of reference; the standard then asks for nothing but that reference,
with the note that places are kept (PS3.3 A.51.4: plane position, orientation and measures may be
absent where the Derivation Image macro is there).
"""

import copy
import hashlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import highdicom
import numpy as np
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from jaxtyping import UInt8
from pydicom.config import RAISE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DA, TM, VR, validate_value

from radlearn import __version__
from radlearn.errors import InputError, UnreadableError
from radlearn.files import replacing
from radlearn.records.dicom_header import FUNCTIONAL_GROUPS, numbers, open_header, whole
from radlearn.records.guard import Limits, Refusal, refusals

LABEL = 64  # characters of a segment's label
SERIES_NUMBERS = 9000  # where viewers list computed series: behind those acquired
SEXES = ("M", "F", "O")
REFERRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
IDENTITY = (*REFERRED, "PatientID", "PatientName", "AccessionNumber", "StudyID")
REQUIRED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Those that the standard wants there, if empty."""
GEOMETRY = (
    *("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
)
"""All or none: highdicom reads no measures of pixels without a thickness of slices."""
TEXT = frozenset({VR.AE, VR.AS, VR.CS, VR.DA, VR.DS, VR.DT, VR.IS, VR.LO, VR.PN, VR.SH, VR.TM})

ANATOMY, ALTERED = (
    Code("123037004", "SCT", "Anatomical Structure"),
    Code("49755003", "SCT", "Morphologically Altered Structure"),
)
TISSUE = Code("85756007", "SCT", "Tissue")
PROPERTIES = {
    "lung": (ANATOMY, Code("39607008", "SCT", "Lung")),
    "lungs": (ANATOMY, Code("39607008", "SCT", "Lung")),
    "heart": (ANATOMY, Code("80891009", "SCT", "Heart")),
    "clavicle": (ANATOMY, Code("51299004", "SCT", "Clavicle")),
    "pneumothorax": (ALTERED, Code("36118008", "SCT", "Pneumothorax")),
}
"""What a class of this name is; any other is tissue, and its label says the rest."""


def write_segmentation(
    path: Path,
    mask: UInt8[np.ndarray, "height width"],
    names: Sequence[str],
    like: Path,
    limits: Limits,
) -> None:
    """Write a binary SEG with a segment a class, those without a pixel too.

    Identifiers follow from the source's and the mask: the same answer has the same ones.

    Args:
        mask: 0, and k for the class `names[k - 1]`, in the rows and columns of the source.
        like: the source, a DICOM file of one frame.

    Raises:
        UnreadableError: the source names no study, series or instance, has another size, or its
            header cannot be written again.
    """
    with refusals(like):
        header = open_header(like, limits)
        if (whole(header, "Rows", 0), whole(header, "Columns", 0)) != mask.shape:
            raise Refusal(f"a mask of {mask.shape[0]} x {mask.shape[1]} pixels is not of its size")
        if missing := [keyword for keyword in REFERRED if not header.get(keyword)]:
            raise Refusal(
                f"its header has no {missing[0]}, to which a DICOM SEG must refer: write PNG or "
                "NIfTI"
            )
        if whole(header, "NumberOfFrames", 1) != 1:
            raise Refusal("several frames; only single pictures are taken in")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = _segmentation(mask, names, header)
            with replacing(path) as temporary:
                file.save_as(temporary, enforce_file_format=True)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a strange header may stop its copying or writing anywhere
        reason = f"its header cannot be written again ({type(error).__name__})"
        raise UnreadableError(f"{like.name}: {reason}") from None


def _segmentation(
    mask: UInt8[np.ndarray, "height width"], names: Sequence[str], header: Dataset
) -> Segmentation:
    seal = hashlib.sha256(repr((mask.shape, tuple(names))).encode() + mask.tobytes()).hexdigest()
    own = [str(header.SOPInstanceUID), seal]
    file = Segmentation(
        source_images=[_stand_in(header)],
        pixel_array=mask,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number, name) for number, name in enumerate(names, 1)],
        series_instance_uid=generate_uid(entropy_srcs=["series", *own]),
        series_number=SERIES_NUMBERS + whole(header, "SeriesNumber", 0) % 1000,
        sop_instance_uid=generate_uid(entropy_srcs=own),
        instance_number=1,
        manufacturer="radlearn",
        manufacturer_model_name="radlearn",
        software_versions=__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Computed segmentation, not reviewed",
        series_description=f"Segmentation: {', '.join(names)}"[:LABEL],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
    )
    for reference in _references(file):
        reference.ReferencedSOPClassUID = header.SOPClassUID
    bits = mask.size * int(file.NumberOfFrames)
    if len(file.PixelData) > -(-bits // 8):
        file.PixelData = file.PixelData[:-1] + b"\0"  # highdicom fills up with the digit 0
    return file


def _segment(number: int, name: str) -> SegmentDescription:
    category, kind = PROPERTIES.get(name.casefold(), (TISSUE, TISSUE))
    return SegmentDescription(
        segment_number=number,
        segment_label=name[:LABEL],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            "radlearn", codes.DCM.ArtificialIntelligence, __version__
        ),
    )


def _stand_in(header: Dataset) -> Dataset:
    """The source as highdicom wants it.

    It looks up what a source must hold by its class, and asks more of some classes than they have
    (of a multi-frame class with one frame, functional groups; of a class that it does not know,
    everything). So the source appears as the plainest class of its geometry; what refers to it is
    given the true class afterwards.
    """
    source = copy.deepcopy(header)
    source.remove_private_tags()
    for keyword in FUNCTIONAL_GROUPS:
        source.pop(keyword, None)
    source.decode()
    for element in list(source):
        if element.VR in TEXT and element.keyword not in IDENTITY and not _valid(element):
            del source[element.tag]
    for keyword in REQUIRED:
        if not source.get(keyword):
            setattr(source, keyword, "")
    if source.PatientSex not in SEXES:
        source.PatientSex = ""
    placed = (
        source.get("FrameOfReferenceUID")
        and len(numbers(source, "ImagePositionPatient")) == 3
        and len(numbers(source, "ImageOrientationPatient")) == 6
        and len(numbers(source, "PixelSpacing")) == 2
        and len(numbers(source, "SliceThickness")) == 1
    )
    if placed:
        source.SOPClassUID = CTImageStorage
    else:
        source.SOPClassUID = SecondaryCaptureImageStorage
        for keyword in GEOMETRY:
            source.pop(keyword, None)
    return source


def _valid(element: DataElement) -> bool:
    values = element.value if element.VM > 1 else [element.value]
    try:
        for value in values:
            if element.VR == VR.DA:
                DA(str(value))
            elif element.VR == VR.TM:
                TM(str(value))
            if value is not None:
                validate_value(element.VR, str(value), RAISE)
    except (ValueError, TypeError):
        return False
    return True


def _references(file: Dataset) -> Iterator[Dataset]:
    yield from file.SourceImageSequence
    for series in file.ReferencedSeriesSequence:
        yield from series.ReferencedInstanceSequence
    for frame in file.PerFrameFunctionalGroupsSequence:
        for derivation in frame.DerivationImageSequence:
            yield from derivation.SourceImageSequence
