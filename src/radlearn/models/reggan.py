"""RegGAN's published networks: told by their names, sized by their shapes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.generators.resnet import SIZES, ResNetConfig, ResNetGenerator
from radlearn.models.critics import Critic, CriticConfig
from radlearn.models.registration import Registration, RegistrationConfig
from radlearn.models.vit_shapes import fits

Shapes = Mapping[str, torch.Size]

NAMES = ("netG_A2B", "netG_B2A", "netD_A", "netD_B", "R_A")
"""The authors' names; a file of one state dict alone does not say which of a kind it is."""


@dataclass(frozen=True)
class Network:
    """One network as its shapes describe it.

    Attributes:
        kind: "G", "D" or "R".
        state: by the published names, which are ours.
    """

    kind: str
    config: ResNetConfig | CriticConfig | RegistrationConfig
    state: dict[str, Tensor]

    @property
    def described(self) -> str:
        made: Any = self.config
        if self.kind == "G":
            return (
                f"generator, {made.width} wide, {made.blocks} residual blocks, "
                f"{made.channels_in} channels to {made.channels_out}"
            )
        if self.kind == "D":
            return f"critic, {made.width} wide, of {made.channels} channels (for training only)"
        return f"registration network, {len(made.widths)} levels, {made.channels} channels"

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.state.values())


def read_networks(tensors: Mapping[str, Tensor]) -> dict[str, Network] | None:
    """Every network of RegGAN in a file by its published name; None where there is none.

    A state dict alone is called by the one of its kind that translates or registers A to B.

    Raises:
        InputError: a network is not whole, or something else stands beside it.
    """
    named = {name for name in NAMES if any(key.startswith(f"{name}.") for key in tensors)}
    if not named:
        kind = _kind(tensors)
        if kind is None:
            return None
        return {{"G": "netG_A2B", "D": "netD_B", "R": "R_A"}[kind]: _network(kind, tensors)}
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in NAMES if name in named}
    for key, tensor in tensors.items():
        name, _, rest = key.partition(".")
        if name not in parts:
            raise InputError(f"{key} stands beside RegGAN's networks and is of none of them")
        parts[name][rest] = tensor
    networks = {}
    for name, part in parts.items():
        kind = _kind(part)
        if kind is None:
            raise InputError(f"{name} is none of RegGAN's networks, by the names in it")
        networks[name] = _network(kind, part)
    return networks


def size_of(config: ResNetConfig) -> Any:
    """The name of a generator's size, None where it is none of ours."""
    return next((n for n, size in SIZES.items() if size == (config.width, config.blocks)), None)


def _kind(tensors: Mapping[str, Tensor]) -> str | None:
    first = {"G": "model_head.1.weight", "R": "offset_map.c1.conv2d.weight"}
    for kind, name in first.items():
        if name in tensors:
            return kind
    critic = tensors.get("model.0.weight")
    return "D" if critic is not None and critic.ndim > 2 and critic.shape[2] == 4 else None


def _network(kind: str, tensors: Mapping[str, Tensor]) -> Network:
    of: dict[str, tuple[Callable[[Shapes], Any], Callable[[Any], nn.Module]]] = {
        "G": (_generator, ResNetGenerator),
        "D": (_critic, Critic),
        "R": (_registration, Registration),
    }
    read, build = of[kind]
    try:
        config = read({name: tensor.shape for name, tensor in tensors.items()})
        with torch.device("meta"):
            net = build(config)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise InputError(
            f"it begins as RegGAN's {kind} does and is not one: {str(error)[:200]}; get the whole "
            "file"
        ) from error
    left = fits(tensors, net, f"RegGAN's {kind}")
    if left:
        raise InputError(
            f"it holds {len(left)} tensors that RegGAN's {kind} of its shapes has not, such as "
            f"{left[0]}; save the network's state_dict alone"
        )
    return Network(kind, config, dict(tensors))


def _generator(shapes: Shapes) -> ResNetConfig:
    first = shapes["model_head.1.weight"]
    blocks = sum(name.endswith("conv_block.1.weight") for name in shapes)
    last = shapes["model_tail.7.weight"]
    return ResNetConfig(first[1], last[0], len(first) - 2, first[0], blocks)


def _critic(shapes: Shapes) -> CriticConfig:
    first = shapes["model.0.weight"]
    return CriticConfig(first[1], len(first) - 2, first[0])


def _registration(shapes: Shapes) -> RegistrationConfig:
    levels = sum(name.endswith("conv_0.conv2d.weight") for name in shapes)
    downs = [shapes[f"offset_map.down_{at}.conv_0.conv2d.weight"] for at in range(1, levels + 1)]
    return RegistrationConfig(
        channels=downs[0][1] // 2,
        dims=len(downs[0]) - 2,
        widths=tuple(down[0] for down in downs),
        middle=shapes["offset_map.c1.conv2d.weight"][0],
        blocks=sum(
            name.startswith("offset_map.t.") and name.endswith("conv_block.1.weight")
            for name in shapes
        ),
    )
