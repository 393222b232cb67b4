"""RegGAN's step: a generator, a registration network and a critic on one pair of slices."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from radlearn.bench.figure import OURS, Figure, Setting
from radlearn.bench.timing import Training, training_steps
from radlearn.engine.loop import seed_step
from radlearn.grids.operations import translation_step
from radlearn.models.losses import l1_loss, looks_made, looks_real
from radlearn.models.registration import smoothness, warp
from radlearn.records.batches import Batch
from radlearn.translation.modes import MODES, Mode
from radlearn.translation.networks import NetworksConfig, build_networks
from radlearn.translation.terms import BETAS, translation_phases

MODE = "nc+r"


def translate(setting: Setting) -> Figure:
    """Seconds of a step of NC+R, all of it."""
    sizes = setting.sizes
    training, mode = translating(setting, fresh=False)
    plain = (
        plain_step(copy.deepcopy(training.nets), training.batch, mode) if setting.plain else None
    )
    found = training_steps(training, setting, plain)
    as_published = training_steps(translating(setting, fresh=True)[0], setting)
    return Figure(
        "translate",
        f"RegGAN {MODE.upper()} step, {sizes.networks} networks, {sizes.slice} px, batch 1",
        "pairs",
        1,
        found.seconds,
        translation_step(MODE, size=sizes.networks, side=sizes.slice),
        facts={"seconds with a fake made anew for the critic": median(as_published.seconds[OURS])},
        goal=2.2,
    )


def translating(setting: Setting, fresh: bool) -> tuple[Training, Mode]:
    """What `radlearn translate` trains, on a pair made by script.

    Args:
        fresh: see `Mode`; True is published.
    """
    sizes, mode = setting.sizes, replace(MODES[MODE], fresh=fresh)
    seed_step(0, 0)
    nets = build_networks(mode, NetworksConfig(size=sizes.networks, side=sizes.slice))
    for net in nets.values():
        net.to(setting.here.device)
    return Training(nets, translation_phases(nets, mode), pair(sizes.slice)), mode


def pair(side: int) -> Batch:
    """Noise as source and target, in [-1, 1]."""
    rng = np.random.default_rng(0)
    shown = rng.uniform(-1, 1, (2, 1, 1, side, side)).astype(np.float32)
    return {"source": torch.from_numpy(shown[0]), "target": torch.from_numpy(shown[1]), "ids": [""]}


def plain_step(nets: Mapping[str, Any], batch: Batch, mode: Mode) -> Callable[[], None]:
    """A step as the authors' code takes it: two passes of the generator, and gradients of the
    critic's weights that nobody uses."""
    for net in nets.values():
        net.to(memory_format=torch.contiguous_format)
    G, D, R = (nets[name] for name in ("G_ab", "D_b", "R"))
    both = nn.ModuleList([G, R])
    generators, critic = (torch.optim.Adam(n.parameters(), 1e-4, BETAS) for n in (both, D))
    device = next(G.parameters()).device
    a, b = batch["source"].to(device), batch["target"].to(device)
    weights = mode.weights

    def step() -> None:
        generators.zero_grad()
        fake = G(a)
        flow = R(fake, b)
        registered = weights.registration * l1_loss(warp(fake, flow), b)
        smooth = weights.smoothness * smoothness(flow)
        (weights.adversarial * looks_real(D(fake)) + registered + smooth).backward()
        generators.step()
        critic.zero_grad()
        with torch.no_grad():
            fake = G(a)
        loss = looks_real(D(b)) + looks_made(D(fake))
        (weights.adversarial * loss).backward()
        critic.step()

    return step
