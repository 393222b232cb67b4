"""Full fine-tuning: everything trains, position embeddings too, and the whole model is saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from radlearn.adapters.tuner import (
    TunerConfig,
    read_facts,
    read_tensors,
    refuse,
    remember_backbone,
    write_facts,
    write_tensors,
)

WEIGHTS = "model.safetensors"


def attach(model: nn.Module, config: TunerConfig) -> nn.Module:
    """Let every parameter train."""
    refuse(config, "where", "options")
    remember_backbone(model)
    return model.requires_grad_(True)


def save(model: nn.Module, folder: Path, info: Mapping[str, Any]) -> None:
    """Write all weights under timm's names; the fingerprint noted is that of the start."""
    write_tensors(folder / WEIGHTS, model.state_dict())
    write_facts(model, folder, TunerConfig("full"), info)


def load(model: nn.Module, folder: Path) -> nn.Module:
    """Put the saved weights into a model of the same architecture.

    Raises:
        InputError: nothing of the kind is there, or it does not fit the model.
    """
    read_facts(folder, "full")
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    tensors = read_tensors(folder / WEIGHTS, shapes)
    attach(model, TunerConfig("full")).load_state_dict(tensors)
    return model


def merge(model: nn.Module) -> nn.Module:
    """The model itself: nothing is wrapped."""
    return model
