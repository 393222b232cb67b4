"""What every fake needs: small pictures, small DICOM files, and what a layout should make of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from radlearn.datasets.options import LayoutOptions


@dataclass(frozen=True)
class Fake:
    """A source and what its layout should say of it.

    Attributes:
        records: id to the attributes that the record must have.
        set_aside: path to words of the reason.
        table: the table that a user may damage, and a `column` that it cannot do without.
    """

    source: Path
    records: Mapping[str, Mapping[str, Any]]
    set_aside: Mapping[str, str] = field(default_factory=dict)
    options: LayoutOptions = field(default_factory=LayoutOptions)
    label_names: tuple[str, ...] = ()
    table: Path | None = None
    column: str = ""


def write(path: Path, lines: Sequence[str], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + "\n" for line in lines).encode(encoding))
    return path


def picture(path: Path, side: int = 24) -> Path:
    """A picture that depends on its name only."""
    rng = np.random.default_rng(sum(path.name.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(path)
    return path


def mask(path: Path, columns: slice, side: int = 24) -> Path:
    """A mask whose foreground is these columns."""
    values = np.zeros((side, side), np.uint8)
    values[:, columns] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def dicom(path: Path, patient: str | None = None, rows: int = 16, columns: int = 32) -> Path:
    """An uncompressed 8-bit radiograph."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{sum(str(path.name).encode())}"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR"
    if patient is not None:
        dataset.PatientID = patient
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    rng = np.random.default_rng(sum(path.name.encode()))
    dataset.PixelData = rng.integers(0, 256, (rows, columns), np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
