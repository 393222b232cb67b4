"""Weights, gradients and optimiser spread over processes (FSDP), for encoders too large for one.

What is saved and loaded is whole, the same as without it, so that a run may go on either way.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from radlearn.engine.device import Compute

BLOCK = re.compile(r"(^|\.)blocks\.\d+$")


class Shards:
    """A module whose blocks, and what is left of it, are spread over the processes.

    Args:
        module: whose forward is a whole step; it is changed in place until `undo`.
        optimizer: of its weights, without state yet; it gets those that are here.
    """

    def __init__(self, module: nn.Module, optimizer: Optimizer, here: Compute) -> None:
        self.module, self.optimizer = module, optimizer
        self._places = [
            (part, name) for part in module.modules() for name in part._parameters if name
        ]
        self._kinds = [(part, type(part)) for part in module.modules()]
        plain = _hooks(module)
        names = {id(p): name for name, p in module.named_parameters(remove_duplicate=False)}
        mesh = init_device_mesh(here.device.type, (here.world,))
        for block in _blocks(module):
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh, reshard_after_forward=False)
        own = dict(module.named_parameters(remove_duplicate=False))
        for group in optimizer.param_groups:
            group["params"] = [own[names[id(p)]] for p in group["params"]]
        self._hooks, self._plain_hooks = _hooks(module), plain

    def _parts(self) -> list[FSDPModule]:
        return [part for part in self.module.modules() if isinstance(part, FSDPModule)]

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All weights in every process, so that each may run parts of the module on its own."""
        for part in self._parts():
            part.unshard()
        _hang(self._plain_hooks)  # a forward pass would be remembered, and each has its own here
        try:
            yield
        finally:
            _hang(self._hooks)
            for part in self._parts():
                part.reshard()

    def undo(self) -> None:
        """Plain weights again, whole in every process."""
        for part in self._parts():
            part.reshard()
        for owner, name in self._places:
            weight = owner._parameters[name]
            if isinstance(weight, DTensor):
                plain = nn.Parameter(weight.full_tensor().detach(), weight.requires_grad)
                owner._parameters[name] = plain
        _hang(self._plain_hooks)
        for owner, kind in self._kinds:
            owner.__class__ = kind

    def of(self, state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
        """Of whole weights and buffers what a network of the module holds here."""
        own = net.state_dict()
        return {name: _part_of(value, own.get(name)) for name, value in state.items()}

    def of_optimizer(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The same of an optimiser's state."""
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        rows = {
            at: {name: _part_of(value, weights[at]) for name, value in row.items()}
            for at, row in state["state"].items()
        }
        return {**state, "state": rows}

    def gathered(self, tree: Any) -> Any:
        """Nested dictionaries and lists with whole tensors; all processes have to call it."""
        if isinstance(tree, DTensor):
            return tree.full_tensor().detach()
        if isinstance(tree, Mapping):
            return {name: self.gathered(value) for name, value in tree.items()}
        if isinstance(tree, list):
            return [self.gathered(value) for value in tree]
        return tree


Hooks = list[tuple[dict[Any, Any], dict[Any, Any]]]


def _hooks(module: nn.Module) -> Hooks:
    """Each dictionary of hooks in a module, and what is in it now."""
    found = [
        value
        for part in module.modules()
        for name, value in vars(part).items()
        if name.endswith("_hooks") and isinstance(value, dict)
    ]
    return [(hooks, hooks.copy()) for hooks in found]


def _hang(known: Hooks) -> None:
    for hooks, those in known:
        hooks.clear()
        hooks.update(those)


def _blocks(module: nn.Module) -> list[nn.Module]:
    """Of timm backbones, called whole in every forward pass; decoders call theirs in pieces."""
    backbones = [part for part in module.modules() if hasattr(type(part), "group_matcher")]
    return [
        part
        for backbone in backbones
        for name, part in backbone.named_modules()
        if BLOCK.search(name)
    ]


def _part_of(value: Any, own: Tensor | None) -> Any:
    if not isinstance(own, DTensor) or not isinstance(value, Tensor) or value.shape != own.shape:
        return value
    value = value.to(own.device)
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)
