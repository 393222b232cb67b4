"""Hugging Face's Swin, ConvNeXt and DINOv3: their names and settings as timm's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig

KINDS = r"(weight|bias)"
BLOCK = r"encoder\.layers\.(\d{1,3})\.blocks\.(\d{1,3})\."
SWIN = {
    r"embeddings\.patch_embeddings\.projection\.(.+)": r"patch_embed.proj.\1",
    r"embeddings\.norm\.(.+)": r"patch_embed.norm.\1",
    BLOCK + rf"attention\.(?:self\.query|q_proj)\.{KINDS}": r"layers.\1.blocks.\2.attn.q.\3",
    BLOCK + rf"attention\.(?:self\.key|k_proj)\.{KINDS}": r"layers.\1.blocks.\2.attn.k.\3",
    BLOCK + rf"attention\.(?:self\.value|v_proj)\.{KINDS}": r"layers.\1.blocks.\2.attn.v.\3",
    BLOCK + r"attention\.(?:output\.dense|o_proj)\.(.+)": r"layers.\1.blocks.\2.attn.proj.\3",
    BLOCK + r"attention\.self\.continuous_position_bias_mlp\.(.+)": (
        r"layers.\1.blocks.\2.attn.cpb_mlp.\3"
    ),
    BLOCK + r"attention\.(?:self|relative_position_bias)\."
    r"(relative_position_bias_table|logit_scale)": r"layers.\1.blocks.\2.attn.\3",
    BLOCK + r"layernorm_before\.(.+)": r"layers.\1.blocks.\2.norm1.\3",
    BLOCK + r"layernorm_after\.(.+)": r"layers.\1.blocks.\2.norm2.\3",
    BLOCK + r"(?:intermediate\.dense|mlp\.fc1)\.(.+)": r"layers.\1.blocks.\2.mlp.fc1.\3",
    BLOCK + r"(?:output\.dense|mlp\.fc2)\.(.+)": r"layers.\1.blocks.\2.mlp.fc2.\3",
    r"encoder\.layers\.(\d{1,3})\.downsample\.(.+)": r"layers.next \1.downsample.\2",
    r"layernorm\.(.+)": r"norm.\1",
    r"classifier\.(.+)": r"head.fc.\1",
}
CONVNEXT = {
    r"embeddings\.patch_embeddings\.(.+)": r"stem.0.\1",
    r"embeddings\.layernorm\.(.+)": r"stem.1.\1",
    r"(?:model\.)?stages\.0\.downsample_layers\.(.+)": r"stem.\1",
    r"(?:encoder|model)?\.?stages\.(\d)\.(?:downsampling_layer|downsample_layers)\.(.+)": (
        r"stages.\1.downsample.\2"
    ),
}
CONVNEXT |= {
    rf"(?:encoder|model)?\.?stages\.(\d)\.layers\.(\d{{1,3}})\.(?:{theirs})(\..+)?": (
        rf"stages.\1.blocks.\2.{ours}\3"
    )
    for theirs, ours in {
        "layer_scale_parameter|gamma": "gamma",
        "dwconv|depthwise_conv": "conv_dw",
        "layernorm|layer_norm": "norm",
        "pwconv1|pointwise_conv1": "mlp.fc1",
        "pwconv2|pointwise_conv2": "mlp.fc2",
        "grn": "mlp.grn",
    }.items()
}
CONVNEXT |= {
    r"(?:layernorm|layer_norm)\.(.+)": r"head.norm.\1",
    r"classifier\.(.+)": r"head.fc.\1",
}
LAYER = r"(?:model\.)?layer\.(\d{1,3})\."
DINOV3 = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.register_tokens": "reg_token",
    r"embeddings\.patch_embeddings\.(.+)": r"patch_embed.proj.\1",
    LAYER + r"(norm[12]\..+)": r"blocks.\1.\2",
    LAYER + rf"attention\.([qkv])_proj\.{KINDS}": r"blocks.\1.attn.\2.\3",
    LAYER + r"attention\.o_proj\.(.+)": r"blocks.\1.attn.proj.\2",
    LAYER + r"layer_scale([12])\.lambda1": r"blocks.\1.gamma_\2",
    LAYER + r"mlp\.gate_proj\.(.+)": r"blocks.\1.mlp.fc1_g.\2",
    LAYER + r"mlp\.up_proj\.(.+)": r"blocks.\1.mlp.fc1.\2",
    LAYER + r"mlp\.down_proj\.(.+)": r"blocks.\1.mlp.fc2.\2",
    r"norm\.(.+)": r"norm.\1",
}
"""Patterns of their names, before and since transformers 5, and timm's; the first that fits."""

