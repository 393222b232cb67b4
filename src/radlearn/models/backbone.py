"""Backbones: timm models by name, started as masked autoencoders are and saved as timm loads them.

timm's parameter names are the published checkpoints' names, so nothing is ever renamed here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import timm
import torch
from timm.layers import trunc_normal_
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from radlearn.errors import InputError
from radlearn.models.start import sine_cosine_positions, start_as_mae

NOT_OURS = (
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
)
"""Arguments of `timm.create_model` that read other files or the network."""

LARGEST, MOST_LAYERS = 2**16, 2**10
"""More than any backbone has of anything, and of layers: config.json may come from anywhere."""

Family = Literal["vit", "swin", "convnext", "other"]


def backbone_family(model: nn.Module) -> Family:
    """Which family a timm model is of; EVA and DINOv3's ViTs, which are built on it, are "vit"."""
    if isinstance(model, VisionTransformer | Eva):
        return "vit"
    if isinstance(model, SwinTransformer | SwinTransformerV2):
        return "swin"
    return "convnext" if isinstance(model, ConvNeXt) else "other"


def is_plain_vit(architecture: str) -> bool:
    """Whether timm's architecture of this name is a `VisionTransformer`."""
    if not timm.is_model(architecture):
        return False
    made_by = timm.model_entrypoint(architecture).__module__
    return made_by in ("timm.models.vision_transformer", "timm.models.deit")


@dataclass(frozen=True)
class BackboneConfig:
    """A timm architecture and the arguments that make it, as `timm.create_model` takes them.

    Attributes:
        architecture: timm's name, without a weights tag.
        model_args: such as img_size, patch_size, embed_dim, depth, num_heads, in_chans.
    """

    architecture: str
    model_args: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """`model_args` without the image size where convolutions take any: there timm has none."""
        published = timm.get_pretrained_cfg(self.architecture)
        fixed = published is None or published.fixed_input_size
        return {k: v for k, v in self.model_args.items() if fixed or k != "img_size"}

    @property
    def width(self) -> int:
        """Features that the backbone ends in.

        Raises:
            InputError: as `create`.
        """
        with torch.device("meta"):
            model = self.create(num_classes=0)
        return model.num_features  # type: ignore[return-value]

    def create(self, **more: Any) -> nn.Module:
        """The timm model with random weights; never reaches for a network.

        Raises:
            InputError: timm has no such architecture, or it does not take such arguments.
        """
        if not timm.is_model(self.architecture):
            near = get_close_matches(self.architecture, timm.list_models(), 3)
            raise InputError(
                f"timm has no architecture named {self.architecture!r}"
                f"{'; near it: ' + ', '.join(near) if near else ''}; "
                "see timm.list_models() for all names"
            )
        arguments = {**self.arguments, **more}
        if refused := [name for name in NOT_OURS if name in arguments]:
            raise InputError(
                f"a model is made from its architecture's arguments, not from {refused[0]}; "
                "remove it from model_args and give the weights as a file"
            )
        _refuse_huge(arguments)
        try:
            return timm.create_model(self.architecture, pretrained=False, **arguments)
        except Exception as error:  # timm checks few of its arguments
            raise InputError(
                f"{self.architecture} cannot be made with {arguments}: {error}; "
                "change the image size, patch size or width"
            ) from error


def _refuse_huge(arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        numbers = list(_numbers(value))
        layers = sum(numbers) if name in ("depth", "depths") else len(numbers)
        if any(not -LARGEST <= one <= LARGEST for one in numbers) or layers > MOST_LAYERS:
            raise InputError(
                f"model_args has a {name} of {str(value)[:40]}, which is more than any backbone "
                "has; get config.json again"
            )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield value


def _start_vit(model: VisionTransformer) -> None:
    side, patch = model.patch_embed.img_size, model.patch_embed.patch_size
    if side[0] != side[1] or patch[0] != patch[1] or side[0] < 1 or side[0] % patch[0]:
        raise InputError(
            f"an image of {side[0]} x {side[1]} px is not a square of whole patches of {patch[0]} "
            f"px; choose a size that is a multiple of {patch[0]}, such as "
            f"{max(round(side[0] / patch[0]), 1) * patch[0]}"
        )
    start_as_mae(model)
    projection = model.patch_embed.proj
    if isinstance(projection, nn.Conv2d):
        nn.init.xavier_uniform_(projection.weight.view(projection.weight.shape[0], -1))
        if projection.bias is not None:
            nn.init.zeros_(projection.bias)
    for token in (model.cls_token, model.reg_token):
        if token is not None:
            nn.init.normal_(token, std=0.02)
    if model.pos_embed is not None:
        rows, columns = model.patch_embed.grid_size
        prefix = 0 if model.no_embed_class else model.num_prefix_tokens
        with torch.no_grad():
            model.pos_embed.copy_(sine_cosine_positions(model.embed_dim, rows, columns, prefix))


def build_encoder(config: BackboneConfig) -> VisionTransformer:
    """A ViT for pretraining: no head, its last `norm` kept, fixed sine-cosine positions.

    Its own output is the mean over patch tokens, the feature that MRM transfers.

    Raises:
        InputError: not a plain ViT with positions (Swin and ConvNeXt can be fine-tuned only).
    """
    if timm.is_model(config.architecture) and not is_plain_vit(config.architecture):
        raise InputError(
            f"pretraining hides patches, so it needs a plain ViT such as vit_small_patch16_224, "
            f"not {config.architecture}"
        )
    model = config.create(num_classes=0, global_pool="avg", fc_norm=False)
    assert isinstance(model, VisionTransformer)
    _start_vit(model)
    if model.pos_embed is not None:
        model.pos_embed.requires_grad_(False)
    return model


def build_backbone(config: BackboneConfig) -> nn.Module:
    """A backbone of any family without a head, in the form in which it is kept on disk."""
    model = config.create(num_classes=0)
    if isinstance(model, VisionTransformer):
        return config.create(num_classes=0, global_pool="avg", fc_norm=False)
    return model


def build_classifier(config: BackboneConfig, labels: int, drop_path: float = 0.0) -> nn.Module:
    """A classifier as MRM and MED-PEFT transfer: mean over patches, fc_norm, a linear head.

    The class token is left out of the mean; the head starts from a truncated normal of std 2e-5.
    A ViT starts from what `build_encoder` starts from, its positions trainable; any other timm
    model from timm's own start and pooling.

    Args:
        labels: number of logits.
        drop_path: rate of the last block's stochastic depth, growing linearly from the first.

    Raises:
        InputError: no such model, or one whose head timm calls otherwise than `head`.
    """
    more: dict[str, Any] = {"num_classes": labels, "global_pool": "avg"}
    if drop_path:
        more["drop_path_rate"] = drop_path
    model = config.create(**more)
    if isinstance(model, VisionTransformer):
        _start_vit(model)
    head = model.get_classifier()  # type: ignore[operator]
    if not any(part is head for part in getattr(model, "head", nn.Identity()).modules()):
        raise InputError(
            f"{config.architecture} does not call its head `head`, by which backbone and task are "
            "told apart; choose a ViT, Swin or ConvNeXt of timm's"
        )
    if not isinstance(head, nn.Linear):
        head = head.fc
    trunc_normal_(head.weight, std=2e-5)
    nn.init.zeros_(head.bias)
    return model
