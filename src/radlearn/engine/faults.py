"""Updates that go wrong: found at their step, on the device, and never saved."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

REMEMBERED = 64  # norms of earlier updates that a norm is compared with
ENOUGH = 32  # of them, before any norm counts as one that explodes
IN_A_ROW = 20  # updates skipped one after the other before training stops all the same


class Fault(NamedTuple):
    """An update that went wrong: counted from 1, and in words."""

    step: int
    what: str


class Watch:
    """Looks at the gradient of every update, without a wait for the device.

    A gradient is good if its norm is finite and at most `explodes` times the median of the last
    `REMEMBERED` good ones of its phase. Of several processes all see the same norm, so that all
    come to the same answer.

    Args:
        phases: their names.
        explodes: how many times the median; infinity for any finite norm.
    """

    def __init__(self, phases: Sequence[str], explodes: float, device: torch.device) -> None:
        self.phases, self.explodes = list(phases), explodes
        self.norms = torch.full((len(phases), REMEMBERED), torch.nan, device=device)
        self.places = torch.zeros(len(phases), dtype=torch.int64, device=device)
        self.first_bad = torch.zeros(len(phases), dtype=torch.int64, device=device)
        self.bad_norms = torch.zeros(len(phases), device=device)
        self.in_a_row = 0

    def good(self, phase: str, step: int, norm: Float[Tensor, ""]) -> Bool[Tensor, ""]:
        """Judge the gradient of a phase at a step, and remember it."""
        at = self.phases.index(phase)
        before = self.norms[at]
        usual = before.nanmedian()
        known = before.isfinite().sum() >= ENOUGH
        good = norm.isfinite() & ~(known & (norm > self.explodes * usual))
        first = ~good & (self.first_bad[at] == 0)
        self.first_bad[at] = torch.where(first, step, self.first_bad[at])
        self.bad_norms[at] = torch.where(first, norm.float(), self.bad_norms[at])
        place = self.places[at] % REMEMBERED
        before[place] = torch.where(good, norm.float(), before[place])
        self.places[at] += good
        return good

    def fault(self) -> Fault | None:
        """The first update that went wrong since the last call; waits for the device."""
        steps = self.first_bad.tolist()
        if not any(steps):
            return None
        step, phase = min((step, at) for at, step in enumerate(steps) if step)
        norm = float(self.bad_norms[phase])
        what = (
            f"the gradient of {self.phases[phase]} exploded to a norm of {norm:.3g}"
            if torch.isfinite(self.bad_norms[phase])
            else f"the loss or the gradient of {self.phases[phase]} is no number"
        )
        self.first_bad.zero_()
        return Fault(step, what)

    def state(self) -> dict[str, Tensor]:
        """What has to be saved for the same answers later."""
        return {"norms": self.norms, "places": self.places}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.norms.copy_(state["norms"])
        self.places.copy_(state["places"])


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Float[Tensor, ""]:
    """Euclidean norm of all gradients together."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    return nn.utils.get_total_norm(gradients)
