"""DICOM files made for tests, and what reading them gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from radlearn.errors import UnreadableError
from radlearn.records.dicom import read_dicom
from radlearn.records.guard import Limits

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
SECRET = "Doe^Jane^SECRET"


def made(path: Path, values: np.ndarray, **elements: Any) -> Path:
    """Write `values` as a DICOM file; further elements by keyword, None takes one away."""
    syntax = elements.pop("syntax", ExplicitVRLittleEndian)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = elements.get("SOPClassUID", SecondaryCaptureImageStorage)
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    colour = values.ndim == 3
    big = syntax == ExplicitVRBigEndian
    dataset = FileDataset(
        str(path),
        {},
        file_meta=meta,
        preamble=b"\0" * 128,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=not big,
    )
    standard = {
        "SOPClassUID": SecondaryCaptureImageStorage,
        "SOPInstanceUID": "1.2.3",
        "PatientName": SECRET,
        "PatientID": "SECRET-7",
        "Modality": "DX",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": 8 * values.dtype.itemsize,
        "BitsStored": 8 * values.dtype.itemsize,
        "PixelRepresentation": int(np.issubdtype(values.dtype, np.signedinteger)),
        "PixelData": values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes(),
        **({"PlanarConfiguration": 0} if colour else {}),
    } | elements
    standard.setdefault("HighBit", standard["BitsStored"] - 1)
    for keyword, value in standard.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(path: Path) -> np.ndarray:
    return read_dicom(path, Limits()).values


def refused(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(UnreadableError) as caught:
        read_dicom(path, limits or Limits())
    assert str(caught.value).startswith(f"{path.name}: ")
    assert "SECRET" not in str(caught.value)
    return str(caught.value)
