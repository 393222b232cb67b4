"""The terms of each mode, the order of its updates, the pool, and training that resumes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from radlearn.engine.device import Compute
from radlearn.engine.folder import RunFolder
from radlearn.engine.loop import FitConfig, fit
from radlearn.models.registration import warp
from radlearn.translation.modes import MODES
from radlearn.translation.networks import NetworksConfig, build_networks
from radlearn.translation.pool import pooled
from radlearn.translation.terms import critic_terms, generator_terms, translation_phases

CPU = Compute(torch.device("cpu"), bfloat16=False)
CONFIG = NetworksConfig(size="tiny", side=24)
REGISTERED = {"registration", "smoothness"}
CYCLE = {"adversarial_b", "adversarial_a", "cycle_a", "cycle_b"}
TERMS = {
    "nc": {"adversarial_b"},
    "c": CYCLE,
    "nc+r": {"adversarial_b"} | REGISTERED,
    "c+r": CYCLE | REGISTERED,
    "p2p": {"adversarial_b", "direct"},
    "p2p+r": {"adversarial_b"} | REGISTERED,
}


def make_batch(step: int) -> dict[str, Any]:
    made = torch.Generator().manual_seed(step)
    a, b = torch.rand(2, 2, 1, 24, 24, generator=made) * 2 - 1
    return {"source": a, "target": b, "ids": [f"pair-{step}"]}


def networks(mode: str) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return build_networks(MODES[mode], CONFIG)


class Shown(nn.Module):
    """A critic that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.images: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images.append(images.detach().clone())
        return self.scale * images.flatten(1).mean(1)


@pytest.mark.parametrize("mode", MODES)
def test_a_network_that_is_absent_drops_its_terms(mode: str) -> None:
    nets = networks(mode)
    generate, judge = translation_phases(nets, MODES[mode])
    terms, carry = generate.terms(make_batch(0), {})
    assert terms.keys() == TERMS[mode]
    torch.stack(list(terms.values())).sum().backward()
    for name, net in nets.items():
        learns = [p.grad is not None for p in net.parameters()]
        assert not any(learns) if name.startswith("D_") else all(learns), name
        net.zero_grad()
    terms, carry = judge.terms(make_batch(0), carry)
    sides = [side for side in "ab" if f"D_{side}" in nets]
    assert list(terms) == [f"critic_{side}_{kind}" for side in sides for kind in ("real", "made")]
    torch.stack(list(terms.values())).sum().backward()
    for name, net in nets.items():
        learns = [p.grad is not None for p in net.parameters()]
        assert all(learns) if name.startswith("D_") else not any(learns), name
    pools = set() if MODES[mode].fresh else {f"pool_{side}" for side in sides}
    assert carry.keys() == pools


def test_terms_are_the_equation() -> None:
    nets, batch = networks("c+r"), make_batch(3)
    a, b = batch["source"], batch["target"]
    with torch.no_grad():
        terms, _ = generator_terms(nets, MODES["c+r"], batch)
        fake_a, fake_b = nets["G_ba"](b), nets["G_ab"](a)
        phi = nets["R"](fake_b, b)
        rows, columns = phi.diff(dim=2), phi.diff(dim=3)
        expected = {
            "adversarial_a": (nets["D_a"](fake_a) - 1).square().mean(),
            "adversarial_b": (nets["D_b"](fake_b) - 1).square().mean(),
            "registration": 20 * (b - warp(fake_b, phi)).abs().mean(),
            "smoothness": 10 * (rows.square().mean() + columns.square().mean()),
            "cycle_a": 10 * (nets["G_ba"](fake_b) - a).abs().mean(),
            "cycle_b": 10 * (nets["G_ab"](fake_a) - b).abs().mean(),
        }
        direct, _ = generator_terms(networks("p2p"), MODES["p2p"], batch)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(direct["direct"], 100 * (fake_b - b).abs().mean())


