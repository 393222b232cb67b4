"""Tuners of the library peft, through its public functions and in its own format on disk.

peft wraps layers inside the timm model, which stays the model that is trained; the head trains as
it is. `save` writes what `peft.PeftModel.from_pretrained` puts on the plain timm model.
"""

import copy
import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radlearn.adapters.kinds import KINDS, Kind, Shapes
from radlearn.adapters.peft import CONFIG, PREFIX, WEIGHTS
from radlearn.adapters.tuner import (
    HEAD_WEIGHTS,
    TunerConfig,
    backbone_of,
    check_backbone,
    freeze_backbone,
    head_beside,
    head_in_backbone,
    is_head,
    modules_to_save,
    read_facts,
    read_tensors,
    remember_backbone,
    saved_config,
    shapes_of,
    write_facts,
    write_tensors,
)
from radlearn.adapters.where import layers
from radlearn.errors import InputError
from radlearn.files import write_json
from radlearn.models.backbone import backbone_family

ONE = "default"  # peft's name for the one adapter that trains
NOT_OPTIONS = (
    *("auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode"),
    *("layer_replication", "megatron_config", "megatron_core", "modules_to_save", "peft_type"),
    *("revision", "runtime_config", "target_modules", "target_parameters", "task_type"),
)
"""Settings of peft that are ours to make, or that read other files or modules."""


@dataclass(frozen=True)
class Injected:
    """What is kept on a tuned model beside its weights.

    Attributes:
        peft: the `PeftModel` around the timm model, which it shares.
        start: LoRA's factors at the start, where the base weights were changed for them.
    """

    config: TunerConfig
    layers: tuple[str, ...]
    peft: Any
    start: Mapping[str, Tensor]

    @property
    def kind(self) -> Kind:
        return KINDS[self.config.name]


def injected(model: nn.Module) -> Injected:
    """What `attach` left on the model."""
    return model.injected  # type: ignore[return-value]


def attach(model: nn.Module, config: TunerConfig) -> nn.Module:
    """Freeze the backbone and let peft wrap its linear layers, in place.

    Raises:
        InputError: the model has no head or no such layers, or peft cannot tune them so.
    """
    names = layers(model, config.where)
    freeze_backbone(model)
    remember_backbone(model)
    return _inject(model, config, KINDS[config.name], names)


def _inject(model: nn.Module, config: TunerConfig, kind: Kind, names: list[str]) -> nn.Module:
    import peft

    backbone = backbone_of(model)
    if backbone_family(backbone) not in kind.families:
        raise InputError(
            f"{config.name} cannot tune a {type(backbone).__name__}, only backbones of the "
            f"families {', '.join(kind.families)}; choose another tuner, such as lora-all"
        )
    made = _configuration(backbone, config, kind, names)
    heads = [p for name, p in model.named_parameters() if is_head(name)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's, of models that are not of transformers
            wrapped = peft.get_peft_model(backbone, made)
    except (ValueError, TypeError, NotImplementedError, RuntimeError, KeyError) as error:
        raise InputError(
            f"{config.name} cannot tune {names[0]} and the other {len(names) - 1} layers: "
            f"{str(error).splitlines()[0]}; choose other layers by --where, or another tuner"
        ) from error
    for parameter in heads:
        parameter.requires_grad_(True)
    start = {}
    if kind.rewrites:
        state = peft.get_peft_model_state_dict(wrapped)
        start = {name: value.detach().clone() for name, value in state.items()}
    model.injected = Injected(config, tuple(names), wrapped, start)  # type: ignore[assignment]
    return model


def _configuration(backbone: nn.Module, config: TunerConfig, kind: Kind, names: list[str]) -> Any:
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    shapes = _shapes(backbone, names)
    if config.rank > max(shapes.inputs + shapes.outputs):
        raise InputError(
            f"a rank of {config.rank} is more than the widest layer has; give --rank less"
        )
    maker: Any = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind.type)]
    known = {one.name for one in dataclasses.fields(maker)} - set(NOT_OPTIONS)
    if unknown := config.options.keys() - known:
        raise InputError(
            f"{config.name} has no option {min(unknown)!r}; peft's {maker.__name__} has "
            f"{', '.join(sorted(known))}"
        )
    settings = {**kind.settings(config, shapes), **config.options}
    try:
        return maker(target_modules=names, **settings)
    except (ValueError, TypeError) as error:
        raise InputError(f"{config.name} does not take {settings}: {error}") from error


