"""Weights of a timm model that is no plain ViT: of the architecture named, or of their shapes."""

import contextlib
import io
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig
from radlearn.models.huggingface_families import ratio
from radlearn.models.vit_shapes import fit_whole

SWIN = "layers.0.blocks.0.attn.relative_position_bias_table"
SWIN_V2 = "layers.0.blocks.0.attn.logit_scale"
CONVNEXT = "stages.0.blocks.0.conv_dw.weight"
SWIN_SIZES = {96: "tiny", 128: "base", 192: "large"}
CONVNEXT_SIZES = {
    40: "atto",
    48: "femto",
    64: "pico",
    80: "nano",
    96: "tiny",
    128: "base",
    192: "large",
    256: "xlarge",
}
"""timm's sizes by the width of the first stage."""


def of_architecture(
    architecture: str, tensors: Mapping[str, Tensor]
) -> tuple[BackboneConfig, dict[str, Tensor], tuple[str, ...]]:
    """Weights of a named timm architecture, by timm's names or by those that timm itself converts.

    Returns:
        The config, with the channels and image size of the weights; the weights by timm's names;
        names that have no place.

    Raises:
        InputError: they are not whole, or of another architecture.
    """
    with torch.device("meta"):
        model: Any = BackboneConfig(architecture).create()
    state = _converted(tensors, model)
    arguments: dict[str, Any] = {}
    first = state.get(f"{model.default_cfg['first_conv']}.weight")
    if first is not None and first.ndim == 4 and first.shape[1] != model.in_chans:
        arguments["in_chans"] = first.shape[1]
    places, own = state.get("pos_embed"), getattr(model, "pos_embed", None)
    if places is not None and own is not None and places.shape != own.shape:
        prefix = 0 if model.no_embed_class else model.num_prefix_tokens
        side = math.isqrt(max(places.shape[1] - prefix, 0))
        arguments["img_size"] = side * model.patch_embed.patch_size[0]
    config = BackboneConfig(architecture, arguments)
    left = fit_whole(state, config)
    return config, {k: v for k, v in state.items() if k not in left}, left


def of_shapes(tensors: Mapping[str, Tensor]) -> BackboneConfig | None:
    """The Swin or ConvNeXt that weights by timm's names are of; None where they are of neither.

    Raises:
        InputError: shapes leave open which one it is, or are of none.
    """
    if SWIN_V2 in tensors:
        raise InputError(
            "a Swin V2's weights do not say how large its windows are; name the architecture, such "
            "as --model swinv2_tiny_window8_256, or give a folder with its config.json"
        )
    of = _swin if SWIN in tensors else _convnext if CONVNEXT in tensors else None
    if of is None:
        return None
    try:
        return of(tensors)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"its shapes are of no Swin or ConvNeXt that is known ({error!r}); name the "
            "architecture with --model"
        ) from error


def _converted(tensors: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """By timm's names: as they are, or by timm's own conversion of what was first published."""
    own = model.state_dict()
    head = f"{model.default_cfg['classifier']}."
    if all(name in tensors for name in own if not name.startswith((head, "norm.", "fc_norm."))):
        return dict(tensors)
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(tensors)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return dict(convert(dict(tensors), model))
    except Exception as error:  # timm's conversions fail in any way on what they do not know
        raise InputError(
            f"its {len(tensors)} tensors are not those of {type(model).__name__}: timm's own "
            f"conversion failed ({type(error).__name__}: {str(error)[:100]}); check --model"
        ) from error


def _depths(tensors: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Blocks of each stage, by the numbers in their names."""
    found = {match.groups() for name in tensors if (match := re.match(pattern, name))}
    stages = len({stage for stage, _ in found})
    return [sum(stage == str(at) for stage, _ in found) for at in range(stages)]


def _swin(tensors: Mapping[str, Tensor]) -> BackboneConfig:
    depths = _depths(tensors, r"layers\.(\d)\.blocks\.(\d{1,3})\.")
    tables = [
        tensors[f"layers.{at}.blocks.0.attn.relative_position_bias_table"]
        for at in range(len(depths))
    ]
    windows = [(math.isqrt(len(table)) + 1) // 2 for table in tables]
    width, channels, patch, _ = tensors["patch_embed.proj.weight"].shape
    hidden = len(tensors["layers.0.blocks.0.mlp.fc1.weight"])
    size = "small" if width == 96 and max(depths) > 6 else SWIN_SIZES.get(width, "tiny")
    large = windows[0] == 12 and size in ("base", "large")
    arguments = {
        # timm's Swins have eight windows along each side of their first stage
        "img_size": 8 * windows[0] * patch,
        "patch_size": patch,
        "in_chans": channels,
        "embed_dim": width,
        "depths": depths,
        "num_heads": [table.shape[1] for table in tables],
        "window_size": windows,
        "mlp_ratio": ratio(hidden, width),
        "qkv_bias": "layers.0.blocks.0.attn.qkv.bias" in tensors,
    }
    name = f"swin_{size}_patch4_window{'12_384' if large else '7_224'}"
    return BackboneConfig(name, arguments)


def _convnext(tensors: Mapping[str, Tensor]) -> BackboneConfig:
    depths = _depths(tensors, r"stages\.(\d)\.blocks\.(\d{1,3})\.")
    kernels = [tensors[f"stages.{at}.blocks.0.conv_dw.weight"] for at in range(len(depths))]
    _, channels, patch, _ = tensors["stem.0.weight"].shape
    if patch == 3 or len(depths) != 4:
        raise ValueError("its stem has no patches" if patch == 3 else f"{len(depths)} stages")
    if "stages.0.blocks.0.norm.bias" not in tensors:
        raise ValueError("norms without biases are of more than one kind")
    second = "stages.0.blocks.0.mlp.grn.weight" in tensors
    first = tensors["stages.0.blocks.0.mlp.fc1.weight"]
    dims = [len(kernel) for kernel in kernels]
    size = CONVNEXT_SIZES.get(dims[0], "tiny")
    size = "small" if size == "tiny" and max(depths) > 9 else size
    arguments: dict[str, Any] = {
        "patch_size": patch,
        "in_chans": channels,
        "depths": depths,
        "dims": dims,
        "kernel_sizes": [kernel.shape[-1] for kernel in kernels],
        "conv_mlp": first.ndim == 4,
        "head_norm_first": "norm_pre.weight" in tensors,
    }
    if not second and "stages.0.blocks.0.gamma" not in tensors:
        arguments["ls_init_value"] = None
    if (hidden := tensors.get("head.pre_logits.fc.weight")) is not None:
        arguments["head_hidden_size"] = len(hidden)
    if second:
        size = "large" if size == "xlarge" else size
    return BackboneConfig(f"convnext{'v2' if second else ''}_{size}", arguments)
