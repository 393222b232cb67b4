"""A folder that transformers saved: its weights, its settings and its preprocessing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radlearn.errors import InputError
from radlearn.files import read_json
from radlearn.models.huggingface_families import FAMILIES
from radlearn.records.transforms import Preprocessing

VITS = {
    "vit": "Hugging Face ViT",
    "vit_mae": "Hugging Face ViTMAE",
    "dinov2": "DINOv2",
    "dinov2_with_registers": "DINOv2",
}
"""Kinds whose shapes say what they are, and what they are called here."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
PILLOW = {2: "bilinear", 3: "bicubic"}
UNCUT = 384  # ConvNeXt's processor cuts no border off from this size on


@dataclass(frozen=True)
class HuggingFaceFolder:
    """A folder that transformers saved.

    Attributes:
        weights: its file of weights.
        config: its config.json.
        heads: of a ViT's encoder; None for what has several numbers of them.
        preprocessing: None where the folder does not say.
        eps: of the layer norms.
    """

    weights: Path
    config: Mapping[str, Any]
    heads: int | None
    preprocessing: Preprocessing | None
    eps: float

    @property
    def type(self) -> str:
        return str(self.config["model_type"])


def huggingface_folder(folder: Path) -> HuggingFaceFolder | None:
    """What a folder's config.json says, if transformers wrote it.

    Raises:
        InputError: another model than those of `VITS` and `FAMILIES`, or no weights beside it.
    """
    config = read_json(folder / "config.json", "a model folder")
    if not isinstance(config, dict) or "model_type" not in config:
        return None
    known = (*VITS, *FAMILIES)
    if config["model_type"] not in known:
        raise InputError(
            f"{folder} holds a {str(config['model_type'])[:40]!r} of transformers', which is none "
            f"of {', '.join(known)}; give one of these, or a model folder that timm saved"
        )
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise InputError(f"{folder} has no {' or '.join(WEIGHTS)}; copy the whole folder again")
    heads, eps = config.get("num_attention_heads", 12), config.get("layer_norm_eps", 1e-12)
    if type(heads) is not int or not isinstance(eps, int | float):
        raise InputError(f"{folder / 'config.json'} gives {heads!r} heads and eps {eps!r}")
    vit = config["model_type"] in VITS
    return HuggingFaceFolder(
        weights, config, heads if vit else None, _preprocessing(folder), float(eps)
    )


def _preprocessing(folder: Path) -> Preprocessing | None:
    """What preprocessor_config.json says."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        side = resize = _side(said["size"])
        if said.get("crop_pct") and side < UNCUT:
            resize = int(side / float(said["crop_pct"]))
        elif said.get("do_center_crop") and said.get("crop_size"):
            side = _side(said["crop_size"])
        return Preprocessing(
            side,
            list(said["image_mean"]),  # type: ignore[arg-type]
            list(said["image_std"]),  # type: ignore[arg-type]
            len(said["image_mean"]),
            None if resize == side else resize,
            PILLOW.get(said.get("resample", 3), "bicubic"),  # type: ignore[arg-type]
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"{file} does not say size, image_mean and image_std ({error!r}); correct or remove it"
        ) from error


def _side(size: Any) -> int:
    found = size if isinstance(size, int) else size.get("height", size.get("shortest_edge"))
    return int(found)
