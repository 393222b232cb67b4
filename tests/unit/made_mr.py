"""MR series made for tests, oblique and out of order, as scanners send them."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

NAME = "Doe^Jane"


def write_mr(
    folder: Path, slices: UInt16[np.ndarray, "slices rows columns"], **elements: Any
) -> Path:
    """Write a file a slice: 1.5 x 0.8 mm pixels, slices 3 mm apart, turned by 20 degrees.

    The names of the files do not follow the slices. Further elements by keyword, None takes one
    away.
    """
    folder.mkdir(parents=True)
    turn = np.radians(20)
    row = np.array([np.cos(turn), np.sin(turn), 0.0])
    column = np.array([0.0, 0.0, -1.0])
    normal = np.cross(row, column)
    series, study = generate_uid(), generate_uid()
    for number, values in enumerate(slices):
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = MRImageStorage
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        standard = {
            "SpecificCharacterSet": "ISO_IR 192",
            "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "FrameOfReferenceUID": "1.2.3.4",
            "Modality": "MR",
            "PatientName": NAME,
            "PatientID": "MRN-1",
            "SeriesDescription": "T1",
            "SeriesNumber": 3,
            "InstanceNumber": number + 1,
            "ImageOrientationPatient": [*row, *column],
            "ImagePositionPatient": [float(x) for x in np.array([5, 6, 7]) + 3 * number * normal],
            "PixelSpacing": [1.5, 0.8],
            "SliceThickness": 3,
            "Rows": values.shape[0],
            "Columns": values.shape[1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
            "SmallestImagePixelValue": 0,
            "BurnedInAnnotation": "NO",
            "PixelData": values.astype("<u2").tobytes(),
        } | elements
        for keyword, value in standard.items():
            if value is not None:
                setattr(file, keyword, value)
        file["PixelData"].VR = "OW"
        block = file.private_block(0x0029, "SCANNER", create=True)
        block.add_new(0x10, "LO", "how pixels were stored")
        file.save_as(folder / f"im{(7 * number) % len(slices):02d}.dcm", enforce_file_format=True)
    return folder
