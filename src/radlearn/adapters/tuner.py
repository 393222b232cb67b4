"""What every way of tuning shares: its settings, its interface, its head and its facts on disk."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.files import read_json, replacing, write_json
from radlearn.models.weights import fingerprint

HEAD = ("fc_norm", "head", "decoder")
"""What belongs to the task and not to the backbone, by its name in the model: always trained."""
FACTS = "radlearn.json"
HEAD_WEIGHTS = "head.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class TunerConfig:
    """How a backbone is tuned.

    Attributes:
        name: of `radlearn.adapters.ADAPTERS`.
        rank: of LoRA, of query and of value each; of the others their own size, see docs/tuners.md.
        alpha: LoRA's update is scaled by alpha / rank.
        dropout: on what goes into LoRA's A, in [0, 1).
        where: the layers to tune: a regular expression for the end of their names, from a dot on
            ("attn.qkv", "qkv|fc1", "blocks[.][0-3][.].*"); empty for the tuner's own choice.
        steps: updates in all, where a tuner plans by them.
        options: further arguments of the tuner's configuration in peft, by name.
    """

    name: str = "lora"
    rank: int = 4
    alpha: float = 32.0
    dropout: float = 0.1
    where: str = ""
    steps: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.alpha < math.inf or not 0 <= self.dropout < 1:
            raise InputError(
                f"{self.name} of rank {self.rank}, alpha {self.alpha}, dropout {self.dropout} does "
                "not exist; give a rank and an alpha above 0 and a dropout in [0, 1)"
            )


@dataclass(frozen=True)
class Adapter:
    """A way of tuning a timm model, or the one inside a model's `backbone`.

    Attributes:
        attach: freezes and wraps in place and gives back the model; the logits stay what they were.
        save: writes what was trained to a folder, with facts such as {"labels": [...]}.
        load: attaches what `save` wrote to a plain model, in place.
        merge: a plain model of the same logits; the model itself where that cannot be.
        about: what trains, in a line.
        paper: where it comes from.
        size: what `TunerConfig.rank` is to it; empty where it is nothing.
        after: makes, of an attached model, what is to be called after every update.
        terms: what is added to the loss.
        mergeable: whether `merge` gives a plain timm model.
        same_start: whether the logits are the same after `attach`.
        peft: whether peft itself loads what `save` wrote.
    """

    attach: Callable[[nn.Module, TunerConfig], nn.Module]
    save: Callable[[nn.Module, Path, Mapping[str, Any]], None]
    load: Callable[[nn.Module, Path], nn.Module]
    merge: Callable[[nn.Module], nn.Module]
    about: str
    paper: str = ""
    size: str = ""
    after: Callable[[nn.Module], Callable[[], None]] | None = None
    terms: Callable[[nn.Module], dict[str, Tensor]] | None = None
    mergeable: bool = True
    same_start: bool = True
    peft: bool = False


def read_options(given: Sequence[str]) -> dict[str, Any]:
    """Settings written as "name=value", values as JSON or as plain text.

    Raises:
        InputError: one is not written so.
    """
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise InputError(f"--tuner-options {one}: write it as name=value")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def refuse(config: TunerConfig, *names: str) -> None:
    """Raise InputError where a setting is given that the tuner has no use for."""
    for name in names:
        if getattr(config, name):
            flag = {"options": "--tuner-options"}.get(name, f"--{name}")
            raise InputError(f"--tuner {config.name} has no use for {flag}; leave it out")


def backbone_of(model: nn.Module) -> nn.Module:
    """The timm model: `model.backbone` where a task has wrapped it, else `model` itself."""
    inner = getattr(model, "backbone", None)
    return inner if isinstance(inner, nn.Module) else model


def is_head(name: str) -> bool:
    """Whether a parameter or module of this name belongs to the head."""
    return name.split(".", 1)[0] in HEAD


def head_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the head by their names in the model."""
    return {name: value for name, value in model.state_dict().items() if is_head(name)}


