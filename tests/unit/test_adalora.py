"""AdaLoRA's plan: ranks are given up as peft decides; a stopped run goes on to the same bits."""

import timm
import torch
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.adalora import factors
from radlearn.engine.loop import changing_state

STEPS = 20
ADALORA = ADAPTERS["adalora"]


def images() -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Run:
    """A model in training, its optimiser, and the hook after every update."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        size = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
        model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **size)
        config = TunerConfig("adalora", rank=2, dropout=0.0, steps=STEPS)
        self.model: nn.Module = ADALORA.attach(model, config)
        assert ADALORA.after is not None
        self.after = ADALORA.after(self.model)
        trains = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trains, lr=0.01)

    def train(self, steps: int) -> None:
        assert ADALORA.terms is not None
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.model(images()).square().mean() + ADALORA.terms(self.model)["orthogonality"]
            loss.backward()
            self.optimizer.step()
            self.after()

    def ranks(self) -> int:
        """How many ranks are left over all layers."""
        return sum(
            int((value != 0).sum()) for name, value in factors(self.model).items() if "_E" in name
        )


def test_ranks_are_given_up_down_to_the_target() -> None:
    run = Run()
    run.train(STEPS // 2)
    half = run.ranks()
    run.train(STEPS // 2)
    layers = sum("lora_E" in name for name in factors(run.model))
    assert 2 * layers >= run.ranks() > 0
    assert 3 * layers > half >= run.ranks()


def test_a_stopped_run_goes_on_to_the_same_bits() -> None:
    through = Run()
    through.train(STEPS)
    for stop in (5, 12, 17):
        first = Run()
        first.train(stop)
        state = {name: value.clone() for name, value in changing_state(first.model).items()}
        second = Run()
        second.model.load_state_dict(state, strict=False)
        second.optimizer.load_state_dict(first.optimizer.state_dict())
        second.train(STEPS - stop)
        found, expected = second.model.state_dict(), through.model.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
