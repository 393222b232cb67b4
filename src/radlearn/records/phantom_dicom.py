"""Phantoms as DICOM files, in the encodings that hospitals send."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

CENTRE, WIDTH = 2000, 3000
"""The window written into the files, in output values; what lies outside is not to be seen."""


def write_dicom(
    path: Path,
    exposure: Float32[np.ndarray, "size size"],
    number: int,
    seed: int,
    view: str,
    sex: str,
    age: float,
) -> None:
    """Write one radiograph of 12 bits, big enough a range that the window matters.

    Args:
        path: of the file.
        exposure: grey values in [0, 1], larger is brighter.
        number: of the file; it alternates MONOCHROME2 and MONOCHROME1, CR and DX, plain, RLE and
            implicit encodings, windows by centre and width with and without a rescale intercept.
        seed: of the collection; file and study get the same identifiers again.
        view: "PA" or "AP".
        sex: "F" or "M".
        age: years.
    """
    inverted = number % 2 == 1
    intercept = -500 if number % 4 >= 2 else 0
    storage = (
        DigitalXRayImageStorageForPresentation
        if number % 3 == 2
        else ComputedRadiographyImageStorage
    )
    shown = CENTRE + (exposure - 0.5) * WIDTH
    if inverted:
        shown = 2 * CENTRE - shown
    stored = np.clip(np.round(shown - intercept), 0, 4095).astype(np.uint16)

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[f"{seed}-{number}-image"])
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if number % 4 == 3 else ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID = storage
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID = generate_uid(entropy_srcs=[f"{seed}-{number}-study"])
    file.SeriesInstanceUID = generate_uid(entropy_srcs=[f"{seed}-{number}-series"])
    file.Modality = "DX" if storage == DigitalXRayImageStorageForPresentation else "CR"
    file.PatientName = f"Phantom^Number{number}"
    file.PatientID = f"PHANTOM{number:04d}"
    file.PatientSex = sex
    file.PatientAge = f"{age:03.0f}Y"
    file.BodyPartExamined = "CHEST"
    file.ViewPosition = view
    file.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    file.SamplesPerPixel = 1
    file.Rows, file.Columns = stored.shape
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
    file.PixelRepresentation = 0
    file.PixelSpacing = [430 / stored.shape[0]] * 2
    file.RescaleIntercept, file.RescaleSlope = intercept, 1
    file.RescaleType = "US"
    file.WindowCenter, file.WindowWidth = CENTRE, WIDTH
    file.PixelData = stored.tobytes()
    if number % 4 == 2:
        file.compress(RLELossless, generate_instance_uid=False)
    file.save_as(path, enforce_file_format=True)
