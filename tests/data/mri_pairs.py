"""Exams of small made heads: NIfTI, DICOM series, PNG and .npy."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

SIDE = 24
PLAIN = np.diag([2.0, 2.0, 2.0, 1.0])


def head(
    seed: int = 0, shape: tuple[int, int, int] = (SIDE, SIDE, SIDE), affine: Any = PLAIN
) -> np.ndarray:
    """A smooth ball with blobs inside, background 0, brightest about 1000; [i, j, k]."""
    rng = np.random.default_rng(seed)
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(np.float64)
    middle = (np.array(shape) - 1) / 2
    inside = (((where - middle) / (np.array(shape) * 0.38)) ** 2).sum(-1)
    values = np.where(inside < 1, 300 + 200 * (1 - inside), 0.0)
    for _ in range(5):
        place = middle + rng.uniform(-0.2, 0.2, 3) * shape
        blob = np.exp(-(((where - place) / 3.0) ** 2).sum(-1))
        values += np.where(inside < 1, 400 * blob, 0.0)
    return values.astype(np.float32)


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray = PLAIN) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def write_exams(root: Path, count: int = 4, suffix: str = ".nii.gz") -> Path:
    """root/p0/T1.nii.gz and T2.nii.gz, and so on: T2 is T1 turned inside out."""
    for number in range(count):
        one = head(number)
        write_nifti(root / f"p{number}" / f"T1{suffix}", one)
        write_nifti(root / f"p{number}" / f"T2{suffix}", np.where(one > 0, 2500 - one, 0))
    return root


def write_series(folder: Path, values: np.ndarray, **elements: Any) -> list[Path]:
    """A DICOM series of values[column, row, slice], 2 mm voxels, file names in no order."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for k in range(values.shape[2]):
        path = folder / f"IM{(k * 7) % 101:04d}"
        written.append(write_slice(path, values[:, :, k].T, k, **elements))
    return written


def write_slice(path: Path, rows: np.ndarray, number: int, **elements: Any) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    colour = rows.ndim == 3
    standard = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": f"1.2.3.{number + 1}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "PatientID": "SECRET-7",
        "PatientName": "Doe^Jane^SECRET",
        "Modality": "MR",
        "Rows": rows.shape[0],
        "Columns": rows.shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": 8 if colour else 16,
        "BitsStored": 8 if colour else 16,
        "HighBit": 7 if colour else 15,
        "PixelRepresentation": 0,
        "PixelData": rows.astype("u1" if colour else "<u2").tobytes(),
        "PixelSpacing": [2.0, 2.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-20.0, -30.0, 2.0 * number],
        "SliceThickness": 2.0,
        **({"PlanarConfiguration": 0} if colour else {}),
    } | elements
    for keyword, value in standard.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path
