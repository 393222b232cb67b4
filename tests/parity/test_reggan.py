"""RegGAN: its networks, losses and first steps in five modes, and its metrics."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from radlearn.generators.resnet import ResNetConfig, ResNetGenerator
from radlearn.metrics.translation import paper_scores
from radlearn.models.critics import Critic, CriticConfig
from radlearn.models.registration import (
    Registration,
    RegistrationConfig,
    smoothness,
    warp,
)
from radlearn.translation.modes import MODES
from radlearn.translation.terms import l1_loss, translation_phases

from .rules import Case, cases, largest_difference, values

CASES = cases("reggan*.json", needs=("seed", "size", "steps"))
PUBLISHED = {"G_ab": "netG_A2B", "G_ba": "netG_B2A", "D_a": "netD_A", "D_b": "netD_B", "R": "R_A"}
TOLERANCE = {"float64": 1e-6, "float32": 1e-4}

Shapes = dict[str, list[int]]


def modes(case: Case) -> list[str]:
    return [name for name, facts in case.facts.items() if "state_dict" in _mapping(facts)]


def _mapping(facts: Any) -> dict[str, Any]:
    return facts if isinstance(facts, dict) else {}


def setting(case: Case, name: str) -> Any:
    return _mapping(case.facts.get("config")).get(name, case.facts.get(name, "float32"))


CASES_AND_MODES = [
    pytest.param(case, mode, id=f"{parameter.id}-{mode}", marks=parameter.marks)
    for parameter in CASES
    for case in parameter.values
    for mode in (modes(case) if case else ["absent"])
]


def generator_of(shapes: Shapes) -> nn.Module:
    width, channels_in = shapes["model_head.1.weight"][:2]
    channels_out = shapes["model_tail.7.weight"][0]
    blocks = sum(name.endswith("conv_block.1.weight") for name in shapes)
    return ResNetGenerator(ResNetConfig(channels_in, channels_out, 2, width, blocks))


def critic_of(shapes: Shapes) -> nn.Module:
    width, channels = shapes["model.0.weight"][:2]
    return Critic(CriticConfig(channels, 2, width))


def registration_of(shapes: Shapes) -> nn.Module:
    downs = sorted(name for name in shapes if name.endswith("conv_0.conv2d.weight"))
    return Registration(
        RegistrationConfig(
            channels=shapes[downs[0]][1] // 2,
            widths=tuple(shapes[name][0] for name in downs),
            middle=shapes["offset_map.c1.conv2d.weight"][0],
            blocks=sum(
                name.startswith("offset_map.t.") and name.endswith("conv_block.1.weight")
                for name in shapes
            ),
        )
    )


BUILDERS = {
    "G_ab": generator_of,
    "G_ba": generator_of,
    "D_a": critic_of,
    "D_b": critic_of,
    "R": registration_of,
}


def network(case: Case, mode: str, name: str) -> nn.Module:
    """One of our networks with the case's weights, rounded to float32 before it is widened."""
    published = PUBLISHED[name]
    shapes = case.facts[mode]["state_dict"][published]
    net = BUILDERS[name](shapes)
    weights = {
        key: torch.from_numpy(values(f"{published}.{key}", shape, case.seed))
        for key, shape in shapes.items()
    }
    net.load_state_dict(weights, strict=True)
    return net.to(getattr(torch, setting(case, "precision")))


