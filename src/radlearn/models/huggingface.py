"""Hugging Face's ViT and ViTMAE under timm's and MAE's names; query, key and value become one."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radlearn.errors import InputError
from radlearn.files import read_json
from radlearn.records.transforms import Preprocessing

WHOLE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "layernorm.": "norm.",
    "classifier.": "head.",
    "decoder.mask_token": "mask_token",
    "decoder.decoder_": "decoder_",
}
"""Their prefixes and ours outside of the layers."""

LAYER = re.compile(
    r"(?P<part>decoder\.)?(?:encoder\.layer|layers|decoder_layers|decoder_encoder\.layer|"
    r"decoder_encoder\.layers)\.(?P<at>\d{1,4})\.(?P<rest>.+)\.(?P<kind>weight|bias)"
)
INSIDE = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "mlp.fc1": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc2": "mlp.fc2",
}
"""Their names inside of a layer, before and since transformers 5, and timm's."""

FUSED = {
    "attention.attention.query": 0,
    "attention.attention.key": 1,
    "attention.attention.value": 2,
    "attention.q_proj": 0,
    "attention.k_proj": 1,
    "attention.v_proj": 2,
}
UNREAD = ("pooler.", "embeddings.mask_token")
"""What their models hold and no other model reads."""

MODEL_TYPES = ("vit", "vit_mae")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class HuggingFaceFolder:
    """A folder that transformers saved.

    Attributes:
        weights: its file of weights.
        heads: of the encoder.
        preprocessing: None where the folder does not say.
        eps: of the layer norms.
    """

    weights: Path
    heads: int
    preprocessing: Preprocessing | None
    eps: float


def is_huggingface(names: Mapping[str, Any]) -> bool:
    """Whether these are names of a ViT or ViTMAE of transformers'."""
    return any(
        name.removeprefix("vit.").startswith("embeddings.patch_embeddings.") for name in names
    )


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same weights by timm's names, a decoder's by MAE's; and what nothing reads, by theirs.

    Names that are unknown stay what they are.

    Raises:
        InputError: query, key and value are not three of one shape.
    """
    renamed: dict[str, Tensor] = {}
    unread: dict[str, Tensor] = {}
    fused: dict[str, dict[int, Tensor]] = {}
    for full, tensor in state.items():
        name = full.removeprefix("vit.")
        prefix = next((p for p in WHOLE if name.startswith(p)), None)
        if match := LAYER.fullmatch(name):
            block = f"{'decoder_' if match['part'] else ''}blocks.{match['at']}"
            if match["rest"] in FUSED:
                place = f"{block}.attn.qkv.{match['kind']}"
                fused.setdefault(place, {})[FUSED[match["rest"]]] = tensor
                continue
            if match["rest"] in INSIDE:
                renamed[f"{block}.{INSIDE[match['rest']]}.{match['kind']}"] = tensor
                continue
        if prefix is not None:
            renamed[WHOLE[prefix] + name.removeprefix(prefix)] = tensor
        elif name.startswith(UNREAD):
            unread[full] = tensor
        else:
            renamed[full] = tensor
    for place, parts in fused.items():
        if sorted(parts) != [0, 1, 2] or len({part.shape for part in parts.values()}) != 1:
            raise InputError(
                f"query, key and value of its {place} are not three of one shape; get it again"
            )
        renamed[place] = torch.cat([parts[at] for at in range(3)])
    return renamed, unread


def huggingface_folder(folder: Path) -> HuggingFaceFolder | None:
    """What a folder's config.json says, if transformers wrote it.

    Raises:
        InputError: another model than a ViT or ViTMAE, or no weights beside it.
    """
    config = read_json(folder / "config.json", "a model folder")
    if not isinstance(config, dict) or "model_type" not in config:
        return None
    if config["model_type"] not in MODEL_TYPES:
        raise InputError(
            f"{folder} holds a {str(config['model_type'])[:40]!r} of transformers', which is no "
            "ViT or ViTMAE; give one of these, or a model folder that timm saved"
        )
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise InputError(f"{folder} has no {' or '.join(WEIGHTS)}; copy the whole folder again")
    heads, eps = config.get("num_attention_heads", 12), config.get("layer_norm_eps", 1e-12)
    if type(heads) is not int or not isinstance(eps, int | float):
        raise InputError(f"{folder / 'config.json'} gives {heads!r} heads and eps {eps!r}")
    return HuggingFaceFolder(weights, heads, _preprocessing(folder), float(eps))


def _preprocessing(folder: Path) -> Preprocessing | None:
    """What preprocessor_config.json says, colours averaged to grey."""
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        size = said["size"]
        side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge"))
        mean, std = (sum(said[k]) / len(said[k]) for k in ("image_mean", "image_std"))
        return Preprocessing(int(side), float(mean), float(std))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"{file} does not say size, image_mean and image_std ({error!r}); correct or remove it"
        ) from error
