"""A backbone at another image size: whole patches, and windows that keep their share of it."""

from dataclasses import replace
from typing import Any

import timm
import torch

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, backbone_family


def default_side(config: BackboneConfig) -> int:
    """Side of the images that an architecture is made for, pixels; 224 where it does not say."""
    if "img_size" in config.model_args:
        return int(config.model_args["img_size"])
    published = timm.get_pretrained_cfg(config.architecture, allow_unregistered=True)
    return published.input_size[-1] if published is not None else 224


def at_size(config: BackboneConfig, side: int) -> BackboneConfig:
    """The same backbone for images of `side` x `side` pixels.

    A Swin's windows are scaled with the image, so that each stage has as many of them as before;
    its weights and a ViT's positions are interpolated when they are loaded (`weights.fitted`).

    Raises:
        InputError: the image is no square of whole patches, or smaller than one last feature; the
            message names the nearest sizes. Or as `BackboneConfig.create`.
    """
    with torch.device("meta"):
        model: Any = config.create(num_classes=0)
    arguments = {**config.model_args, "img_size": side}
    embed: Any = getattr(model, "patch_embed", None)
    if hasattr(embed, "patch_size"):
        whole_patches(side, embed.patch_size[0], config.architecture)
    stride = model.feature_info[-1]["reduction"] if getattr(model, "feature_info", None) else 1
    if side < stride:
        raise InputError(
            f"{config.architecture} makes one feature of {stride} x {stride} px and cannot see "
            f"images of {side} px; choose {stride} or more"
        )
    if backbone_family(model) == "swin" and embed is not None:
        windows = _scaled(model._ref_window_sizes, embed.grid_size[0], side // embed.patch_size[0])
        if windows != [window for window, _ in model._ref_window_sizes]:
            arguments["window_size"] = windows[0] if len(set(windows)) == 1 else windows
    return replace(config, model_args=arguments)


def whole_patches(side: int, patch: int, architecture: str) -> None:
    """See that an image is made of whole patches.

    Raises:
        InputError: it is not; the message names the nearest sizes.
    """
    if side >= patch and side % patch == 0:
        return
    below = side // patch * patch
    near = f"{below} or {below + patch}" if below else str(patch)
    raise InputError(
        f"{architecture} cuts images into patches of {patch} px, and {side} px is not a multiple "
        f"of {patch}; the nearest sizes are {near}"
    )


def _scaled(windows: list[tuple[int, int]], old: int, new: int) -> list[int]:
    """Windows of each stage as timm's `set_input_size` scales them with the grid of patches."""
    return [max(1, window * new // old) for window, _ in windows]
