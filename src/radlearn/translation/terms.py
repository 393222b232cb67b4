"""The losses of translation: min over G and R, max over D (Kong et al., NeurIPS 2021).

    L_adv + 20 mean |b - G(a) o phi| + 10 L_smooth(phi), phi = R(G(a), b)

with cycle terms where a way back exists. A network that is absent drops its terms.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from radlearn.engine.loop import Carry, Phase
from radlearn.models.layers import at_least_float32
from radlearn.models.registration import smoothness, warp
from radlearn.records.batches import Batch
from radlearn.translation.modes import Mode
from radlearn.translation.pool import pooled

Networks = Mapping[str, nn.Module]
BETAS = (0.5, 0.999)


def l1_loss(
    found: Float[Tensor, "batch channels *space"], wanted: Float[Tensor, "batch channels *space"]
) -> Float[Tensor, ""]:
    """mean |found - wanted|, in float32 at least."""
    return (at_least_float32(found) - at_least_float32(wanted)).abs().mean()


def looks_real(scores: Float[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Least squares (Mao et al., ICCV 2017): 0 where the critic says 1."""
    return (scores - 1).square().mean()


def looks_made(scores: Float[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Least squares: 0 where the critic says 0."""
    return scores.square().mean()


def generator_terms(
    nets: Networks, mode: Mode, batch: Batch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What G_ab, G_ba and R minimise together; no gradient is computed for the critics.

    Args:
        batch: "source" and "target", (B, C, *space) in [-1, 1].

    Returns:
        The weighted terms, and the fakes by side ("a", "b"), detached.
    """
    a, b, weights = batch["source"], batch["target"], mode.weights
    fake_b = nets["G_ab"](a)
    fakes = {"b": fake_b}
    score = _as_it_stands(nets["D_b"], _seen(mode, batch, "b", fake_b))
    terms = {"adversarial_b": weights.adversarial * looks_real(score)}
    if weights.direct:
        terms["direct"] = weights.direct * l1_loss(fake_b, b)
    if "R" in nets:
        flow = nets["R"](fake_b, b)
        terms["registration"] = weights.registration * l1_loss(warp(fake_b, flow), b)
        terms["smoothness"] = weights.smoothness * smoothness(flow)
    if "G_ba" in nets:
        fake_a = fakes["a"] = nets["G_ba"](b)
        score = _as_it_stands(nets["D_a"], _seen(mode, batch, "a", fake_a))
        terms["adversarial_a"] = weights.adversarial * looks_real(score)
        terms["cycle_a"] = weights.cycle * l1_loss(nets["G_ba"](fake_b), a)
        terms["cycle_b"] = weights.cycle * l1_loss(nets["G_ab"](fake_a), b)
    return terms, {side: fake.detach() for side, fake in fakes.items()}


def critic_terms(
    nets: Networks, mode: Mode, batch: Batch, carry: Carry
) -> tuple[dict[str, Tensor], Carry]:
    """What the critics minimise: real ones called 1 and made ones 0, summed and not halved.

    Args:
        batch: "source" and "target", (B, C, *space) in [-1, 1].
        carry: "fakes", what the generators made before their update, unless `mode.fresh`; and
            "pool_a", "pool_b".

    Returns:
        The terms, and the carry without the fakes, with the pools as they are then.
    """
    carry = dict(carry)
    fakes = carry.pop("fakes", None)
    if mode.fresh:
        fakes = _fakes(nets, batch)
    terms = {}
    for side, real in (("a", batch["source"]), ("b", batch["target"])):
        if f"D_{side}" not in nets:
            continue
        critic, made = nets[f"D_{side}"], _seen(mode, batch, side, fakes[side])
        if mode.pool:
            pool = carry.get(f"pool_{side}", [])
            made, carry[f"pool_{side}"] = pooled(pool, made, mode.pool)
        seen = _seen(mode, batch, side, real)
        terms[f"critic_{side}_real"] = mode.weights.adversarial * looks_real(critic(seen))
        terms[f"critic_{side}_made"] = mode.weights.adversarial * looks_made(critic(made))
    return terms, carry


def translation_phases(nets: Networks, mode: Mode, lr: float = 1e-4) -> list[Phase]:
    """One step of training: the generators and R together, then the critics.

    What the two critics of the cycle modes minimise has nothing in common, so that one update of
    both is the update of one after the other.

    Args:
        nets: by the names of `mode.networks`, all of them.
        lr: of Adam with betas 0.5 and 0.999; a loop with a schedule sets its own.
    """
    if set(nets) != mode.networks:
        raise ValueError(f"the mode is made of {sorted(mode.networks)}, not of {sorted(nets)}")

    def adam(critics: bool) -> Adam:
        chosen = [net for name, net in nets.items() if name.startswith("D_") == critics]
        return Adam([p for net in chosen for p in net.parameters()], lr=lr, betas=BETAS)

    def generate(batch: Batch, carry: Carry) -> tuple[dict[str, Tensor], Carry]:
        terms, fakes = generator_terms(nets, mode, batch)
        return terms, carry if mode.fresh else carry | {"fakes": fakes}

    def judge(batch: Batch, carry: Carry) -> tuple[dict[str, Tensor], Carry]:
        return critic_terms(nets, mode, batch, carry)

    return [Phase("generate", adam(False), generate), Phase("judge", adam(True), judge)]


def _fakes(nets: Networks, batch: Batch) -> dict[str, Tensor]:
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


def _as_it_stands(critic: nn.Module, images: Tensor) -> Tensor:
    """The critic's scores with a gradient for the images and none for its weights."""
    fixed = {name: p.detach() for name, p in critic.named_parameters()}
    scores: Tensor = functional_call(critic, fixed, (images,))
    return scores