@pytest.mark.parametrize("mode", MODES)
def test_critics_judge_the_fake_of_before_or_after_the_update_as_the_mode_says(mode: str) -> None:
    nets = networks(mode) | {n: Shown() for n in MODES[mode].networks if n.startswith("D_")}
    generate, judge = translation_phases(nets, MODES[mode])
    batch = make_batch(0)
    with torch.no_grad():
        before = nets["G_ab"](batch["source"])
    terms, carry = generate.terms(batch, {})
    torch.stack(list(terms.values())).sum().backward()
    generate.optimizer.step()
    with torch.no_grad():
        after = nets["G_ab"](batch["source"])
    judge.terms(batch, carry)
    _, real, made = nets["D_b"].images
    torch.testing.assert_close(real[:, -1:], batch["target"])
    torch.testing.assert_close(made[:, -1:], after if MODES[mode].fresh else before)
    assert not torch.allclose(before, after)
    assert made.shape[1] == (2 if MODES[mode].conditional else 1)
    if MODES[mode].conditional:
        torch.testing.assert_close(made[:, :1], batch["source"])
        torch.testing.assert_close(real[:, :1], batch["source"])


def test_critic_losses_are_sums_and_not_halved() -> None:
    nets: dict[str, nn.Module] = {"G_ab": nn.Identity(), "D_b": Shown()}
    batch = {"source": torch.full((2, 1, 4, 4), 0.5), "target": torch.full((2, 1, 4, 4), -1.0)}
    terms, _ = critic_terms(nets, replace(MODES["nc"], fresh=True, pool=0), batch, {})
    assert terms["critic_b_real"].item() == pytest.approx(4.0)
    assert terms["critic_b_made"].item() == pytest.approx(0.25)


def test_networks_have_to_be_those_of_the_mode() -> None:
    with pytest.raises(ValueError, match="made of"):
        translation_phases(networks("nc"), MODES["nc+r"])


def test_the_pool_fills_first_then_exchanges_about_half() -> None:
    torch.manual_seed(0)
    pool: list[torch.Tensor] = []
    exchanged = 0
    for step in range(400):
        fake = torch.full((1, 1, 2, 2), float(step))
        before = list(pool)
        shown, pool = pooled(pool, fake, 50)
        assert len(pool) == min(step + 1, 50)
        if shown.flatten()[0] != step:
            exchanged += 1
            assert any(torch.equal(shown[0], old) for old in before)
            assert not any(torch.equal(shown[0], kept) for kept in pool)
            assert any(torch.equal(fake[0], kept) for kept in pool)
        else:
            assert torch.equal(shown, fake)
        assert step < 50 or len(before) == 50
        assert step >= 50 or exchanged == 0
    assert 140 < exchanged < 210


def test_the_pool_is_a_function_of_the_seed_and_leaves_what_it_was_given() -> None:
    pool = [torch.full((1, 2, 2), float(n)) for n in range(3)]
    fakes = torch.arange(10.0, 15.0).reshape(5, 1, 1, 1).expand(5, 1, 2, 2)
    results = []
    for _ in range(2):
        torch.manual_seed(4)
        results.append(pooled(pool, fakes, 3))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(x, y) for x, y in zip(results[0][1], results[1][1], strict=True))
    assert [float(each[0, 0, 0]) for each in pool] == [0, 1, 2]


def test_a_pool_keeps_one_image_each_and_not_the_batch_they_came_in(tmp_path: Path) -> None:
    _, pool = pooled([], torch.zeros(8, 1, 64, 64), 2)
    torch.save(pool, tmp_path / "pool.pt")
    assert (tmp_path / "pool.pt").stat().st_size < 3 * 64 * 64 * 4
    loaded = torch.load(tmp_path / "pool.pt", weights_only=True)
    assert len(loaded) == 2


def train(path: Path, mode: str, steps: int, save_every: int = 100) -> torch.Tensor:
    nets = networks(mode)
    run = RunFolder.begin(path, "translation", {"mode": mode})
    small = replace(MODES[mode], pool=min(MODES[mode].pool, 3))
    try:
        fit(
            nets,
            translation_phases(nets, small),
            make_batch,
            run=run,
            config=FitConfig(steps=steps, seed=1, log_every=1, save_every=save_every),
            compute=CPU,
            schedule=lambda step: 1e-3,
        )
    finally:
        run.close()
    return torch.cat([p.detach().flatten() for net in nets.values() for p in net.parameters()])


@pytest.mark.parametrize("mode", ["nc+r", "c+r", "p2p"])
def test_a_run_that_goes_on_from_its_state_ends_with_the_same_bits(
    tmp_path: Path, mode: str
) -> None:
    whole = train(tmp_path / "whole", mode, 6)
    train(tmp_path / "parts", mode, 3)
    resumed = train(tmp_path / "parts", mode, 6)
    assert torch.equal(whole, resumed)