def _shapes(backbone: nn.Module, names: list[str]) -> Shapes:
    weights = [backbone.get_parameter(f"{name}.weight") for name in names]
    return Shapes(
        tuple(names), tuple(w.shape[1] for w in weights), tuple(w.shape[0] for w in weights)
    )


def merge(model: nn.Module) -> nn.Module:
    """A plain model of the same logits; `model` stays as it is."""
    found = injected(model)
    if not found.kind.mergeable:
        return model
    plain = copy.deepcopy(model)
    injected(plain).peft.merge_and_unload()
    del plain.injected
    if hasattr(plain, "importance"):  # AdaLoRA's memory, of no use without it
        del plain.importance
    return plain


def save(model: nn.Module, folder: Path, info: Mapping[str, Any]) -> None:
    """Write the adapter as peft does, head included, and beside it the facts of ours."""
    import peft

    found = injected(model)
    made = copy.deepcopy(found.peft.peft_config[ONE])
    made.inference_mode = True
    tensors = peft.get_peft_model_state_dict(found.peft)
    if found.kind.rewrites:
        tensors = _from_unchanged(tensors, found.start)
        made.r, made.lora_alpha = 2 * made.r, 2 * made.lora_alpha
        made.init_lora_weights = True
    head, beside = head_in_backbone(model), head_beside(model)
    write_tensors(
        folder / WEIGHTS, tensors | {PREFIX + name: value for name, value in head.items()}
    )
    if beside:
        write_tensors(folder / HEAD_WEIGHTS, beside)
    made.modules_to_save = modules_to_save(head)
    write_json(folder / CONFIG, _plain(made.to_dict()))
    write_facts(model, folder, found.config, {**info, "layers": list(found.layers)})


def _from_unchanged(
    tensors: Mapping[str, Tensor], start: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """LoRA of twice the rank on the weights before they were changed: B A - B0 A0."""
    found = {}
    for name, value in tensors.items():
        side, sign = (0, 1) if "lora_A" in name else (1, -1)
        found[name] = torch.cat([value, sign * start[name].to(value.device)], dim=side)
    return found


def _plain(value: Any) -> Any:
    """What json takes, sets in order."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return getattr(value, "value", value)


def load(model: nn.Module, folder: Path, name: str) -> nn.Module:
    """Attach a saved adapter to the plain backbone that it was trained on, in place.

    Args:
        name: of `KINDS`.

    Raises:
        InputError: nothing of the kind is there, it does not fit the model, or the backbone is
            another one.
    """
    import peft

    facts = read_facts(folder, name)
    config, names = saved_config(facts, folder), saved_layers(model, facts, folder)
    check_backbone(model, facts, folder)
    kind = KINDS[name]
    if kind.rewrites:
        config = replace(config, rank=2 * config.rank, alpha=2 * config.alpha)
        kind = KINDS["lora-all"]
    freeze_backbone(model)
    remember_backbone(model)
    _inject(model, config, kind, names)
    found = injected(model)
    head, beside = head_in_backbone(model), head_beside(model)
    shapes = shapes_of(peft.get_peft_model_state_dict(found.peft))
    shapes |= {PREFIX + name: size for name, size in shapes_of(head).items()}
    tensors = read_tensors(folder / WEIGHTS, shapes)
    state = {name: tensors.pop(PREFIX + name) for name in head}
    if beside:
        state |= read_tensors(folder / HEAD_WEIGHTS, shapes_of(beside))
    model.load_state_dict(state, strict=False)
    peft.set_peft_model_state_dict(found.peft, tensors)
    return model


def saved_layers(model: nn.Module, facts: Mapping[str, Any], folder: Path) -> list[str]:
    """The layers that an adapter is on.

    Raises:
        InputError: the model has no such layers.
    """
    there, found = set(layers(model, r".*")), facts.get("layers")
    if not isinstance(found, list) or not found or not there.issuperset(map(str, found)):
        raise InputError(
            f"the adapter in {folder} is on other layers than {type(model).__name__} has; load it "
            "onto the architecture that it was trained on"
        )
    return found
