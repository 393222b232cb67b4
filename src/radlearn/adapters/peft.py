"""LoRA on query and value, trained as MED-PEFT does and saved in PEFT's own format.

timm fuses query, key and value into one layer, `attn.qkv`. Training keeps MED-PEFT's two stacked
matrices (its names, too): `lora_A` (2r, in) and `lora_B` (2 out, r), the query's rows first. On
disk it is one LoRA of rank 2r on the fused layer, alpha doubled, B block-diagonal with the key's
rows zero, so that `peft.PeftModel.from_pretrained` puts it on the plain timm model.
"""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.adapters.tuner import (
    HEAD_WEIGHTS,
    TunerConfig,
    backbone_of,
    check_backbone,
    freeze_backbone,
    head_beside,
    head_in_backbone,
    modules_to_save,
    read_facts,
    read_tensors,
    refuse,
    remember_backbone,
    shapes_of,
    write_facts,
    write_tensors,
)
from radlearn.errors import InputError
from radlearn.files import read_json, write_json

TARGET = "attn.qkv"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # peft's, before the name of everything it saves


def fused_b(lora_B: Float[Tensor, "two_out rank"]) -> Float[Tensor, "three_out two_rank"]:
    """Stacked B of query and value as one B of the fused layer: block-diagonal, no key."""
    rank = lora_B.shape[1]
    query, value = lora_B.chunk(2)
    key = query.new_zeros(query.shape[0], 2 * rank)
    return torch.cat([F.pad(query, (0, rank)), key, F.pad(value, (rank, 0))])


def stacked_b(fused: Float[Tensor, "three_out two_rank"]) -> Float[Tensor, "two_out rank"]:
    """The inverse of `fused_b`.

    Raises:
        InputError: the LoRA changes the key, or mixes query and value.
    """
    rank = fused.shape[1] // 2
    query, _, value = fused.chunk(3)
    stacked = torch.cat([query[:, :rank], value[:, rank:]])
    if not torch.equal(fused_b(stacked), fused):
        raise InputError(
            "this LoRA is not one on query and value alone: its key's rows or its off-diagonal "
            "blocks are not zero; load it with peft"
        )
    return stacked


