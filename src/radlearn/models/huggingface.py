"""Hugging Face's ViT, ViTMAE and DINOv2 by timm's and MAE's names; query, key, value as one."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from radlearn.errors import InputError

WHOLE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "layernorm.": "norm.",
    "classifier.": "head.",
    "decoder.mask_token": "mask_token",
    "decoder.decoder_": "decoder_",
}
"""Their prefixes and ours outside of the layers."""

LAYER = re.compile(
    r"(?P<part>decoder\.)?(?:encoder\.layer|layers|decoder_layers|decoder_encoder\.layer|"
    r"decoder_encoder\.layers)\.(?P<at>\d{1,4})\.(?P<rest>.+)\.(?P<kind>weight|bias|lambda1)"
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
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
    "mlp.down_proj": "mlp.fc2",
}
"""Their names inside of a layer, before and since transformers 5, and timm's."""

FUSED = {
    "attention.attention.query": ("attn.qkv", 0),
    "attention.attention.key": ("attn.qkv", 1),
    "attention.attention.value": ("attn.qkv", 2),
    "attention.q_proj": ("attn.qkv", 0),
    "attention.k_proj": ("attn.qkv", 1),
    "attention.v_proj": ("attn.qkv", 2),
    "mlp.gate_proj": ("mlp.fc1", 0),
    "mlp.up_proj": ("mlp.fc1", 1),
}
"""What timm has as one layer, and the place in it."""

SCALES = {"layer_scale1": "ls1.gamma", "layer_scale2": "ls2.gamma"}
PREFIXES = ("vit.", "dinov2.", "dinov2_with_registers.")
UNREAD = ("pooler.", "embeddings.mask_token")
"""What their models hold and no other model reads."""


def is_huggingface(names: Mapping[str, Any]) -> bool:
    """Whether these are names of a ViT of transformers'."""
    return any(_bare(name).startswith("embeddings.patch_embeddings.") for name in names)


def _bare(name: str) -> str:
    """Without what a model with a head puts before the names of its backbone."""
    return name.removeprefix(next((p for p in PREFIXES if name.startswith(p)), ""))


def from_huggingface(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same weights by timm's names, a decoder's by MAE's; and what nothing reads, by theirs.

    Names that are unknown stay what they are.

    Raises:
        InputError: what becomes one layer is not whole, or of several shapes.
    """
    renamed: dict[str, Tensor] = {}
    unread: dict[str, Tensor] = {}
    fused: dict[str, dict[int, Tensor]] = {}
    for full, tensor in state.items():
        name = _bare(full)
        prefix = next((p for p in WHOLE if name.startswith(p)), None)
        if match := LAYER.fullmatch(name):
            block = f"{'decoder_' if match['part'] else ''}blocks.{match['at']}"
            if match["kind"] == "lambda1":
                renamed[f"{block}.{SCALES.get(match['rest'], full)}"] = tensor
                continue
            if match["rest"] in FUSED:
                layer, at = FUSED[match["rest"]]
                fused.setdefault(f"{block}.{layer}.{match['kind']}", {})[at] = tensor
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
        count = 3 if ".attn." in place else 2
        if len(parts) != count or len({part.shape for part in parts.values()}) != 1:
            raise InputError(
                f"the {count} parts of its {place} are not all there in one shape; get it again"
            )
        renamed[place] = torch.cat([parts[at] for at in range(count)])
    return renamed, unread
