"""Which ViT it is, by the names and shapes of its weights; what they leave open is said."""

import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, is_plain_vit
from radlearn.models.huggingface_families import ratio

VIT = (
    *("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre."),
    *("blocks.", "norm.", "fc_norm.", "head."),
)
"""Prefixes of what a ViT of timm's is made of."""

PLAIN = "vit_base_patch16_224"
WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
HEAD_WIDTH = 64
DINOV2_PATCH, GIANT = 14, 1536
BLOCK = re.compile(r"blocks\.(\d{1,4})\.")


def guessed_heads(width: int, of_each: int = HEAD_WIDTH) -> int:
    """How many heads a layer may have: the divisor of `width` that comes nearest to `of_each`."""
    return min(
        (n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(width / n - of_each)
    )


def vit_config(vit: Mapping[str, Tensor], heads: int | None) -> tuple[BackboneConfig, str | None]:
    """timm's architecture and arguments of these weights.

    Args:
        vit: by timm's names.
        heads: of each layer, which shapes cannot tell; None for the standard of the width, or, for
            a width that has none, for what `guessed_heads` says.

    Returns:
        The config, and the guess in words where one was made.

    Raises:
        InputError: they are not those of a ViT, or cannot have so many heads.
    """
    patch, places = vit.get("patch_embed.proj.weight"), vit.get("pos_embed")
    if patch is None or patch.ndim != 4 or places is None or places.ndim != 3:
        raise InputError(
            "it is not a ViT: it has no patch_embed.proj.weight and pos_embed of timm's shapes; "
            "name its architecture with --model, or give a model folder"
        )
    width, channels, side, other = patch.shape
    prefix = sum(vit[k].shape[1] for k in ("cls_token", "reg_token") if _is_tokens(vit, k))
    length = places.shape[1]
    sides = {at: round(max(length - at, 0) ** 0.5) for at in (prefix, 0)}
    inside = next((at for at, n in sides.items() if n and n * n == length - at), None)
    if side != other or inside is None or not width:
        raise InputError(
            f"its {length} positions are not a square of patches and {prefix} more, or its "
            f"patches of {side} x {other} no squares; give a model folder for such a model"
        )
    if heads is not None and (heads < 1 or width % heads):
        raise InputError(f"{heads} heads cannot share a width of {width}; give a divisor of it")
    found = {int(match[1]) for name in vit if (match := BLOCK.match(name))}
    arguments: dict[str, Any] = {
        "img_size": sides[inside] * side,
        "patch_size": side,
        "in_chans": channels,
        "depth": max(len(found), 1),
    } | _variants(vit, width, inside)
    note = None
    gated, dino = _is_gated(vit), side == DINOV2_PATCH and "blocks.0.ls1.gamma" in vit
    if width in WIDTHS and not gated:
        if heads is not None:
            arguments["num_heads"] = heads
        return BackboneConfig(_named(WIDTHS[width], side, dino, vit), arguments), note
    if heads is None and gated and width == GIANT:
        heads = GIANT // HEAD_WIDTH
    if heads is None:
        heads = guessed_heads(width)
        note = (
            f"{heads} heads of {width // heads} were guessed: shapes do not say how many share a "
            f"width of {width}; give --heads to radlearn import where they are others"
        )
    arguments |= {"embed_dim": width, "num_heads": heads}
    size = "giant" if gated else "base"
    return BackboneConfig(_named(size, side, dino or gated, vit), arguments), note


def form(state: Mapping[str, Tensor], architecture: str = PLAIN) -> dict[str, Any]:
    """timm's arguments for what follows the last block: nothing, a head, or pooling and a head."""
    head = state.get("head.weight", state.get("head.fc.weight"))
    outputs = len(head) if head is not None and head.ndim == 2 else 0
    if not is_plain_vit(architecture):
        return {"num_classes": outputs}
    if not outputs:
        return {"num_classes": 0, "global_pool": "avg", "fc_norm": False}
    if "fc_norm.weight" in state or "cls_token" not in state:
        return {"num_classes": outputs, "global_pool": "avg", "fc_norm": "fc_norm.weight" in state}
    return {"num_classes": outputs, "global_pool": "token"}


def fit_whole(state: Mapping[str, Tensor], config: BackboneConfig) -> tuple[str, ...]:
    """See that the model of `config` is there whole.

    Returns:
        Names in `state` that it has no place for.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    with torch.device("meta"):
        model = config.create(**form(state, config.architecture))
    plain = is_plain_vit(config.architecture)
    return fits(state, model, "a ViT" if plain else f"a {config.architecture}")


def fits(state: Mapping[str, Tensor], model: nn.Module, what: str) -> tuple[str, ...]:
    """As `fit_whole`, for a model that is already made."""
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    if missing:
        raise InputError(
            f"it lacks {len(missing)} of the {len(own)} tensors of {what} of its shapes, such as "
            f"{missing[0]}; get the whole file"
        )
    for name, wanted in own.items():
        if state[name].shape != wanted.shape:
            raise InputError(
                f"its {name} has the shape {tuple(state[name].shape)} where {what} of its other "
                f"shapes has {tuple(wanted.shape)}; get the file again"
            )
    return tuple(name for name in state if name not in own)


def described(config: BackboneConfig) -> str:
    """What it is made of, in a line."""
    with torch.device("meta"):
        model: Any = config.create(num_classes=0)
    arguments = config.model_args
    if not is_plain_vit(config.architecture):
        depths = arguments.get("depths") or arguments.get("depth")
        layers = f", {' + '.join(map(str, depths))} layers" if isinstance(depths, list) else ""
        return f"{config.architecture}, {model.num_features} wide at its end{layers}"
    width, heads = model.embed_dim, model.blocks[0].attn.num_heads
    patch, side = model.patch_embed.patch_size[0], model.patch_embed.img_size[0]
    channels = model.patch_embed.proj.in_channels
    return (
        f"ViT {width} wide, {len(model.blocks)} layers, {heads} heads, patches of {patch}, "
        f"{side} px, {channels} channels"
    )


def _is_tokens(vit: Mapping[str, Tensor], name: str) -> bool:
    return name in vit and vit[name].ndim == 3


def _variants(vit: Mapping[str, Tensor], width: int, inside: int) -> dict[str, Any]:
    """Arguments of what departs from the plain ViT; none for a plain one."""
    more: dict[str, Any] = {}
    mlp = vit.get("blocks.0.mlp.fc1.weight")
    if mlp is not None and mlp.ndim == 2 and (len(mlp) != 4 * width or _is_gated(vit)):
        more["mlp_ratio"] = ratio(len(mlp), width)
    if "cls_token" not in vit:
        more["class_token"] = False
    if _is_tokens(vit, "reg_token"):
        more["reg_tokens"] = vit["reg_token"].shape[1]
    if not inside and ("cls_token" in vit or "reg_token" in vit):
        more["no_embed_class"] = True
    if "blocks.0.ls1.gamma" in vit:
        more["init_values"] = 1e-5
    if "blocks.0.attn.qkv.bias" not in vit:
        more["qkv_bias"] = False
    if "blocks.0.attn.q_norm.weight" in vit:
        more["qk_norm"] = True
    if "norm_pre.weight" in vit:
        more["pre_norm"] = True
    return more


def _is_gated(vit: Mapping[str, Tensor]) -> bool:
    """Whether its MLP is a SwiGLU, both halves of the first layer in one, as DINOv2's giant has."""
    first, second = (vit.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2"))
    flat = first is not None and second is not None and first.ndim == second.ndim == 2
    return flat and len(first) == 2 * second.shape[1]  # type: ignore[arg-type, union-attr]


def _named(size: str, patch: int, dino: bool, vit: Mapping[str, Tensor]) -> str:
    """timm's ViT of this size; with other patches than its own where it has none with these."""
    names = [f"vit_{size}_patch{side}_224" for side in (patch, 16, 14)]
    if dino:
        registers = "_reg4" if _is_tokens(vit, "reg_token") else ""
        names.insert(0, f"vit_{size}_patch14{registers}_dinov2")
    return next(name for name in names if timm.is_model(name))


def with_registers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's own names of registers and of its gated MLP as timm's.

    Its positions hold one for the class token, which timm adds to that token.
    """
    renamed = {}
    for name, tensor in tensors.items():
        other = name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")
        renamed[other if BLOCK.match(name) else name] = tensor
    places, token = (renamed.get(name) for name in ("pos_embed", "cls_token"))
    fit = places is not None and token is not None and places.ndim == token.ndim == 3
    if "register_tokens" in renamed and fit and places.shape[1] > 1:  # type: ignore[union-attr]
        renamed["reg_token"] = renamed.pop("register_tokens")
        renamed["cls_token"] = token + places[:, :1]  # type: ignore[index, operator]
        renamed["pos_embed"] = places[:, 1:]  # type: ignore[index]
    return renamed
