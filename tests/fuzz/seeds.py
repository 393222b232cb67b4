"""Whole files of every kind to start from, made by script."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import torch
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from safetensors.torch import save

from unit.made_dicom import RAMP, made

XML = (
    "<eCitation><MedlineCitation><Article><Abstract>"
    '<AbstractText Label="FINDINGS">Clear lungs.</AbstractText>'
    '<AbstractText Label="IMPRESSION">Normal.</AbstractText>'
    '</Abstract></Article></MedlineCitation><parentImage id="CXR1_1_IM-0001-4001"/></eCitation>'
)
CSV = "image,patient,age,view,Edema\na.png,p1,071Y,PA,1\nb.png,p2,,lateral,-1\n"
TRANSFORM = (
    "#Insight Transform File V1.0\n#Transform 0\nTransform: Euler3DTransform_double_3_3\n"
    "Parameters: 0.01 0 0 1 2 3\nFixedParameters: 0 0 0 0\n"
)
CONFIG = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 0,
    "model_args": {"img_size": 32, "depth": 1},
}
RECIPE = '[prepare]\nlayout = "folder"\nsource = "x"\n[grid]\nseed = [0]\n'


def seeds(target: str, folder: Path) -> Iterator[bytes]:
    """Some whole files of the kind that `target` reads; `folder` may be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    yield from {
        "picture": lambda: [*_pictures(), *_dicoms(folder)],
        "dicom": lambda: _dicoms(folder),
        "segments": lambda: _dicoms(folder),
        "volume": lambda: _volumes(folder),
        "table": lambda: [
            CSV.encode(),
            CSV.replace(",", ";").encode("utf-16"),
            b"\xef\xbb\xbfa\n1",
        ],
        "reports": lambda: [XML.encode()],
        "archive": lambda: [_archive("1.xml"), _archive("../1.xml")],
        "transform": lambda: [TRANSFORM.encode()],
        "weights": _weights,
        "model": lambda: [json.dumps(CONFIG).encode()],
        "recipe": lambda: [RECIPE.encode()],
    }[target]()


def _pictures() -> Iterator[bytes]:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, format=kind)
        yield stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(grey.astype(np.uint16) * 257).save(stream, format="PNG")
    yield stream.getvalue()


def _dicoms(folder: Path) -> Iterator[bytes]:
    for number, more in enumerate(
        (
            {},
            {"syntax": ImplicitVRLittleEndian},
            {"syntax": ExplicitVRBigEndian},
            {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 8, "WindowWidth": 16},
        )
    ):
        yield made(folder / f"{number}.dcm", RAMP, **more).read_bytes()


def _volumes(folder: Path) -> Iterator[bytes]:
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        whole = kind(values, np.diag([1.0, 2.0, 3.0, 1.0])).to_bytes()
        yield whole
        yield gzip.compress(whole, mtime=0)
    array = io.BytesIO()
    np.save(array, values)
    yield array.getvalue()


def _archive(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(XML)
        archive.addfile(entry, io.BytesIO(XML.encode()))
    return stream.getvalue()


def _weights() -> Iterator[bytes]:
    state = {"cls_token": torch.zeros(1, 1, 8), "blocks.0.attn.qkv.weight": torch.ones(24, 8)}
    for whole in (state, {"model": state}):
        stream = io.BytesIO()
        torch.save(whole, stream)
        yield stream.getvalue()
    yield save(state)
