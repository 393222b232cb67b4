"""Who a DICOM image is of, taken out of it by the standard's basic profile (PS3.15, annex E).

The table of the profile is that of dicom-anonymizer; here it is applied at every depth of nested
sequences, with UIDs and patients that are the same wherever the key is.
"""

import hmac
import uuid
from collections.abc import Callable, Iterator

from dicomanonymizer.simpledicomanonymizer import delete, initialize_actions
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from radlearn.records.burnt_in import FOUND, shows_text
from radlearn.records.dicom_pixels import frame_values
from radlearn.records.guard import Limits, Refusal
from radlearn.records.keys import hashed

TABLE = "dicomfields_2026c"
BASIC_PROFILE = ("113100", "DCM", "Basic Application Confidentiality Profile")
CHARACTERISTICS = ("113108", "DCM", "Retain Patient Characteristics Option")
KEPT_CHARACTERISTICS = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight")
TEXTS = frozenset({"SR", "KO", "PR", "DOC", "RTPLAN", "RTSTRUCT", "RTRECORD"})
"""Modalities whose very content is text that no profile of attributes can clean."""
DRAWN_ON = frozenset({"US", "IVUS", "ES", "OT", "XC", "SC"})
"""Modalities whose pixels often show names and dates."""

Action = Callable[[Dataset, tuple[int, int]], None]


def refuse_text(dataset: Dataset) -> None:
    """Refuse what cannot be made anonymous by its attributes.

    Raises:
        Refusal: a document, a report, or an image that says that text is burnt into it.
    """
    modality = str(dataset.get("Modality", ""))
    if modality in TEXTS or "ContentSequence" in dataset or "EncapsulatedDocument" in dataset:
        raise Refusal("its content is text, which the profile does not clean")
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        raise Refusal("it says that text is burnt into its pixels")
    if str(dataset.get("RecognizableVisualFeatures", "")).upper() == "YES":
        raise Refusal("it says that its pixels show who it is of")


def may_show_text(dataset: Dataset) -> bool:
    """Whether images of this kind often have text in their pixels and this one does not deny it."""
    drawn = str(dataset.get("Modality", "")) in DRAWN_ON or "Secondary Capture" in _class(dataset)
    return drawn and str(dataset.get("BurnedInAnnotation", "")).upper() != "NO"


def found_text(dataset: Dataset, limits: Limits) -> str | None:
    """Why an image seems to show text: a row of letters in its first frame; else None."""
    try:
        values, _ = frame_values(dataset, 0, limits)
    except Refusal:
        return None  # what cannot be decoded here is written as it is
    grey = values if values.ndim == 2 else values.max(axis=-1)
    return FOUND if shows_text(grey) else None


def _class(dataset: Dataset) -> str:
    uid = dataset.get("SOPClassUID")
    return str(uid.name) if uid else ""


def new_uid(key: bytes, uid: str) -> str:
    """What stands for a UID: the same wherever the key is, and no way back without it."""
    digest = hmac.new(key, uid.encode(), "sha256").digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def deidentify(dataset: Dataset, key: bytes, *, keep_characteristics: bool) -> Dataset:
    """Take out of a data set, in place, who it is of.

    PatientID and PatientName become the patient as stores hash it with the same key. Private
    attributes go; dates become the first day of the calendar; the file's own header is made anew.

    Args:
        keep_characteristics: sex, age, size and weight stay.

    Raises:
        Refusal: it has no class or instance.
    """
    if not dataset.get("SOPClassUID") or not dataset.get("SOPInstanceUID"):
        raise Refusal("it does not say of what class it is, or which instance")
    patient = hashed(key, str(dataset.get("PatientID", "")))
    actions = _actions(keep_characteristics)
    for part in _nested(dataset):
        _clean(part, actions, key)
        part.remove_private_tags()
    for name in ("DataSetTrailingPadding", "DigitalSignaturesSequence"):
        if name in dataset:
            del dataset[name]
    dataset.PatientID = dataset.PatientName = patient
    dataset.PatientIdentityRemoved = "YES"
    codes = [BASIC_PROFILE, *([CHARACTERISTICS] if keep_characteristics else [])]
    dataset.DeidentificationMethod = [meaning for _, _, meaning in codes]
    dataset.DeidentificationMethodCodeSequence = Sequence([_code(*code) for code in codes])
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _actions(keep_characteristics: bool) -> dict[tuple[int, ...], Action]:
    actions: dict[tuple[int, ...], Action] = initialize_actions(TABLE)
    if keep_characteristics:
        for keyword in KEPT_CHARACTERISTICS:
            number = tag_for_keyword(keyword)
            assert number is not None
            actions.pop((number >> 16, number & 0xFFFF), None)
    return actions


def _nested(dataset: Dataset) -> Iterator[Dataset]:
    """Every data set in it, the innermost first, and at last itself."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _nested(item)
    yield dataset


def _replace_uids(dataset: Dataset, tag: tuple[int, int], key: bytes) -> None:
    element = dataset[tag]
    many = [element.value] if isinstance(element.value, str) else element.value
    fresh = [new_uid(key, str(uid)) for uid in many or ()]
    element.value = fresh[0] if len(fresh) == 1 else fresh


def _clean(dataset: Dataset, actions: dict[tuple[int, ...], Action], key: bytes) -> None:
    masks = [(tag, act) for tag, act in actions.items() if len(tag) > 2]
    for found in list(dataset.keys()):
        place = (found.group, found.element)
        action = actions.get(place) or next(
            (
                act
                for (group, element, groups, elements), act in masks
                if place[0] & groups == group & groups and place[1] & elements == element & elements
            ),
            None,
        )
        if action is None or found.is_private:
            continue
        if dataset[found].VR == "UI" and action is not delete:
            _replace_uids(dataset, place, key)
            continue
        try:
            action(dataset, place)
        except NotImplementedError:  # binary values have no harmless one: they go
            del dataset[found]