PARTS = re.compile(r"(.+\.attn)\.([qkv])\.(weight|bias)")


@dataclass(frozen=True)
class Family:
    """How a kind of model of transformers' becomes timm's.

    Attributes:
        prefix: of all of its names in a model with a head.
        names: patterns of its names, and timm's.
        config: of its config.json and its weights by timm's names, which it may change.
    """

    prefix: str
    names: Mapping[str, str]
    config: Callable[[Mapping[str, Any], dict[str, Tensor]], BackboneConfig]


def taken(
    family: Family, config: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[BackboneConfig, dict[str, Tensor], dict[str, Tensor]]:
    """The timm model of a folder's settings, its weights by timm's names, and what is left.

    Raises:
        InputError: the settings are of something that timm has no model for.
    """
    ours: dict[str, Tensor] = {}
    left: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = _renamed(name.removeprefix(family.prefix), family.names)
        if new is None:
            left[name] = tensor
        else:
            ours[new] = tensor.flatten() if ".mlp.grn." in new else tensor
    try:
        made = family.config(config, ours)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"config.json does not describe a {config.get('model_type')} ({error!r}); copy the "
            "whole folder again"
        ) from error
    return made, _fused(ours), left


def _renamed(name: str, names: Mapping[str, str]) -> str | None:
    for theirs, ours in names.items():
        if (found := re.fullmatch(theirs, name)) is not None:
            new = re.sub(r"\\(\d)", lambda at: found[int(at[1])] or "", ours)
            # theirs shrink the picture at the end of a stage, timm's at the start of the next
            return re.sub(r"next (\d+)", lambda at: str(int(at[1]) + 1), new)
    return None


