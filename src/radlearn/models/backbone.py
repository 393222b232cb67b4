"""Backbones: timm models by name, started as masked autoencoders are and saved as timm loads them.

timm's parameter names are the published checkpoints' names, so nothing is ever renamed here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed, trunc_normal_
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.files import replacing, write_json
from radlearn.records.transforms import Preprocessing

HEADS = ("head.", "fc_norm.", "norm.", "head_drop.", "attn_pool.")
"""Prefixes of what comes after the last block: replaced, not transferred, when a task changes."""


@dataclass(frozen=True)
class BackboneConfig:
    """A timm architecture and the arguments that make it, as `timm.create_model` takes them.

    Attributes:
        architecture: timm's name, without a weights tag.
        model_args: such as img_size, patch_size, embed_dim, depth, num_heads, in_chans.
    """

    architecture: str
    model_args: dict[str, Any] = field(default_factory=dict)

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
        arguments = {**self.model_args, **more}
        try:
            return timm.create_model(self.architecture, pretrained=False, **arguments)
        except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{self.architecture} cannot be made with {arguments}: {error}; "
                "change the image size, patch size or width"
            ) from error


def sine_cosine_positions(
    width: int, rows: int, columns: int, prefix: int
) -> Float[Tensor, "1 positions width"]:
    """Fixed 2-D positions, patches row by row after `prefix` zero rows (class token first).

    As in MAE (He et al. 2022): the first half of the width encodes the column, the second the row,
    each as sines, then cosines, of frequencies 1 / 10000^(i / (width / 4)).

    Raises:
        InputError: the width is not a multiple of 4.
    """
    if width % 4:
        raise InputError(
            f"sine-cosine positions need a width that is a multiple of 4, not {width}; "
            "choose another embed_dim"
        )
    quarter = width // 4
    frequencies = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    row, column = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64),
        torch.arange(columns, dtype=torch.float64),
        indexing="ij",
    )
    angles = [place.flatten()[:, None] * frequencies for place in (column, row)]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros(prefix, width), table.float()])[None]


def start_as_mae(module: nn.Module) -> None:
    """Xavier-uniform linear layers with zero biases, unit layer norms, as MAE starts."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm) and part.elementwise_affine:
            nn.init.ones_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _start_vit(model: VisionTransformer) -> None:
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
    made_by = (
        timm.model_entrypoint(config.architecture) if timm.is_model(config.architecture) else None
    )
    if made_by is not None and made_by.__module__ not in (
        "timm.models.vision_transformer",
        "timm.models.deit",
    ):
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


def build_classifier(config: BackboneConfig, labels: int, drop_path: float = 0.0) -> nn.Module:
    """A classifier as MRM and MED-PEFT transfer: mean over patches, fc_norm, a linear head.

    The class token is left out of the mean; the head starts from a truncated normal of std 2e-5.
    A ViT starts from what `build_encoder` starts from, its positions trainable; any other timm
    model from timm's own start and pooling.

    Args:
        labels: number of logits.
        drop_path: rate of the last block's stochastic depth, growing linearly from the first.
    """
    more: dict[str, Any] = {"num_classes": labels, "global_pool": "avg"}
    if drop_path:
        more["drop_path_rate"] = drop_path
    model = config.create(**more)
    if isinstance(model, VisionTransformer):
        _start_vit(model)
    head = model.get_classifier()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        head = head.fc
    trunc_normal_(head.weight, std=2e-5)
    nn.init.zeros_(head.bias)
    return model