def batch(case: Case, step: int) -> dict[str, Tensor]:
    rng = np.random.RandomState(100 * case.seed + step)
    size = setting(case, "size")

    def image() -> Tensor:
        coarse = rng.standard_normal((16, 16))
        fine = np.clip(np.kron(coarse, np.ones((size // 16, size // 16))), -1, 1)
        widened = torch.from_numpy(fine.astype(np.float32))
        return widened[None, None].to(getattr(torch, setting(case, "precision")))

    return {"source": image(), "target": image()}


class Differences:
    """Relative differences by name; the largest is printed, and has to be within tolerance."""

    def __init__(self, case: Case) -> None:
        self.tolerance = TOLERANCE[setting(case, "precision")]
        self.found: dict[str, float] = {}

    def add(self, name: str, found: Any, expected: Any) -> None:
        self.found[name] = largest_difference(found, expected)

    def check(self) -> None:
        for name, difference in self.found.items():
            print(f"{name}: {difference:.1e}")
        beyond = {name: d for name, d in self.found.items() if not d < self.tolerance}
        assert self.found
        assert not beyond


@pytest.mark.parametrize(("case", "mode"), CASES_AND_MODES)
def test_every_network_has_the_published_size(case: Case, mode: str) -> None:
    facts = case.facts[mode]
    ours = {PUBLISHED[name] for name in MODES[mode.lower()].networks}
    assert ours == facts["parameters"].keys()
    for name in MODES[mode.lower()].networks:
        with torch.device("meta"):
            net = BUILDERS[name](facts["state_dict"][PUBLISHED[name]])
        shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
        assert shapes == facts["state_dict"][PUBLISHED[name]]
        count = sum(p.numel() for p in net.parameters())
        assert count == facts["parameters"][PUBLISHED[name]]


@pytest.mark.parametrize("case", CASES)
def test_networks_before_the_first_step(case: Case) -> None:
    """The same weights and inputs in every mode: each network runs once."""
    pair, differences = batch(case, 0), Differences(case)
    names = modes(case)
    with torch.no_grad():
        fake = network(case, names[0], "G_ab")(pair["source"])
        scores: dict[bool, Tensor] = {}
        field: Tensor | None = None
        for mode in names:
            facts, conditional = case.facts[mode], MODES[mode.lower()].conditional
            differences.add(f"{mode} fake", fake, case.arrays[f"{mode}.fake_B_step0"])
            differences.add(f"{mode} mean", fake.abs().mean(), facts["G_mean_abs"])
            if conditional not in scores:
                both = [pair["source"], pair["target"]] if conditional else [pair["target"]]
                scores[conditional] = network(case, mode, "D_b")(torch.cat(both, 1)).mean()
            differences.add(f"{mode} critic", scores[conditional], facts["D_B_of_real"])
            if "registration_l1" not in facts:
                continue
            if field is None:
                field = network(case, mode, "R")(fake, pair["target"])
                warped = warp(fake, field)
            differences.add(f"{mode} flow", field, case.arrays[f"{mode}.flow_step0"])
            differences.add(f"{mode} warped", warped, case.arrays[f"{mode}.warped_step0"])
            l1 = l1_loss(warped, pair["target"])
            differences.add(f"{mode} l1", l1, facts["registration_l1"])
            differences.add(f"{mode} smoothness", smoothness(field), facts["smoothness"])
    differences.check()


@pytest.mark.slow
@pytest.mark.parametrize(("case", "mode"), CASES_AND_MODES)
def test_training_steps(case: Case, mode: str) -> None:
    ours, facts, differences = MODES[mode.lower()], case.facts[mode], Differences(case)
    nets = {name: network(case, mode, name) for name in sorted(ours.networks)}
    phases = translation_phases(nets, ours)
    carry: dict[str, Any] = {}
    for step in range(setting(case, "steps")):
        terms: dict[str, Tensor] = {}
        for phase in phases:
            phase.optimizer.zero_grad()
            parts, carry = phase.terms(batch(case, step), carry)
            torch.stack(list(parts.values())).sum().backward()
            phase.optimizer.step()
            terms |= {name: part.detach() for name, part in parts.items()}
        for name, value in (facts["logged"][step] or {}).items():
            logged = {
                "loss_D_B": ("critic_b_real", "critic_b_made"),
                "SR_loss": ("registration",),
                "loss_G": ("adversarial_b", "direct"),
            }[name]
            differences.add(f"{name} of step {step}", sum(terms[part] for part in logged), value)
    with torch.no_grad():
        fake = nets["G_ab"](batch(case, 0)["source"])
    differences.add("fake", fake, case.arrays[f"{mode}.fake_B_after_{setting(case, 'steps')}"])
    for name, net in nets.items():
        weights = torch.cat([p.detach().flatten() for p in net.parameters()])
        differences.add(f"norm of {name}", weights.norm(), facts["norm_after"][PUBLISHED[name]])
    differences.check()


@pytest.mark.parametrize("case", cases("reggan*.json", needs=("metrics_background_excluded",)))
def test_metrics(case: Case) -> None:
    made, real = (case.arrays[f"metric_{name}"][None] for name in ("fake", "real"))
    found, expected = paper_scores(made, real), case.facts["metrics_background_excluded"]
    differences = Differences(case)
    differences.add("nmae", found["nmae"], expected["nmae"])
    differences.add("psnr", found["psnr"], expected["psnr"])
    differences.add("ssim", found["ssim"], expected["ssim_whole_image_range_2"])
    differences.check()