def head_in_backbone(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the head where it is the timm model's own."""
    return head_tensors(model) if backbone_of(model) is model else {}


def head_beside(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the head where a task has put it beside the timm model."""
    return {} if backbone_of(model) is model else head_tensors(model)


def modules_to_save(head: Mapping[str, Tensor]) -> list[str] | None:
    """What peft calls a head: the modules that it saves whole."""
    return sorted({name.split(".", 1)[0] for name in head}) or None


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Shapes by name."""
    return {name: value.shape for name, value in tensors.items()}


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What trains, by its name in the model, and the rest of the head (its buffers)."""
    found = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return found | head_tensors(model)


def freeze_backbone(model: nn.Module) -> None:
    """Leave only the head to train.

    Raises:
        InputError: the model has no head.
    """
    if not head_tensors(model):
        raise InputError(f"{type(model).__name__} has no head to train; build it with labels")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_head(name))


def narrow_frozen(model: nn.Module) -> None:
    """Keep frozen weights of linear layers and convolutions in bfloat16, in place.

    Autocast makes the very same of them whenever they are used, so that no answer changes by a bit;
    half of their memory is saved, and the copies. Layers that peft has wrapped are left alone.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and "base_layer" not in name.split("."):
            for parameter in (module.weight, module.bias):
                if parameter is not None and not parameter.requires_grad:
                    parameter.data = parameter.data.bfloat16()


def backbone_fingerprint(model: nn.Module) -> str:
    """Fingerprint of a plain model's weights without its head."""
    state = backbone_of(model).state_dict()
    return fingerprint({k: v for k, v in state.items() if not is_head(k)})


def remember_backbone(model: nn.Module) -> None:
    """Note the fingerprint on the model before training, or a cast, can touch the weights."""
    model.backbone_fingerprint = backbone_fingerprint(model)  # type: ignore[assignment]


def write_facts(
    model: nn.Module, folder: Path, tuner: TunerConfig, info: Mapping[str, Any]
) -> None:
    """Write what the tensors belong to: `info`, the tuner and the backbone's fingerprint."""
    ours = {"format": FORMAT, "tuner": asdict(tuner), "backbone": model.backbone_fingerprint}
    write_json(folder / FACTS, {**info, **ours})


def read_facts(folder: Path, tuner: str) -> dict[str, Any]:
    """Read what `write_facts` wrote.

    Raises:
        InputError: no adapter is there, or one of another tuner or format.
    """
    facts = read_json(folder / FACTS, "an adapter")
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise InputError(f"{folder / FACTS} is not of format {FORMAT}; save the adapter again")
    named = facts.get("tuner")
    found = named.get("name") if isinstance(named, dict) else None
    if found != tuner:
        raise InputError(f"{folder} holds the tuner {found!r}, not {tuner!r}; load it as that")
    return facts


def saved_config(facts: Mapping[str, Any], folder: Path) -> TunerConfig:
    """The settings that an adapter was trained with.

    Raises:
        InputError: they are no settings.
    """
    try:
        found = TunerConfig(**facts["tuner"])
        numbers = (found.rank, found.alpha, found.dropout)
        if not all(isinstance(one, int | float) for one in numbers) or type(found.rank) is not int:
            raise TypeError(f"rank, alpha and dropout are {numbers}")
    except TypeError as error:
        raise InputError(f"{folder} does not hold a tuner's settings: {error}") from error
    return found


def check_backbone(model: nn.Module, facts: Mapping[str, Any], folder: Path) -> None:
    """Make sure that the plain `model` is the one that the adapter was trained on.

    Raises:
        InputError: it is another one.
    """
    expected, found = facts.get("backbone"), backbone_fingerprint(model)
    if expected != found:
        raise InputError(
            f"the adapter in {folder} belongs to the backbone {str(expected)[:16]}, "
            f"and this one is {found[:16]}; load it onto the weights it was trained from"
        )


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; views and shared storage become copies."""
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata={"format": "pt"})


def read_tensors(path: Path, expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Read exactly the expected tensors; names and shapes are checked before any is read.

    Raises:
        InputError: no such file, not safetensors, other names, shapes or types, or not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            odd = sorted(
                name
                for name in found.keys() | expected.keys()
                if found.get(name) != expected.get(name)
            )
            if odd:
                there, wanted = found.get(odd[0]), expected.get(odd[0])
                raise InputError(
                    f"{path} does not fit this model: {len(odd)} tensors differ, such as {odd[0]} "
                    f"({_shape(there)} in the file, {_shape(wanted)} in the model); "
                    "load it onto the same architecture and number of labels"
                )
            tensors = {name: file.get_tensor(name) for name in expected}
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {path}: {error}; save the adapter again") from error
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{name} of {path} holds values that are not finite; train again")
    return tensors


def _shape(size: torch.Size | None) -> str:
    return "absent" if size is None else "x".join(map(str, size)) or "scalar"
