"""Linear probing: the head trains, and the norm of the pooled features right below it.

`fc_norm` counts as part of the head, as it does for LoRA: no pretraining has trained it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from radlearn.adapters.tuner import (
    TunerConfig,
    check_backbone,
    freeze_backbone,
    head_tensors,
    read_facts,
    read_tensors,
    refuse,
    remember_backbone,
    write_facts,
    write_tensors,
)

WEIGHTS = "head.safetensors"


def attach(model: nn.Module, config: TunerConfig) -> nn.Module:
    """Freeze all but the head.

    Raises:
        InputError: the model has no head.
    """
    refuse(config, "where", "options")
    freeze_backbone(model)
    remember_backbone(model)
    return model


def save(model: nn.Module, folder: Path, info: Mapping[str, Any]) -> None:
    """Write the head under timm's names."""
    write_tensors(folder / WEIGHTS, head_tensors(model))
    write_facts(model, folder, TunerConfig("linear"), info)


def load(model: nn.Module, folder: Path) -> nn.Module:
    """Put the saved head on the backbone that it was trained on.

    Raises:
        InputError: nothing of the kind is there, it does not fit, or the backbone is another one.
    """
    facts = read_facts(folder, "linear")
    shapes = {name: value.shape for name, value in head_tensors(model).items()}
    tensors = read_tensors(folder / WEIGHTS, shapes)
    check_backbone(model, facts, folder)
    attach(model, TunerConfig("linear")).load_state_dict(tensors, strict=False)
    return model


def merge(model: nn.Module) -> nn.Module:
    """The model itself: nothing is wrapped."""
    return model
