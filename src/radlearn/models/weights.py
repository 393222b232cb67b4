"""State dicts by timm's names: fitted to a model, checked, and told apart by their fingerprint."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from radlearn.errors import InputError

HEADS = ("head.", "fc_norm.", "norm.", "head_drop.", "attn_pool.")
"""Prefixes of what comes after the last block: replaced, not transferred, when a task changes."""


def fitted(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The part of `state` that is `model`'s backbone, in the shapes and type that `model` has.

    Positions are interpolated bicubic to another image size, a Swin's position biases to another
    window. Three input channels become one by their sum, which is exact for a grey image repeated
    on three of one mean and std (`channels.grey_input` for others); one becomes three by thirds.
    Heads stay out, and so does the last norm unless the model keeps it before its pooling.

    Args:
        model: of `build_encoder` or `build_classifier`.
        state: timm's names.

    Raises:
        InputError: a weight of the backbone is missing, has another shape, or is not finite.
    """
    own = model.state_dict()
    heads = tuple(h for h in HEADS if not (h == "norm." and "norm.weight" in own))
    missing = [k for k in own if k not in state and not k.startswith(HEADS)]
    if missing:
        raise InputError(
            f"the weights lack {len(missing)} of the backbone's {len(own)} tensors, such as "
            f"{missing[0]}; choose the architecture that the weights were made for"
        )
    return {
        name: checked(name, _reshaped(name, state[name], own[name].shape, model), own[name])
        for name in own
        if name in state and not name.startswith(heads)
    }


def checked(name: str, tensor: Tensor, own: Tensor) -> Tensor:
    """`tensor` in the type of `own`.

    Raises:
        InputError: another shape, or values that are not finite.
    """
    if tensor.shape != own.shape:
        raise InputError(
            f"the weights have {name} of shape {tuple(tensor.shape)} where this model has "
            f"{tuple(own.shape)}; choose the architecture, patch size and width of the weights"
        )
    if not torch.isfinite(tensor).all():
        raise InputError(f"the weights have NaN or infinite values in {name}; get them again")
    return tensor.to(own.dtype)


def _reshaped(name: str, tensor: Tensor, shape: torch.Size, model: nn.Module) -> Tensor:
    if tensor.shape == shape or tensor.ndim != len(shape):
        return tensor
    if name == "pos_embed" and isinstance(model, VisionTransformer | Eva) and len(shape) == 3:
        prefix = 0 if model.no_embed_class else model.num_prefix_tokens
        return resampled(tensor, model.patch_embed.grid_size, prefix)
    if name.endswith("relative_position_bias_table") and tensor.shape[1:] == shape[1:]:
        return _of_window(name, tensor, shape)
    if tensor.ndim == 4 and tensor.shape[1] == 3 and shape[1] == 1:
        return tensor.sum(1, keepdim=True)
    if tensor.ndim == 4 and tensor.shape[1] == 1 and shape[1] == 3:
        return tensor.expand(-1, 3, -1, -1) / 3
    return tensor


def _of_window(name: str, table: Tensor, shape: torch.Size) -> Tensor:
    """A Swin's table of position biases for another window, bicubic as in Swin's own code.

    Raises:
        InputError: one of the windows is no square.
    """
    old, new = (math.isqrt(length) for length in (len(table), shape[0]))
    if old * old != len(table) or new * new != shape[0]:
        raise InputError(
            f"the weights have {name} of {len(table)} places, which is not the table of a square "
            "window; choose the architecture that the weights were made for"
        )
    square = table.T.reshape(1, -1, old, old)
    wide = F.interpolate(square.float(), (new, new), mode="bicubic")
    return wide.flatten(2)[0].T.to(table.dtype)


def resampled(
    positions: Float[Tensor, "1 old width"], grid: tuple[int, int], prefix: int
) -> Float[Tensor, "1 new width"]:
    """Position embeddings of a square of patches for another grid, interpolated bicubic.

    Raises:
        InputError: they are not those of a square and `prefix` more.
    """
    side = round(max(positions.shape[1] - prefix, 0) ** 0.5)
    if side < 1 or side * side != positions.shape[1] - prefix or positions.shape[0] != 1:
        raise InputError(
            f"the weights have {positions.shape[1]} positions, which is not a square of patches "
            f"and {prefix} more; choose the architecture that the weights were made for"
        )
    return resample_abs_pos_embed(
        positions, new_size=list(grid), old_size=[side, side], num_prefix_tokens=prefix
    )


def load_backbone(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Give `model` the backbone in `state` (see `fitted`); its head stays as it is.

    Returns:
        Names in `state` that were not used, heads included.

    Raises:
        InputError: as `fitted`.
    """
    taken = fitted(state, model)
    model.load_state_dict(taken, strict=False)
    return tuple(k for k in state if k not in taken)


def restore(model: nn.Module, path: Path) -> None:
    """Give `model` all of its own weights from a safetensors file.

    Raises:
        InputError: the file cannot be read, or holds other names, other shapes or no numbers.
    """
    state, own = read_safetensors(path), model.state_dict()
    if odd := sorted(state.keys() ^ own.keys()):
        raise InputError(
            f"{path} does not fit the config beside it: {len(odd)} names differ, such as "
            f"{odd[0]}; get both files from one run"
        )
    model.load_state_dict({name: checked(name, state[name], own[name]) for name in own})


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


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Raises InputError where the file is missing, cut or not safetensors."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path.parent} has no {path.name}; give a model folder") from None
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        raise InputError(f"cannot read the weights {path}: {error}; get the file again") from error
