"""Every host in every mode that it has: who learns when, losses, answers, what is refused."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from radlearn.engine.device import Compute
from radlearn.engine.folder import RunFolder
from radlearn.engine.loop import FitConfig, fit
from radlearn.errors import InputError
from radlearn.generators import GENERATORS
from radlearn.generators.munit import STYLES, adain
from radlearn.models.adalin import LIN, LINMixture
from radlearn.models.critics import MultiScaleCritic
from radlearn.models.spectral import SpectralConv
from radlearn.translation.modes import MODES
from radlearn.translation.networks import NetworksConfig, build_networks
from radlearn.translation.terms import generator_terms, translating, translation_phases

CPU = Compute(torch.device("cpu"), bfloat16=False)
OWN = [name for name, host in GENERATORS.items() if host.losses]
CASES = [
    (host, mode)
    for host in GENERATORS
    for mode in MODES
    if GENERATORS[host].needs <= MODES[mode].networks
]
SIDE = 32


def networks(host: str, mode: str = "c+r", **settings: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    config = NetworksConfig(host, "tiny", 2, 1, side=SIDE)
    return build_networks(MODES[mode], replace(config, **settings))


def make_batch(step: int) -> dict[str, Any]:
    drawn = torch.Generator().manual_seed(step)
    images = torch.rand(2, 3, SIDE, SIDE, generator=drawn) * 2 - 1
    return {"source": images[:, :2], "target": images[:, 2:], "ids": [f"pair-{step}"]}


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def train(nets: dict[str, nn.Module], host: str, mode: str, steps: int, lr: float = 1e-3) -> None:
    carry: dict[str, Any] = {}
    phases = translation_phases(nets, MODES[mode], host, lr=lr)
    for step in range(steps):
        torch.manual_seed(step)
        for phase in phases:
            phase.optimizer.zero_grad()
            terms, carry = phase.terms(make_batch(step), carry)
            total(terms).backward()
            phase.optimizer.step()


def learners(nets: dict[str, nn.Module]) -> set[str]:
    """Names of parameters that have a gradient, which they then lose."""
    found = set()
    for name, net in nets.items():
        found |= {f"{name}.{key}" for key, p in net.named_parameters() if p.grad is not None}
        net.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize(("host", "mode"), CASES)
def test_every_parameter_gets_a_gradient_in_exactly_one_phase(host: str, mode: str) -> None:
    nets = networks(host, mode)
    phases, carry, found = translation_phases(nets, MODES[mode], host), {}, []
    for phase in phases:
        terms, carry = phase.terms(make_batch(0), carry)
        assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
        total(terms).backward()
        found.append(learners(nets))
        held = {id(p) for group in phase.optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for n in found[-1] for p in [_parameter(nets, n)]}
    generate, judge = found
    assert not generate & judge
    assert generate | judge == {f"{n}.{k}" for n, net in nets.items() for k in net.state_dict()} - {
        f"{n}.{k}" for n, net in nets.items() for k, _ in net.named_buffers()
    }
    assert judge == {name for name in generate | judge if name.startswith("D_")}


def _parameter(nets: dict[str, nn.Module], name: str) -> Tensor:
    net, _, key = name.partition(".")
    return nets[net].get_parameter(key)


@pytest.mark.parametrize("host", OWN)
def test_registration_adds_its_two_terms_to_the_hosts_own(host: str) -> None:
    nets = networks(host)
    alone = {name: net for name, net in nets.items() if name != "R"}
    torch.manual_seed(1)
    plain, fakes = generator_terms(alone, MODES["c"], make_batch(0), host)
    state = copy.deepcopy({name: net.state_dict() for name, net in nets.items()})
    torch.manual_seed(1)
    with_r, again = generator_terms(nets, MODES["c+r"], make_batch(0), host)
    assert with_r.keys() - plain.keys() == {"registration", "smoothness"}
    assert plain.keys() <= with_r.keys()
    # R starts at almost the identity: what is left is 20 times the plain difference
    expected = 20 * (again["b"] - make_batch(0)["target"]).abs().mean()
    torch.testing.assert_close(with_r["registration"], expected, rtol=1e-2, atol=0)
    assert not any(fake.requires_grad for fake in fakes.values())
    assert state.keys() == nets.keys()


@pytest.mark.parametrize("host", GENERATORS)
def test_three_steps_change_every_network_and_the_same_seed_gives_the_same_bits(host: str) -> None:
    states = []
    for _ in range(2):
        nets = networks(host)
        before = copy.deepcopy({name: net.state_dict() for name, net in nets.items()})
        train(nets, host, "c+r", 3)
        for name, net in nets.items():
            changed = [not torch.equal(v, before[name][k]) for k, v in net.state_dict().items()]
            assert sum(changed) > 0.5 * len(changed), name
        states.append(
            {f"{n}.{k}": v for n, net in nets.items() for k, v in net.state_dict().items()}
        )
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("host", OWN)
def test_a_run_that_goes_on_from_its_state_ends_with_the_same_bits(
    tmp_path: Path, host: str
) -> None:
    def after(path: Path, steps: int) -> Tensor:
        nets = networks(host)
        run = RunFolder.begin(path, "translation", {"host": host})
        try:
            fit(
                nets,
                translation_phases(nets, MODES["c+r"], host),
                make_batch,
                run=run,
                config=FitConfig(steps=steps, seed=1, log_every=1),
                compute=CPU,
                schedule=lambda step: 1e-3,
            )
        finally:
            run.close()
        return torch.cat([v.flatten() for net in nets.values() for v in net.state_dict().values()])

    whole = after(tmp_path / "whole", 4)
    after(tmp_path / "parts", 2)
    assert torch.equal(whole, after(tmp_path / "parts", 4))


@pytest.mark.parametrize("host", GENERATORS)
def test_the_answer_knows_no_chance_and_comes_back_from_its_file(host: str, tmp_path: Path) -> None:
    nets = networks(host)
    train(nets, host, "c+r", 1)
    answer = translating(nets, host).eval()
    source, state = make_batch(5)["source"], torch.get_rng_state()
    with torch.no_grad():
        made = answer(source)
        assert torch.equal(made, answer(source))
        assert torch.equal(torch.get_rng_state(), state)
        torch.testing.assert_close(answer(source[1:]), made[1:])
        assert made.shape == (2, 1, SIDE, SIDE)
        assert made.abs().max() <= 1
        assert answer(torch.zeros(1, 2, 40, 48)).shape == (1, 1, 40, 48)
        save_file(answer.state_dict(), tmp_path / "model.safetensors")
        other = translating(networks(host), host).eval()
        assert not torch.equal(other(source), made)
        other.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
        assert torch.equal(other(source), made)


@pytest.mark.parametrize("host", GENERATORS)
def test_the_answer_is_of_the_networks_that_train_and_can_be_averaged(host: str) -> None:
    nets = networks(host)
    answer = translating(nets, host)
    average = AveragedModel(answer, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(answer)
    start = [p.clone() for p in answer.parameters()]
    train(nets, host, "c+r", 2)
    average.update_parameters(answer)
    moved = 0
    for before, now, mean in zip(start, answer.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(mean, (before + now) / 2)
        moved += not torch.equal(before, now)
    assert moved > 0.5 * len(start)
    average.eval()
    assert torch.equal(average(make_batch(0)["source"]), average(make_batch(0)["source"]))


@pytest.mark.parametrize("host", OWN)
def test_pictures_come_back_better_after_a_few_steps(host: str) -> None:
    """The same smooth pictures each time."""
    nets, losses = networks(host, "c"), []
    batch = {name: F.avg_pool2d(make_batch(0)[name], 9, 1, 4) * 4 for name in ("source", "target")}
    carry: dict[str, Any] = {}
    phases = translation_phases(nets, MODES["c"], host, lr=2e-3)
    for step in range(12):
        torch.manual_seed(step)
        for phase in phases:
            phase.optimizer.zero_grad()
            terms, carry = phase.terms(batch, carry)
            total(terms).backward()
            phase.optimizer.step()
            if "reconstruction_a" in terms:
                losses.append(
                    float((terms["reconstruction_a"] + terms["reconstruction_b"]).detach())
                )
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("host", OWN)
def test_losses_stay_float32_under_autocast(host: str) -> None:
    nets = networks(host)
    carry: dict[str, Any] = {}
    for phase in translation_phases(nets, MODES["c+r"], host):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms, carry = phase.terms(make_batch(0), carry)
        total(terms).backward()
        assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    grads = [p.grad for net in nets.values() for p in net.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_the_terms_of_munit_are_its_equations() -> None:
    nets, batch = networks("munit"), make_batch(1)
    a, b, ab, ba = batch["source"], batch["target"], nets["G_ab"], nets["G_ba"]
    with torch.no_grad():
        torch.manual_seed(3)
        terms, fakes = generator_terms(nets, MODES["c"], batch, "munit")
        torch.manual_seed(3)
        style_a, style_b = torch.randn(2, STYLES), torch.randn(2, STYLES)
        fake_b = ab.decode(ab.content(a), style_b)
        fake_a = ba.decode(ba.content(b), style_a)
        expected = {
            "reconstruction_a": 10 * (ba.decode(ab.content(a), ba.style(a)) - a).abs().mean(),
            "reconstruction_b": 10 * (ab.decode(ba.content(b), ab.style(b)) - b).abs().mean(),
            "content_a": (ba.content(fake_b) - ab.content(a)).abs().mean(),
            "style_b": (ab.style(fake_b) - style_b).abs().mean(),
            "style_a": (ba.style(fake_a) - style_a).abs().mean(),
            "adversarial_b": sum((s - 1).square().mean() for s in nets["D_b"](fake_b)),
        }
        zero = ab.decode(ab.content(a), torch.zeros(2, STYLES))
        torch.testing.assert_close(ab(a), zero)
    torch.testing.assert_close(fakes, {"a": fake_a, "b": fake_b})
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_the_terms_of_unit_are_its_equations() -> None:
    nets, batch = networks("unit"), make_batch(1)
    a, b, ab, ba = batch["source"], batch["target"], nets["G_ab"], nets["G_ba"]
    with torch.no_grad():
        torch.manual_seed(3)
        terms, _ = generator_terms(nets, MODES["c"], batch, "unit")
        torch.manual_seed(3)
        mean_a, mean_b = ab.encode(a), ba.encode(b)
        code_a = mean_a + torch.randn_like(mean_a)
        code_b = mean_b + torch.randn_like(mean_b)
        fake_b = ab.decode(code_a)
        back = ba.encode(fake_b)
        expected = {
            "reconstruction_a": 10 * (ba.decode(code_a) - a).abs().mean(),
            "reconstruction_b": 10 * (ab.decode(code_b) - b).abs().mean(),
            "kl_a": 0.01 * mean_a.square().mean(),
            "cycle_kl_a": 0.01 * back.square().mean(),
            "cycle_a": 10 * (ba.decode(back + torch.randn_like(back)) - a).abs().mean(),
            "adversarial_b": sum((s - 1).square().mean() for s in nets["D_b"](fake_b)),
        }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_the_terms_of_nicegan_are_its_equations() -> None:
    nets, batch = networks("nicegan"), make_batch(1)
    for net in nets.values():
        net.eval()  # so that spectral norms stay
    a, b, ab, ba = batch["source"], batch["target"], nets["G_ab"], nets["G_ba"]
    with torch.no_grad():
        nets["D_b"].encoder.share.fill_(0.5)
        terms, fakes = generator_terms(nets, MODES["c"], batch, "nicegan")
        fake_b = ab(nets["D_a"].encoder(a)[0])
        torch.testing.assert_close(fakes["b"], translating(nets, "nicegan")(a))
        expected = {
            "adversarial_b": sum((s - 1).square().mean() for s in nets["D_b"](fake_b)),
            "cycle_a": 10 * (ba(nets["D_b"].encoder(fake_b)[0]) - a).abs().mean(),
            "reconstruction_a": 10 * (ba(nets["D_a"].encoder(a)[0]) - a).abs().mean(),
            "reconstruction_b": 10 * (ab(nets["D_b"].encoder(b)[0]) - b).abs().mean(),
        }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


@pytest.mark.parametrize("host", OWN)
def test_critics_judge_real_and_made_on_every_scale(host: str) -> None:
    nets, batch = networks(host, "c"), make_batch(2)
    for net in nets.values():
        net.eval()
    generate, judge = translation_phases(nets, MODES["c"], host)
    with torch.no_grad():
        _, carry = generate.terms(batch, {})
        fakes = carry["fakes"]
        terms, carry = judge.terms(batch, carry)
        for side, real in (("a", batch["source"]), ("b", batch["target"])):
            critic = nets[f"D_{side}"]
            expected = sum((score - 1).square().mean() for score in critic(real))
            torch.testing.assert_close(terms[f"critic_{side}_real"], expected)
            expected = sum(score.square().mean() for score in critic(fakes[side]))
            torch.testing.assert_close(terms[f"critic_{side}_made"], expected)
    assert carry == {}
    assert len(critic(real)) == 3


def test_weights_decay_but_not_those_of_registration() -> None:
    nets = networks("munit")
    for phase in translation_phases(nets, MODES["c+r"], "munit"):
        for group in phase.optimizer.param_groups:
            of_r = group["params"][0] is next(nets["R"].parameters())
            assert group["weight_decay"] == (0 if of_r else 1e-4)
            assert group["betas"] == (0.5, 0.999)
    nets = networks("resnet")
    for phase in translation_phases(nets, MODES["c+r"]):
        assert all(group["weight_decay"] == 0 for group in phase.optimizer.param_groups)


def test_adain_gives_every_channel_the_mean_and_the_spread_of_the_style() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 24, 24) * 4 + 7
    scale, shift = torch.randn(3, 5), torch.randn(3, 5)
    styled = adain(x, scale, shift)
    torch.testing.assert_close(styled.mean((2, 3)), shift, rtol=0, atol=1e-4)
    spread = styled.std((2, 3), correction=0)
    torch.testing.assert_close(spread, scale.abs(), rtol=1e-3, atol=1e-4)


def test_styles_change_the_picture_and_contents_keep_their_place() -> None:
    ab = networks("munit")["G_ab"]
    source = make_batch(0)["source"]
    with torch.no_grad():
        content = ab.content(source)
        assert content.shape == (2, 64, SIDE // 4, SIDE // 4)
        one, other = (ab.decode(content, torch.full((2, STYLES), s)) for s in (-1.0, 1.0))
    assert not torch.allclose(one, other)


def test_the_mixture_lies_between_instance_norm_and_layer_norm() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 8, 8) * torch.arange(1.0, 7)[:, None, None]
    mixture = LINMixture(6, 0.9)
    instance, layer = F.instance_norm(x), F.layer_norm(x, x.shape[1:])
    torch.testing.assert_close(mixture(x), 0.9 * instance + 0.1 * layer)
    torch.testing.assert_close(LIN(6)(x), 0.1 * instance + 0.9 * layer)
    with torch.no_grad():
        mixture.logit.fill_(40)
    torch.testing.assert_close(mixture(x), instance)


def test_spectral_norm_becomes_one_and_stands_still_in_evaluation() -> None:
    torch.manual_seed(0)
    layer = SpectralConv(8, 16, 2)
    for _ in range(50):
        layer.weight()
    largest = torch.linalg.svdvals(layer.weight().detach().flatten(1))[0]
    assert largest.item() == pytest.approx(1, abs=1e-3)
    layer.eval()
    assert torch.equal(layer.weight(), layer.weight())
    assert layer(torch.zeros(1, 8, 12, 12)).shape == (1, 16, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.weight().dtype == torch.float32
        assert layer(torch.zeros(1, 8, 12, 12)).dtype == torch.bfloat16


@pytest.mark.parametrize("layers", [2, 4])
def test_the_critic_of_several_scales_takes_its_smallest_side_and_no_less(layers: int) -> None:
    critic = MultiScaleCritic(1, 2, layers)
    side = critic.smallest_side
    fine, half, quarter = critic(torch.zeros(1, 1, side, side))
    assert fine.shape[-1] == 2 * half.shape[-1] == 4 * quarter.shape[-1] == 4
    with pytest.raises(InputError, match=f"at least {side} pixels"):
        critic(torch.zeros(1, 1, side, side - 1))


@pytest.mark.parametrize("host", OWN)
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_sides_are_refused_by_word_and_the_smallest_one_is_taken(host: str, size: str) -> None:
    nets = networks(host, "c", size=size)
    critic, smallest = nets["D_b"], nets["D_b"].smallest_side
    with torch.no_grad():
        scores = critic(torch.zeros(1, 1, smallest, smallest))
    assert all(each.isfinite().all() for each in scores)
    with pytest.raises(InputError, match=f"at least {smallest} pixels"):
        critic(torch.zeros(1, 1, 256, smallest - 4))
    with pytest.raises(InputError, match="multiple of 4, not 64 x 66"):
        translating(nets, host)(torch.zeros(1, 2, 64, 66))
    batch = {"source": torch.zeros(1, 2, 64, 12), "target": torch.zeros(1, 1, 64, 12)}
    with pytest.raises(InputError, match="takes sides of at least"):
        generator_terms(nets, MODES["c"], batch, host)


@pytest.mark.parametrize("host", OWN)
@pytest.mark.parametrize("mode", ["nc", "nc+r", "p2p", "p2p+r"])
def test_a_mode_without_a_way_back_is_refused(host: str, mode: str) -> None:
    with pytest.raises(InputError, match=rf"host {host} .* mode c or c\+r"):
        networks(host, mode)
    assert not MODES["c"].needs_pairs


@pytest.mark.parametrize("host", OWN)
def test_volumes_are_refused(host: str) -> None:
    with pytest.raises(InputError, match=f"host {host} takes images of 2 dimensions, not 3"):
        networks(host, "c", dims=3)


def count(host: str) -> dict[str, int]:
    with torch.device("meta"):
        nets = build_networks(MODES["c"], NetworksConfig(host, "paper", 3, 3))
    return {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}


def test_nicegan_has_the_published_size() -> None:
    """Chen et al., CVPR 2020: 16.2 million in the generators and 93.7 million in the critics."""
    counts = count("nicegan")
    assert (counts["G_ab"] + counts["G_ba"]) / 1e6 == pytest.approx(16.2, abs=0.05)
    assert (counts["D_a"] + counts["D_b"]) / 1e6 == pytest.approx(93.7, abs=0.1)


def test_munit_and_unit_have_the_layers_that_the_papers_list() -> None:
    """Counted from the list of layers in MUNIT's paper: (in, out, side) of every convolution."""

    def convs(*layers: tuple[int, int, int]) -> int:
        return sum(before * after * side**2 + after for before, after, side in layers)

    block = [(256, 256, 3)] * 2
    content = convs((3, 64, 7), (64, 128, 4), (128, 256, 4), *block * 4)
    style = convs((3, 64, 7), (64, 128, 4), (128, 256, 4), *[(256, 256, 4)] * 2, (256, 8, 1))
    styling = convs((8, 256, 1), (256, 256, 1), (256, 8 * 2 * 256, 1))
    norms = 2 * (128 + 64)
    decoder = convs(*block * 4, (256, 128, 5), (128, 64, 5), (64, 3, 7)) + norms
    critic = 3 * convs((3, 64, 4), (64, 128, 4), (128, 256, 4), (256, 512, 4), (512, 1, 1))
    assert count("munit")["G_ab"] == content + style + styling + decoder
    assert count("unit")["G_ab"] == content + decoder
    assert count("munit")["D_b"] == count("unit")["D_b"] == critic