def fitted(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`state` for another image size or number of channels, as `model` has them.

    Positions are interpolated bicubic; three input channels become one by their sum, which is exact
    for a grey image that was repeated on three, and one becomes three by thirds.

    Raises:
        InputError: a tensor's shape differs in another way; names the first.
    """
    own = model.state_dict()
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        wanted = own[name].shape if name in own else tensor.shape
        if name == "pos_embed" and tensor.ndim == 3 and isinstance(model, VisionTransformer):
            if tensor.shape != wanted and tensor.shape[2] == wanted[2]:
                prefix = 0 if model.no_embed_class else model.num_prefix_tokens
                tensor = _resampled(tensor, model.patch_embed.grid_size, prefix)
        elif tensor.ndim == 4 and tensor.shape[1] == 3 and wanted[1:2] == (1,):
            tensor = tensor.sum(1, keepdim=True)
        elif tensor.ndim == 4 and tensor.shape[1] == 1 and wanted[1:2] == (3,):
            tensor = tensor.expand(-1, 3, -1, -1) / 3
        if tensor.shape != wanted:
            raise InputError(
                f"the weights have {name} of shape {tuple(tensor.shape)} where this model has "
                f"{tuple(wanted)}; choose the architecture, patch size and width of the weights"
            )
        result[name] = tensor
    return result


def _resampled(positions: Tensor, grid: tuple[int, int], prefix: int) -> Tensor:
    side = round((positions.shape[1] - prefix) ** 0.5)
    if side < 1 or side * side != positions.shape[1] - prefix:
        raise InputError(
            f"the weights have {positions.shape[1]} positions, which is not a square of patches "
            f"and {prefix} more; choose the image size of the weights"
        )
    return resample_abs_pos_embed(
        positions, new_size=list(grid), old_size=[side, side], num_prefix_tokens=prefix
    )


def load_backbone(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Give `model` the blocks and embeddings in `state`; its head and last norms stay as they are.

    Args:
        model: of `build_encoder` (then the last norm is loaded too) or `build_classifier`.
        state: timm's names; what belongs to another task's head is ignored.

    Returns:
        Names in `state` that the model has no place for, heads included.

    Raises:
        InputError: a weight of the backbone is missing, or has another shape.
    """
    own = model.state_dict()
    keep_norm = "norm.weight" in own
    heads = tuple(p for p in HEADS if not (p == "norm." and keep_norm))
    taken = {k: v for k, v in state.items() if k in own and not k.startswith(heads)}
    missing = [k for k in own if k not in taken and not k.startswith(heads)]
    if missing:
        raise InputError(
            f"the weights lack {len(missing)} of the backbone's tensors, first {missing[0]}; "
            "choose the architecture that the weights were made for"
        )
    model.load_state_dict(fitted(taken, model), strict=False)
    return tuple(k for k in state if k not in taken)


def backbone_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights that every task shares: without head and last norms."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith(HEADS)}


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256, hexadecimal, over sorted names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_model(
    folder: Path,
    model: nn.Module,
    config: BackboneConfig,
    preprocessing: Preprocessing,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json and model.safetensors as timm reads them.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` gives the model, and so does
    `timm.create_model(architecture, **model_args)` with a strict `load_state_dict`.

    Args:
        extra: kept under "radlearn" beside the preprocessing: labels, licences, ...
    """
    arguments = {**config.model_args, "num_classes": model.num_classes}
    if isinstance(model, VisionTransformer):
        arguments["global_pool"] = model.global_pool
        arguments["fc_norm"] = not isinstance(model.fc_norm, nn.Identity)
    channels, size = preprocessing.channels, preprocessing.size
    shown = {
        "architecture": config.architecture,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": getattr(model, "global_pool", "avg"),
        "model_args": arguments,
        "pretrained_cfg": {
            "architecture": config.architecture,
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": size / (preprocessing.resize or size),
            "crop_mode": "center",
            "mean": [preprocessing.mean] * channels,
            "std": [preprocessing.std] * channels,
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": model.default_cfg["first_conv"],
            "classifier": model.default_cfg["classifier"],
        },
        "radlearn": {"preprocessing": asdict(preprocessing), **(extra or {})},
    }
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with replacing(folder / "model.safetensors") as path:
        save_file(state, path, metadata={"format": "pt"})
    write_json(folder / "config.json", shown)
