"""RegGAN: its networks, losses and first steps in five modes, and its metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from radlearn.generators.resnet import ResNetConfig, ResNetGenerator
from radlearn.metrics.translation import paper_scores
from radlearn.models.critics import Critic, CriticConfig
from radlearn.models.losses import l1_loss
from radlearn.models.registration import (
    Registration,
    RegistrationConfig,
    smoothness,
    warp,
)
from radlearn.translation.modes import MODES
from radlearn.translation.terms import critic_terms, generator_terms, translation_phases

from .rules import Case, Differences, cases, parameters, setting, values

PUBLISHED = {"G_ab": "netG_A2B", "G_ba": "netG_B2A", "D_a": "netD_A", "D_b": "netD_B", "R": "R_A"}
TOLERANCE = {"float64": 1e-6, "float32": 1e-4}
LOGGED = {
    "loss_D_B": ("critic_b_real", "critic_b_made"),
    "SR_loss": ("registration",),
    "loss_G": ("adversarial_b", "direct"),
}
"""The authors' words for what they log, and the terms that they sum."""
MUCH_WORK = 10**10
"""Pixels times parameters times steps."""

Shapes = dict[str, list[int]]


def modes(case: Case) -> list[str]:
    return [
        name
        for name, facts in case.facts.items()
        if isinstance(facts, dict) and "state_dict" in facts
    ]


def precision(case: Case) -> str:
    return setting(case, "precision", "float64")


def expensive(case: Case, mode: str) -> bool:
    count = sum(parameters(shapes) for shapes in case.facts[mode]["state_dict"].values())
    return setting(case, "steps") * setting(case, "size") ** 2 * count > MUCH_WORK


