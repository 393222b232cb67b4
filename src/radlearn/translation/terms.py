"""The losses of translation: min over G and R, max over D (Kong et al., NeurIPS 2021).

    L_adv + 20 mean |b - G(a) o phi| + 10 L_smooth(phi), phi = R(G(a), b)

with cycle terms where a way back exists. A network that is absent drops its terms. A host with
losses of its own has them in place of L_adv and the cycle.
"""

import torch
from torch import Tensor, nn
from torch.optim import Adam

from radlearn.engine.device import Compute
from radlearn.engine.loop import Carry, Phase
from radlearn.generators import GENERATORS
from radlearn.generators.host import Fakes, Networks, Terms
from radlearn.models.losses import as_it_stands, l1_loss, looks_made, looks_real, mutual_information
from radlearn.models.registration import smoothness, warp
from radlearn.records.batches import Batch
from radlearn.translation.modes import Mode
from radlearn.translation.pool import pooled_by_all

BETAS = (0.5, 0.999)
FLOOR = 1e-4
"""Loss of the critics below which they tell every fake from every target; Pix2Pix at level 5, where
they all but win, comes down to 5e-3."""


def generator_terms(
    nets: Networks, mode: Mode, batch: Batch, host: str = "resnet"
) -> tuple[Terms, Fakes]:
    """What G_ab, G_ba and R minimise together; no gradient is computed for the critics.

    Args:
        batch: "source" and "target", (B, C, *space) in [-1, 1].
        host: a name of `GENERATORS`: whose terms stand where RegGAN has L_adv.

    Returns:
        The weighted terms, and the fakes by side ("a", "b"), detached.
    """
    b, weights, losses = batch["target"], mode.weights, GENERATORS[host].losses
    terms, fakes = losses.generator(nets, batch) if losses else _own_terms(nets, mode, batch)
    if "R" in nets:
        flow = nets["R"](fakes["b"], b)
        terms["registration"] = weights.registration * l1_loss(warp(fakes["b"], flow), b)
        terms["smoothness"] = weights.smoothness * smoothness(flow)
    if weights.anchor:
        known = mutual_information(fakes["b"], batch["source"])
        terms["anchor"] = -weights.anchor * known
    return terms, {side: fake.detach() for side, fake in fakes.items()}


def _own_terms(nets: Networks, mode: Mode, batch: Batch) -> tuple[Terms, Fakes]:
    """L_adv; the direct term where pairs line up; the cycle terms where a way back exists."""
    a, b, weights = batch["source"], batch["target"], mode.weights
    fake_b = nets["G_ab"](a)
    fakes = {"b": fake_b}
    score = as_it_stands(nets["D_b"], _seen(mode, batch, "b", fake_b))
    terms = {"adversarial_b": weights.adversarial * looks_real(score)}
    if weights.direct:
        terms["direct"] = weights.direct * l1_loss(fake_b, b)
    if "G_ba" in nets:
        fake_a = fakes["a"] = nets["G_ba"](b)
        score = as_it_stands(nets["D_a"], _seen(mode, batch, "a", fake_a))
        terms["adversarial_a"] = weights.adversarial * looks_real(score)
        terms["cycle_a"] = weights.cycle * l1_loss(nets["G_ba"](fake_b), a)
        terms["cycle_b"] = weights.cycle * l1_loss(nets["G_ab"](fake_a), b)
    return terms, fakes


def critic_terms(
    nets: Networks,
    mode: Mode,
    batch: Batch,
    carry: Carry,
    host: str = "resnet",
    here: Compute | None = None,
) -> tuple[Terms, Carry]:
    """What the critics minimise: real ones called 1 and made ones 0, summed and not halved.

    Args:
        batch: "source" and "target", (B, C, *space) in [-1, 1].
        carry: "fakes", what the generators made before their update, unless `mode.fresh`; and
            "pool_a", "pool_b" for RegGAN's own terms.
        host: a name of `GENERATORS`: whose terms the critics minimise.
        here: of several processes, whose pools are one.

    Returns:
        The terms, and the carry without the fakes, with the pools as they are then.
    """
    carry, losses = dict(carry), GENERATORS[host].losses
    fakes = carry.pop("fakes", None)
    if losses:
        return losses.critic(nets, batch, fakes), carry
    if mode.fresh:
        fakes = _fakes(nets, batch)
    terms = {}
    for side, real in (("a", batch["source"]), ("b", batch["target"])):
        if f"D_{side}" not in nets:
            continue
        critic, made = nets[f"D_{side}"], _seen(mode, batch, side, fakes[side])
        if mode.pool:
            pool = carry.get(f"pool_{side}", [])
            made, carry[f"pool_{side}"] = pooled_by_all(pool, made, mode.pool, batch, here)
        seen = _seen(mode, batch, side, real)
        terms[f"critic_{side}_real"] = mode.weights.adversarial * looks_real(critic(seen))
        terms[f"critic_{side}_made"] = mode.weights.adversarial * looks_made(critic(made))
    return terms, carry


def translation_phases(
    nets: Networks,
    mode: Mode,
    host: str = "resnet",
    lr: float = 1e-4,
    here: Compute | None = None,
) -> list[Phase]:
    """One step of training: the generators and R together, then the critics.

    What the two critics of the cycle modes minimise has nothing in common, so that one update of
    both is the update of one after the other.

    Args:
        nets: by the names of `mode.networks`, all of them.
        host: a name of `GENERATORS`, whose networks they are.
        lr: of Adam with betas 0.5 and 0.999; a loop with a schedule sets its own.
        here: of several processes that train these networks as one.
    """
    if set(nets) != mode.networks:
        raise ValueError(f"the mode is made of {sorted(mode.networks)}, not of {sorted(nets)}")
    losses = GENERATORS[host].losses

    def adam(critics: bool) -> Adam:
        groups = [
            {
                "params": list(net.parameters()),
                "weight_decay": losses.weight_decay if losses and name != "R" else 0.0,
            }
            for name, net in nets.items()
            if name.startswith("D_") == critics
        ]
        return Adam(groups, lr=lr, betas=BETAS, fused=True)

    def generate(batch: Batch, carry: Carry) -> tuple[Terms, Carry]:
        terms, fakes = generator_terms(nets, mode, batch, host)
        return terms, carry if mode.fresh else carry | {"fakes": fakes}

    def judge(batch: Batch, carry: Carry) -> tuple[Terms, Carry]:
        return critic_terms(nets, mode, batch, carry, host, here)

    return [Phase("generate", adam(False), generate), Phase("judge", adam(True), judge, FLOOR)]


def translating(nets: Networks, host: str = "resnet") -> nn.Module:
    """The one module whose forward takes a source to G(a), without chance.

    It holds the very parameters of `nets` that G(a) needs, each once: what is averaged, saved and
    used for prediction.
    """
    return GENERATORS[host].translating(nets)


def _fakes(nets: Networks, batch: Batch) -> Fakes:
    with torch.no_grad():
        fakes = {"b": nets["G_ab"](batch["source"])}
        if "G_ba" in nets:
            fakes["a"] = nets["G_ba"](batch["target"])
    return fakes


def _seen(mode: Mode, batch: Batch, side: str, image: Tensor) -> Tensor:
    """What a critic looks at: the image, beside what it was made from where it is conditional."""
    if not mode.conditional:
        return image
    given = batch["source" if side == "b" else "target"]
    return torch.cat([given, image.to(given.dtype)], 1)
