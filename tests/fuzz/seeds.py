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
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from safetensors.torch import save

from fuzz.stores import stored, stored_pairs
from radlearn.records.mask_files import write_mask
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
HUGGING_FACE = (
    {"model_type": "dinov2", "num_attention_heads": 3, "layer_norm_eps": 1e-6},
    {"model_type": "swin", "depths": [1, 1], "embed_dim": 8, "num_heads": [2, 2]},
    {"model_type": "convnext", "depths": [1, 1], "hidden_sizes": [8, 16]},
)
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
RECIPE = '[prepare]\nlayout = "folder"\nsource = "x"\n[grid]\nseed = [0]\n'


def seeds(target: str, folder: Path) -> Iterator[bytes]:
    """Some whole files of the kind that `target` reads; `folder` may be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    yield from {
        "picture": lambda: [*_pictures(), *_dicoms(folder)],
        "dicom": lambda: _dicoms(folder),
        "identity": lambda: _dicoms(folder),
        "segments": lambda: [_segmentation(folder), *_dicoms(folder)],
        "mask": lambda: [*_pictures(), *_volumes(folder), _segmentation(folder)],
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
        "folder": lambda: [json.dumps(told).encode() for told in HUGGING_FACE],
        "store": lambda: [stored()["store.json"]],
        "rows": lambda: [stored()["records.parquet"]],
        "pairs": lambda: [stored_pairs()["store.json"]],
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
    yield from _compressed(folder)


def _segmentation(folder: Path) -> bytes:
    uids = {name: f"1.2.{n}" for n, name in enumerate(UIDS, 4)}
    like = made(folder / "like.dcm", np.arange(256, dtype=np.uint8).reshape(16, 16), **uids)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:9, 3:12] = 1
    write_mask(mask, ("lung",), like, folder / "seg.dcm", "dicom-seg")
    return (folder / "seg.dcm").read_bytes()


def _compressed(folder: Path) -> Iterator[bytes]:
    """Frames with headers of their own: RLE, JPEG, JPEG-LS, JPEG 2000."""
    values = np.arange(64 * 64).astype(np.uint8).reshape(64, 64)
    for number, syntax in enumerate((RLELossless, JPEGLSLossless, JPEG2000Lossless)):
        dataset = dcmread(made(folder / "plain.dcm", values))
        dataset.compress(syntax)
        dataset.save_as(folder / f"compressed-{number}.dcm")
        yield (folder / f"compressed-{number}.dcm").read_bytes()
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="JPEG")
    dataset = dcmread(made(folder / "plain.dcm", values))
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(folder / "jpeg.dcm")
    yield (folder / "jpeg.dcm").read_bytes()


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
