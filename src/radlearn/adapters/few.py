"""Few of the model's own weights train: its biases (BitFit), or its norms."""

from collections.abc import Callable

from timm.layers import GroupNorm, GroupNorm1, RmsNorm
from torch import nn

from radlearn.adapters.tuner import (
    TunerConfig,
    backbone_of,
    freeze_backbone,
    is_head,
    refuse,
    remember_backbone,
)
from radlearn.adapters.where import chosen

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
