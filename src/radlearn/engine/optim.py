"""Optimisers and their groups of parameters."""

from dataclasses import dataclass
from typing import Any, Literal

from timm.models import group_parameters
from torch import nn, optim
from torch.optim import Optimizer

from radlearn.errors import InputError


@dataclass(frozen=True)
class OptimConfig:
    """How parameters are updated.

    Attributes:
        name: "sgd" or "adamw".
        lr: peak learning rate; what is left of a schedule is `lr` times a group's `lr_scale`.
        weight_decay: of matrices only; biases, norms and scales have none.
        layer_decay: learning rate of a layer relative to the one above it, in (0, 1]; None for one
            rate everywhere.
        momentum: of SGD.
        betas: of AdamW.
    """

    name: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    layer_decay: float | None = None
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.name not in ("sgd", "adamw"):
            raise InputError(f"no optimiser is called {self.name!r}; choose sgd or adamw")
        if not self.lr > 0:
            raise InputError(f"the learning rate is {self.lr}; give a number above 0")
        if not self.weight_decay >= 0:
            raise InputError(f"the weight decay is {self.weight_decay}; give 0 or more")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise InputError(f"the layer decay is {self.layer_decay}; give a number in (0, 1]")
        if not 0 <= self.momentum < 1 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(
                f"momentum {self.momentum} and betas {self.betas} must lie in [0, 1); change them"
            )


def parameter_groups(
    model: nn.Module, weight_decay: float, layer_decay: float | None = None
) -> list[dict[str, Any]]:
    """Group what trains by weight decay and by scale of the learning rate.

    Vectors (biases, norms) are never decayed. With `layer_decay` the scale is `layer_decay` to the
    power of the layers above: 1 for head, final norm and all that is outside the backbone, one
    factor more for each block below and for the embeddings under them (BEiT, appendix; MAE,
    appendix A.1); what timm's model names in `no_weight_decay` (position embedding, class token)
    is then not decayed either. The backbone may sit anywhere inside `model`.

    Returns:
        Dictionaries of "params", "weight_decay" and "lr_scale", lower layers first.

    Raises:
        InputError: layer decay for a model without a timm backbone in it.
    """
    scales: dict[str, float] = {}
    exempt: set[str] = set()
    if layer_decay is not None:
        prefix, backbone = _backbone(model)
        layers = group_parameters(backbone, backbone.group_matcher(), reverse=True)
        headless = isinstance(backbone.get_classifier(), nn.Identity)  # then the top is outside
        top = max(layers.values()) + headless
        scales = {prefix + name: layer_decay ** (top - layer) for name, layer in layers.items()}
        exempt = {prefix + name for name in getattr(backbone, "no_weight_decay", set)()}

    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if parameter.ndim <= 1 or name in exempt else weight_decay
        scale = scales.get(name, 1.0)
        group = groups.setdefault(
            (scale, decay), {"params": [], "weight_decay": decay, "lr_scale": scale}
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _backbone(model: nn.Module) -> tuple[str, Any]:
    """The first module whose own class says how its layers are ordered, and its name's prefix."""
    for name, module in model.named_modules():
        # asked of the class: wrappers such as peft's forward attributes to what they wrap
        if hasattr(type(module), "group_matcher"):
            return (f"{name}." if name else ""), module
    raise InputError(
        f"layer decay needs a timm backbone and {type(model).__name__} holds none; "
        "leave layer_decay out"
    )


def build_optimizer(model: nn.Module, config: OptimConfig) -> Optimizer:
    """The optimiser over the parameters of `model` that require a gradient.

    Each group keeps its "lr_scale", so that a schedule sets `group["lr"] = lr * group["lr_scale"]`.

    Raises:
        InputError: nothing in the model trains.
    """
    groups = parameter_groups(model, config.weight_decay, config.layer_decay)
    if not groups:
        raise InputError("nothing in the model is left to train; choose another adapter")
    for group in groups:
        group["lr"] = config.lr * group["lr_scale"]
    # fused: one pass over the weights in place of ten, where a network is mostly weights
    if config.name == "sgd":
        return optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    return optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