CASES = [p for p in cases("reggan*.json", needs=()) if p.values[0] is None or modes(p.values[0])]
CASES_AND_MODES = [
    pytest.param(case, mode, id=f"{parameter.id}-{mode}", marks=parameter.marks)
    for parameter in CASES
    for case in parameter.values
    for mode in (modes(case) if case else ["absent"])
]
TRAININGS = [
    pytest.param(*p.values, id=p.id, marks=[*p.marks, pytest.mark.slow])
    if p.values[0] and expensive(*p.values)
    else p
    for p in CASES_AND_MODES
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
    levels = sum(name.endswith("conv_0.conv2d.weight") for name in shapes)
    downs = [f"offset_map.down_{at}.conv_0.conv2d.weight" for at in range(1, levels + 1)]
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
    return net.to(getattr(torch, precision(case)))


def batch(case: Case, step: int) -> dict[str, Tensor]:
    rng = np.random.RandomState(100 * case.seed + step)
    size = setting(case, "size")

    def image() -> Tensor:
        coarse = rng.standard_normal((16, 16))
        fine = np.clip(np.kron(coarse, np.ones((size // 16, size // 16))), -1, 1)
        widened = torch.from_numpy(fine.astype(np.float32))
        return widened[None, None].to(getattr(torch, precision(case)))

    return {"source": image(), "target": image()}


class Known(nn.Module):
    """A network whose answer is known already."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_: Tensor) -> Tensor:
        return self.answer


@torch.no_grad()
def at_start(case: Case, mode: str, memo: dict[str, Tensor]) -> dict[str, Any]:
    """What the networks make of batch 0 before any update, by the layout's names.

    "logged" holds the losses of the first step that no update comes before.

    Args:
        memo: what is the same in several modes, and so computed once.
    """
    ours, shapes, pair = MODES[mode.lower()], case.facts[mode]["state_dict"], batch(case, 0)

    def once(compute: Callable[[], Tensor], *names: str) -> Tensor:
        key = str([(name, shapes[PUBLISHED[name]]) for name in names])
        if key not in memo:
            memo[key] = compute()
        return memo[key]

    fake = once(lambda: network(case, mode, "G_ab")(pair["source"]), "G_ab")
    critic = network(case, mode, "D_b")
    seen = [pair["source"], pair["target"]] if ours.conditional else [pair["target"]]
    found: dict[str, Any] = {
        "fake_B_step0": fake,
        "G_mean_abs": fake.abs().mean(),
        "D_B_of_real": critic(torch.cat(seen, 1)).mean(),
    }
    nets: dict[str, nn.Module] = {"G_ab": Known(fake), "D_b": critic}
    if "R" in ours.networks:
        field = once(lambda: network(case, mode, "R")(fake, pair["target"]), "G_ab", "R")
        warped = warp(fake, field)
        found |= {
            "flow_step0": field,
            "warped_step0": warped,
            "registration_l1": l1_loss(warped, pair["target"]),
            "smoothness": smoothness(field),
        }
        nets["R"] = Known(field)
    terms, fakes = generator_terms(nets, ours, pair)
    if not ours.fresh:
        terms |= critic_terms(nets, ours, pair, {"fakes": fakes})[0]
    return found | {"logged": logged(terms)}


def logged(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """What the authors log, where the terms are there that it sums."""
    return {
        name: float(sum(terms[part] for part in parts))
        for name, parts in LOGGED.items()
        if set(parts) <= terms.keys()
    }


def trained(case: Case, mode: str) -> dict[str, Any]:
    """What the case's training of this mode ends with, by the layout's names."""
    ours, steps = MODES[mode.lower()], setting(case, "steps")
    nets = {name: network(case, mode, name) for name in sorted(ours.networks)}
    phases = translation_phases(nets, ours)
    carry: dict[str, Any] = {}
    losses = []
    for step in range(steps):
        terms: dict[str, Tensor] = {}
        for phase in phases:
            phase.optimizer.zero_grad()
            parts, carry = phase.terms(batch(case, step), carry)
            torch.stack(list(parts.values())).sum().backward()
            phase.optimizer.step()
            terms |= {name: part.detach() for name, part in parts.items()}
        losses.append(logged(terms))
    with torch.no_grad():
        fake = nets["G_ab"](batch(case, 0)["source"])
    norms = {
        PUBLISHED[name]: float(torch.cat([p.detach().flatten() for p in net.parameters()]).norm())
        for name, net in nets.items()
    }
    return {f"fake_B_after_{steps}": fake, "logged": losses, "norm_after": norms}


def scores(case: Case) -> dict[str, float]:
    found = paper_scores(*(case.arrays[f"metric_{name}"][None] for name in ("fake", "real")))
    return {
        "nmae": found["nmae"],
        "psnr": found["psnr"],
        "ssim_whole_image_range_2": found["ssim"],
    }


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
def test_networks_before_the_first_step(case: Case, differences: Differences) -> None:
    """The same weights and inputs in every mode: each network runs once."""
    memo: dict[str, Tensor] = {}
    tolerance = TOLERANCE[precision(case)]
    for mode in modes(case):
        facts, found = case.facts[mode], at_start(case, mode, memo)
        losses = found.pop("logged")
        for name, value in found.items():
            stored = case.arrays if name.endswith("_step0") else facts
            key = f"{mode}.{name}" if stored is case.arrays else name
            differences.add(case, name, value, stored[key], tolerance, mode)
        for name, value in ((facts["logged"] or [None])[0] or {}).items():
            if value is not None and name in losses:
                differences.add(case, f"{name} of step 0", losses[name], value, tolerance, mode)
    differences.check()


@pytest.mark.parametrize(("case", "mode"), TRAININGS)
def test_training_steps(case: Case, mode: str, differences: Differences) -> None:
    facts, found, tolerance = case.facts[mode], trained(case, mode), TOLERANCE[precision(case)]
    for step, expected in enumerate(facts["logged"]):
        for name, value in (expected or {}).items():
            if value is not None:
                where = f"{mode}, step {step}"
                differences.add(case, name, found["logged"][step][name], value, tolerance, where)
    after = f"fake_B_after_{setting(case, 'steps')}"
    differences.add(case, after, found[after], case.arrays[f"{mode}.{after}"], tolerance, mode)
    assert found["norm_after"].keys() == facts["norm_after"].keys()
    for name, norm in facts["norm_after"].items():
        ours = found["norm_after"][name]
        differences.add(case, "norm_after", ours, norm, tolerance, f"{mode}, {name}")
    differences.check()


@pytest.mark.parametrize("case", cases("reggan*.json", needs=("metrics_background_excluded",)))
def test_metrics(case: Case, differences: Differences) -> None:
    expected = case.facts["metrics_background_excluded"]
    for name, value in scores(case).items():
        differences.add(case, "metrics", value, expected[name], TOLERANCE["float64"], name)
    differences.check()
