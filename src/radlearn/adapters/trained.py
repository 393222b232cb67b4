"""Tuners that train parameters of the model as they stand: what trains is what is saved."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from radlearn.adapters.tuner import (
    TunerConfig,
    check_backbone,
    read_facts,
    read_tensors,
    saved_config,
    shapes_of,
    trained_tensors,
    write_facts,
    write_tensors,
)

WEIGHTS = "trained.safetensors"
Attach = Callable[[nn.Module, TunerConfig], nn.Module]


def save(model: nn.Module, folder: Path, info: Mapping[str, Any]) -> None:
    """Write what trains, head included, under its names in the model."""
    write_tensors(folder / WEIGHTS, trained_tensors(model))
    write_facts(model, folder, model.tuner, info)  # type: ignore[arg-type]


def load(model: nn.Module, folder: Path, attach: Attach, tuner: str) -> nn.Module:
    """Put what was trained into the plain backbone that it was trained on.

    Raises:
        InputError: nothing of the kind is there, it does not fit, or the backbone is another one.
    """
    facts = read_facts(folder, tuner)
    check_backbone(model, facts, folder)
    attach(model, saved_config(facts, folder))
    tensors: dict[str, Tensor] = read_tensors(folder / WEIGHTS, shapes_of(trained_tensors(model)))
    model.load_state_dict(tensors, strict=False)
    return model


def merge(model: nn.Module) -> nn.Module:
    """The model itself: nothing is wrapped that could be taken away."""
    return model
