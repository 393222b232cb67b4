"""Few of the model's own weights train: its biases (BitFit), or its norms."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from timm.layers import GroupNorm, GroupNorm1, RmsNorm
from torch import Tensor, nn

from radlearn.adapters.tuner import (
    TunerConfig,
    backbone_of,
    check_backbone,
    freeze_backbone,
    is_head,
    read_facts,
    read_tensors,
    refuse,
    remember_backbone,
    saved_config,
    shapes_of,
    trained_tensors,
    write_facts,
    write_tensors,
)
from radlearn.adapters.where import chosen

WEIGHTS = "trained.safetensors"
NORMS = (nn.LayerNorm, nn.GroupNorm, GroupNorm, GroupNorm1, nn.RMSNorm, RmsNorm)

Names = Callable[[nn.Module], list[str]]


def biases(backbone: nn.Module) -> list[str]:
    """Names of the biases of all layers, norms among them."""
    return [n for n, _ in backbone.named_parameters() if n.endswith("bias") and not is_head(n)]


def norms(backbone: nn.Module) -> list[str]:
    """Names of the weights and biases of all norms."""
    return [
        f"{name}.{one}"
        for name, module in backbone.named_modules()
        if isinstance(module, NORMS) or type(module).__name__.endswith("Norm2d")
        if not is_head(name)
        for one, _ in module.named_parameters(recurse=False)
    ]


def attach(model: nn.Module, config: TunerConfig, names: Names) -> nn.Module:
    """Freeze the backbone but for the parameters of these names.

    Raises:
        InputError: the model has no head, or none of these.
    """
    refuse(config, "options")
    backbone = backbone_of(model)
    found = names(backbone)
    wanted = chosen(model, found, config.where, f"parameters for {config.name}")
    freeze_backbone(model)
    remember_backbone(model)
    for name in wanted:
        backbone.get_parameter(name).requires_grad_(True)
    model.tuner = config  # type: ignore[assignment]
    return model


def save(model: nn.Module, folder: Path, info: Mapping[str, Any]) -> None:
    """Write what trains, head included, under its names in the model."""
    write_tensors(folder / WEIGHTS, trained_tensors(model))
    write_facts(model, folder, model.tuner, info)  # type: ignore[arg-type]


def load(model: nn.Module, folder: Path, names: Names, tuner: str) -> nn.Module:
    """Put what was trained into the backbone that it was trained on.

    Raises:
        InputError: nothing of the kind is there, it does not fit, or the backbone is another one.
    """
    facts = read_facts(folder, tuner)
    check_backbone(model, facts, folder)
    attach(model, saved_config(facts, folder), names)
    tensors: dict[str, Tensor] = read_tensors(folder / WEIGHTS, shapes_of(trained_tensors(model)))
    model.load_state_dict(tensors, strict=False)
    return model


def merge(model: nn.Module) -> nn.Module:
    """The model itself: nothing is wrapped."""
    return model
