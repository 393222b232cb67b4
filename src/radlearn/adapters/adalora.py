"""AdaLoRA's plan: which ranks are kept, decided after every update (Zhang et al., ICLR 2023).

peft keeps the importance of each weight in Python objects. Here it is kept in buffers of the model
besides, so that a run that was stopped goes on with the same bits.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from radlearn.adapters.library import ONE, injected
from radlearn.adapters.tuner import backbone_of

WEIGHT = 0.5
"""Of the term that keeps the factors orthogonal: peft's default and the largest of the paper."""


class Importance(nn.Module):
    """What the plan remembers between updates, by parameter: sensitivity, uncertainty, kept ranks.

    Its buffers are numbered by the parameters' order; `step` counts updates.
    """

    step: Tensor

    def __init__(self, factors: dict[str, nn.Parameter]) -> None:
        super().__init__()
        self.names = list(factors)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        for at, value in enumerate(factors.values()):
            self.register_buffer(f"sensitivity{at}", torch.zeros_like(value))
            self.register_buffer(f"uncertainty{at}", torch.zeros_like(value))
            if "lora_E" in self.names[at]:
                kept = torch.ones(len(value), dtype=torch.bool, device=value.device)
                self.register_buffer(f"kept{at}", kept)

    def into(self, allocator: Any, config: Any) -> None:
        """Give peft what was remembered."""
        allocator.ipt = {name: torch.zeros(()) for name in self.names}  # made anew at each update
        allocator.exp_avg_ipt = self._named("sensitivity")
        allocator.exp_avg_unc = self._named("uncertainty")
        config.rank_pattern = {name: kept.tolist() for name, kept in self._named("kept").items()}

    def out_of(self, allocator: Any, config: Any) -> None:
        """Remember what peft has now; it forgets sensitivities when the last ranks are decided."""
        for kind, found in (
            ("sensitivity", allocator.exp_avg_ipt),
            ("uncertainty", allocator.exp_avg_unc),
        ):
            for name, buffer in self._named(kind).items():
                buffer.copy_(found.get(name, torch.zeros_like(buffer)))
        for name, buffer in self._named("kept").items():
            buffer.copy_(torch.tensor(config.rank_pattern[name]))

    def _named(self, kind: str) -> dict[str, Tensor]:
        found = dict(self.named_buffers())
        return {
            name: found[f"{kind}{at}"]
            for at, name in enumerate(self.names)
            if f"{kind}{at}" in found
        }


def factors(model: nn.Module) -> dict[str, nn.Parameter]:
    """AdaLoRA's A, B and E by their names in the timm model."""
    return {
        name: value
        for name, value in backbone_of(model).named_parameters()
        if "lora_" in name and ONE in name
    }


def after(model: nn.Module) -> Callable[[], None]:
    """What is to be called after every update, while gradients are there.

    The plan's memory is put on the model, so call this before a saved state is loaded.
    """
    wrapped = injected(model).peft
    tuner, config = wrapped.base_model, wrapped.peft_config[ONE]
    memory = Importance(factors(model))
    model.importance = memory

    def update() -> None:
        memory.into(tuner.rankallocator, config)
        memory.step += 1
        tuner.update_and_allocate(int(memory.step))
        memory.out_of(tuner.rankallocator, config)
        config.rank_pattern = None  # ranks that were given up are zeros; none is cut off on saving

    return update


def terms(model: nn.Module) -> dict[str, Tensor]:
    """How far the factors are from orthonormal (eq. 4), the mean over them."""
    found = []
    for name, value in factors(model).items():
        if "lora_E" not in name:
            square = value @ value.T if "lora_A" in name else value.T @ value
            found.append((square - torch.eye(len(square), device=value.device)).norm())
    return {"orthogonality": WEIGHT * torch.stack(found).mean()}
