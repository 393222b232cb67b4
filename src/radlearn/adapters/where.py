"""Which layers of a backbone are tuned: by a pattern, or by what its family calls them."""

import re

from torch import nn

from radlearn.adapters.tuner import backbone_of, is_head
from radlearn.errors import InputError

BLOCKS = r"attn\.(?:qkv|[qkv]|[qkv]_proj|proj)|mlp\.fc(?:1|1_g|1_x|2)"
"""Layers tuned where no pattern is given: attention and MLP of ViT and Swin, MLP of ConvNeXt.

A backbone that calls none of its layers so is tuned in all of its linear layers.
"""


def matching(names: list[str], pattern: str) -> list[str]:
    """The names whose end, from a dot on, is what the pattern says.

    Raises:
        InputError: it is no regular expression.
    """
    try:
        wanted = re.compile(rf"(?:^|\.)(?:{pattern})$")
    except re.error as error:
        raise InputError(
            f"--where {pattern} is not a regular expression: {error}; write it as 'qkv|fc1'"
        ) from error
    return [name for name in names if wanted.search(name)]


def chosen(model: nn.Module, found: list[str], where: str, what: str) -> list[str]:
    """The names in `found` that `where` asks for; all of them where it is empty.

    Raises:
        InputError: it asks for none, or there are none.
    """
    names = matching(found, where) if where else found
    if not names:
        some = ", ".join(dict.fromkeys(name.split(".", 2)[-1] for name in found[:40])) or "none"
        asked = f"matching {where!r}" if where else "of the kind"
        raise InputError(
            f"{type(backbone_of(model)).__name__} has no {what} {asked}; it has {some}"
        )
    return names


def layers(model: nn.Module, where: str) -> list[str]:
    """Names, relative to the backbone, of the linear layers to tune; 1x1 convolutions are such.

    Raises:
        InputError: the pattern matches none, or the backbone has none.
    """
    backbone = backbone_of(model)
    found = [
        name
        for name, module in backbone.named_modules()
        if _linear(module) and not is_head(name) and not _bypassed(backbone, name)
    ]
    if where:
        return chosen(model, found, where, "linear layers")
    return matching(found, BLOCKS) or chosen(model, found, "", "linear layers")


def _linear(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        return module.kernel_size == (1, 1) and module.groups == 1
    return type(module) is nn.Linear


def _bypassed(backbone: nn.Module, name: str) -> bool:
    """BEiT, EVA and Swin V2 apply the weight of `qkv` themselves, past any wrapper of it."""
    parent = backbone.get_submodule(name.rpartition(".")[0])
    return name.endswith("qkv") and getattr(parent, "q_bias", None) is not None