def _fused(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value as one; biases of a layer whose key has none stay apart."""
    fused: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if (found := PARTS.fullmatch(name)) is not None:
            parts.setdefault((found[1], found[3]), {})[found[2]] = tensor
        else:
            fused[name] = tensor
    for (place, kind), of in parts.items():
        if kind == "bias" and "k" not in of:
            fused |= {f"{place}.{part}_bias": tensor for part, tensor in of.items()}
            continue
        if sorted(of) != ["k", "q", "v"] or len({part.shape for part in of.values()}) != 1:
            raise InputError(f"query, key and value of its {place} are not three of one shape")
        fused[f"{place}.qkv.{kind}"] = torch.cat([of["q"], of["k"], of["v"]])
    return fused


def _number(config: Mapping[str, Any], name: str, most: int = 100_000) -> int:
    value = config[name]
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name} is {value!r}")
    return value


def _numbers(config: Mapping[str, Any], name: str, most: int = 100_000) -> list[int]:
    value = config[name]
    if not isinstance(value, list) or not 1 <= len(value) <= 8:
        raise ValueError(f"{name} is {value!r}")
    return [_number({name: one}, name, most) for one in value]


def _same(config: Mapping[str, Any], **expected: Any) -> None:
    """See that settings which timm's model has built in are these, where they are said."""
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise InputError(
                f"it has {name} {config[name]!r} where timm's model has {value!r}; give another "
                "checkpoint, or timm's own of this kind"
            )


def _swin(config: Mapping[str, Any], state: dict[str, Tensor]) -> BackboneConfig:
    _same(config, use_absolute_embeddings=False, hidden_act="gelu", layer_norm_eps=1e-5)
    second = config["model_type"] == "swinv2"
    arguments: dict[str, Any] = {
        "img_size": _number(config, "image_size"),
        "patch_size": _number(config, "patch_size"),
        "in_chans": _number({"num_channels": 3, **config}, "num_channels", 3),
        "embed_dim": _number(config, "embed_dim"),
        "depths": _numbers(config, "depths", 200),
        "num_heads": _numbers(config, "num_heads"),
        "window_size": _number(config, "window_size"),
        "mlp_ratio": float(config.get("mlp_ratio", 4.0)),
        "qkv_bias": bool(config.get("qkv_bias", True)),
    }
    if second:
        sizes = config.get("pretrained_window_sizes") or [0] * len(arguments["depths"])
        arguments["pretrained_window_sizes"] = [int(size) for size in sizes]
    name = "swinv2_tiny_window8_256" if second else "swin_tiny_patch4_window7_224"
    return BackboneConfig(name, arguments)


def _convnext(config: Mapping[str, Any], state: dict[str, Tensor]) -> BackboneConfig:
    _same(config, hidden_act="gelu")
    second = config["model_type"] == "convnextv2"
    arguments: dict[str, Any] = {
        "patch_size": _number({"patch_size": 4, **config}, "patch_size"),
        "in_chans": _number({"num_channels": 3, **config}, "num_channels", 3),
        "depths": _numbers(config, "depths", 200),
        "dims": _numbers(config, "hidden_sizes"),
    }
    if len(arguments["depths"]) != 4:
        raise ValueError(f"it has {len(arguments['depths'])} stages and timm's has 4")
    if not second and not any(name.endswith(".gamma") for name in state):
        arguments["ls_init_value"] = None
    return BackboneConfig("convnextv2_tiny" if second else "convnext_tiny", arguments)


def _dinov3(config: Mapping[str, Any], state: dict[str, Tensor]) -> BackboneConfig:
    gated = bool(config.get("use_gated_mlp", False))
    _same(config, layer_norm_eps=1e-5, hidden_act="silu" if gated else "gelu")
    _same(config, key_bias=False, proj_bias=True, mlp_bias=True)
    width = _number(config, "hidden_size")
    # timm has its models twice, with these biases and without them where they are all zero
    biases = [name for name in state if re.fullmatch(r".+\.attn\.[qv]\.bias", name)]
    biased = any(bool(state[name].any()) for name in biases)
    if not biased:
        for name in biases:
            del state[name]
    if gated:
        for name in [name for name in state if ".mlp.fc1." in name]:
            state[name.replace(".fc1.", ".fc1_x.")] = state.pop(name)
    registers = int(config.get("num_register_tokens", 0))
    if not registers:
        state.pop("reg_token", None)
    arguments = {
        "img_size": _number(config, "image_size"),
        "patch_size": _number(config, "patch_size"),
        "in_chans": _number({"num_channels": 3, **config}, "num_channels", 3),
        "embed_dim": width,
        "depth": _number(config, "num_hidden_layers", 200),
        "num_heads": _number(config, "num_attention_heads"),
        "mlp_ratio": ratio(_number(config, "intermediate_size"), width),
        "num_reg_tokens": registers,
        "rope_temperature": float(config.get("rope_theta", 100.0)),
    }
    name = f"vit_small_{'plus_' if gated else ''}patch16_dinov3{'_qkvb' if biased else ''}"
    return BackboneConfig(name, arguments)


def ratio(hidden: int, width: int) -> float:
    """The number that timm multiplies a width by and cuts to a whole one, to come to `hidden`."""
    found = hidden / width
    return found if int(width * found) == hidden else (hidden + 0.5) / width


FAMILIES = {
    "swin": Family("swin.", SWIN, _swin),
    "swinv2": Family("swinv2.", SWIN, _swin),
    "convnext": Family("convnext.", CONVNEXT, _convnext),
    "convnextv2": Family("convnextv2.", CONVNEXT, _convnext),
    "dinov3_convnext": Family("dinov3_convnext.", CONVNEXT, _convnext),
    "dinov3_vit": Family("dinov3_vit.", DINOV3, _dinov3),
}