class QVLoRA(nn.Linear):
    """A fused query-key-value layer with low-rank updates of query and value.

    y = W x + b + (alpha / r) [B_q A_q, 0, B_v A_v] dropout(x)   (Hu et al. 2022, eq. 3)

    It holds the very weight and bias of the layer it stands for, frozen and under their old names.
    A starts Kaiming-uniform (a = sqrt 5) by torch's global generator, B at zero.
    """

    def __init__(self, base: nn.Linear, config: TunerConfig) -> None:
        super().__init__(
            base.in_features, base.out_features, bias=base.bias is not None, device="meta"
        )
        self.weight, self.bias = base.weight, base.bias
        self.config = config
        self.scale = config.alpha / config.rank
        self.dropout = nn.Dropout(config.dropout)
        device, width = base.weight.device, base.out_features // 3
        self.lora_A = nn.Parameter(torch.empty(2 * config.rank, base.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(2 * width, config.rank, device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, input: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        kind = input.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            input = input.to(torch.get_autocast_dtype(kind))  # once, not for every product
        base = F.linear(input, self.weight, self.bias)
        low = F.linear(self.dropout(input), self.lora_A) * self.scale
        # one product that adds in place of three that write: the key's zero rows cost less
        out = torch.addmm(base.flatten(0, -2), low.flatten(0, -2), fused_b(self.lora_B).T)
        return out.view(base.shape)

    def merged(self) -> nn.Linear:
        """The plain layer with the update added to a copy of its weight."""
        plain = nn.Linear(
            self.in_features, self.out_features, bias=self.bias is not None, device="meta"
        )
        update = self.scale * (fused_b(self.lora_B) @ self.lora_A).detach()
        weight = (self.weight.detach() + update).to(self.weight.dtype)
        plain.weight = nn.Parameter(weight, requires_grad=False)
        plain.bias = self.bias
        return plain


def _layers(model: nn.Module, kind: type) -> dict[str, Any]:
    return {
        name: module
        for name, module in model.named_modules()
        if name.endswith(TARGET) and type(module) is kind
    }


def _targets(model: nn.Module) -> dict[str, nn.Linear]:
    """Fused layers of a plain model by name."""
    found = _layers(model, nn.Linear)
    # BEiT and EVA apply the weight of `qkv` themselves, past any wrapper of the layer
    parents = [model.get_submodule(name.rpartition(".")[0]) for name in found]
    if not found or any(getattr(parent, "q_bias", None) is not None for parent in parents):
        raise InputError(
            f"LoRA on query and value needs plain fused {TARGET} layers, as timm's ViT and Swin "
            f"have, and {type(model).__name__} has none; choose another tuner, such as lora-all"
        )
    return found


def attach(model: nn.Module, config: TunerConfig) -> nn.Module:
    """Freeze the backbone and give every fused query-key-value layer its LoRA, in place.

    Raises:
        InputError: the model has no head, or no such layers.
    """
    refuse(config, "where", "options")
    backbone = backbone_of(model)
    targets = _targets(backbone)
    freeze_backbone(model)
    remember_backbone(model)
    for name, base in targets.items():
        backbone.set_submodule(name, QVLoRA(base, config))
    return model


def merge(model: nn.Module) -> nn.Module:
    """A plain timm model of the same logits, for use without LoRA; `model` stays as it is."""
    plain = copy.deepcopy(model)
    backbone = backbone_of(plain)
    for name, layer in _layers(backbone, QVLoRA).items():
        backbone.set_submodule(name, layer.merged())
    return plain


def save(model: nn.Module, folder: Path, info: Mapping[str, Any]) -> None:
    """Write the adapter as PEFT does, head included, and beside it the facts of ours."""
    tensors = {}
    for name, layer in _layers(backbone_of(model), QVLoRA).items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = layer.lora_A
        tensors[f"{PREFIX}{name}.lora_B.weight"] = fused_b(layer.lora_B)
        config = layer.config
    head, beside = head_in_backbone(model), head_beside(model)
    tensors |= {PREFIX + name: value for name, value in head.items()}
    write_tensors(folder / WEIGHTS, tensors)
    if beside:
        write_tensors(folder / HEAD_WEIGHTS, beside)
    write_json(folder / CONFIG, _peft_config(config, head))
    write_facts(model, folder, config, info)


def load(model: nn.Module, folder: Path) -> nn.Module:
    """Attach a saved adapter to the plain backbone that it was trained on, in place.

    Raises:
        InputError: nothing of the kind is there, it is not a LoRA of ours, it does not fit the
            model, or the backbone is another one.
    """
    facts = read_facts(folder, "lora")
    head, beside = head_in_backbone(model), head_beside(model)
    config = _checked_config(folder / CONFIG, head)
    shapes = {PREFIX + name: value.shape for name, value in head.items()}
    backbone = backbone_of(model)
    targets = _targets(backbone)
    for name, base in targets.items():
        shapes[f"{PREFIX}{name}.lora_A.weight"] = torch.Size((2 * config.rank, base.in_features))
        shapes[f"{PREFIX}{name}.lora_B.weight"] = torch.Size((base.out_features, 2 * config.rank))
    tensors = read_tensors(folder / WEIGHTS, shapes)
    state = {name: tensors[PREFIX + name] for name in head}
    for name in targets:
        state[f"{name}.lora_A"] = tensors[f"{PREFIX}{name}.lora_A.weight"]
        state[f"{name}.lora_B"] = stacked_b(tensors[f"{PREFIX}{name}.lora_B.weight"])
    others = read_tensors(folder / HEAD_WEIGHTS, shapes_of(beside)) if beside else {}
    check_backbone(model, facts, folder)
    attach(model, config).load_state_dict(others, strict=False)
    backbone.load_state_dict(state, strict=False)
    return model


def _peft_config(config: TunerConfig, head: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "r": 2 * config.rank,
        "lora_alpha": 2 * config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": [TARGET],
        "modules_to_save": modules_to_save(head),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "task_type": None,
        "base_model_name_or_path": None,
    }


def _checked_config(path: Path, head: Mapping[str, Tensor]) -> TunerConfig:
    """The settings of an adapter that may come from anywhere."""
    found = read_json(path, "an adapter")
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a configuration of peft; save the adapter again")
    rank, alpha, dropout = (found.get(key) for key in ("r", "lora_alpha", "lora_dropout"))
    if (
        type(rank) is not int
        or rank % 2
        or not isinstance(alpha, int | float)
        or not isinstance(dropout, int | float)
    ):
        raise InputError(
            f"{path} gives r {rank!r}, lora_alpha {alpha!r}, lora_dropout {dropout!r}; a LoRA on "
            "query and value has an even r and numbers; save the adapter again"
        )
    config = TunerConfig("lora", rank // 2, alpha / 2, float(dropout))
    expected = _peft_config(config, head) | {
        "use_dora": False,
        "use_rslora": False,
        "lora_bias": False,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    free = ("task_type", "base_model_name_or_path", "inference_mode")
    for key in expected.keys() - set(free):
        value = found.get(key, expected[key])
        if isinstance(value, list):
            value = sorted(map(str, value))  # peft writes sets in any order
        if value != expected[key] and (value or expected[key]):
            raise InputError(
                f"{path} has {key} {value!r} where a LoRA on query and value has "
                f"{expected[key]!r}; load it with peft"
            )
    return config
