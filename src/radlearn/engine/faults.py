"""Updates that go wrong: found at their step, on the device, and never saved."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from radlearn.engine.log import console
from radlearn.engine.names import OnFault
from radlearn.errors import InputError

REMEMBERED = 64  # norms of earlier updates that a norm is compared with
ENOUGH = 32  # of them, before any norm counts as one that explodes
ROWS = 5  # of metrics below its floor, before a phase counts as collapsed
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

    def judge(self, phase: str, step: int, *, wait: bool) -> Callable[[Tensor], bool]:
        """Whether an update of this norm may be made; without `wait` it is, and looked at later."""

        def judge(norm: Tensor) -> bool:
            good = self.good(phase, step, norm)
            if not wait:
                return True
            self.in_a_row = 0 if good else self.in_a_row + 1
            return bool(good)

        return judge

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


class Floors:
    """Looks for phases that have nothing left to learn, such as a critic that always wins.

    Args:
        floors: below which the sum of a phase's terms says so, by the phase's name.
    """

    def __init__(self, floors: Mapping[str, float]) -> None:
        self.floors = dict(floors)
        self.rows = dict.fromkeys(floors, 0)

    def collapsed(self, sums: Mapping[str, float], step: int) -> Fault | None:
        """The first phase that has now been below its floor for `ROWS` rows of metrics."""
        for name, total in sums.items():
            self.rows[name] = self.rows[name] + 1 if total < self.floors[name] else 0
            if self.rows[name] == ROWS:
                what = (
                    f"{name} has collapsed: its loss was below {self.floors[name]:g} in {ROWS} rows"
                )
                return Fault(step, what)
        return None


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Float[Tensor, ""]:
    """Euclidean norm of all gradients together."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of sharded gradients


class Before:
    """What a step changes even if its update is left out: the carry, and buffers."""

    def __init__(self, nets: Mapping[str, nn.Module], carry: dict[str, Any]) -> None:
        self.carry = carry
        self.buffers = [(b, b.clone()) for net in nets.values() for b in net.buffers()]

    def restore(self) -> dict[str, Any]:
        for buffer, before in self.buffers:
            buffer.copy_(before)
        return self.carry


def refuse_fault(
    watch: Watch,
    skipped: int,
    on_fault: OnFault,
    ids: Callable[[int], Sequence[str]],
    nets: Mapping[str, nn.Module],
) -> None:
    """Say what was skipped where an update went wrong.

    Args:
        ids: of the records of a step.

    Raises:
        InputError: nothing may be skipped, too much was, or the weights of `nets` are no numbers
            already; it names step and records.
    """
    fault = watch.fault()
    if fault is None:
        return
    what = f"{fault.what} at step {fault.step} (records {', '.join(ids(fault.step)[:8])})"
    broken = [name for name, net in nets.items() if on_fault == "skip" and not _finite(net)]
    if broken:
        raise InputError(
            f"{what}; weights of {' and '.join(broken)} are no numbers, which leaving steps out "
            "does not mend: start a new run with a lower --lr, or from other weights"
        )
    if on_fault == "skip" and watch.in_a_row < IN_A_ROW:
        console.print(f"{what}; {skipped} steps left out", style="yellow")
        return
    raise InputError(
        f"{what}; the last good state is kept: lower --lr, give --precision float32, or leave such "
        "steps out by --on-fault skip"
    )


def _finite(net: nn.Module) -> bool:
    return all(bool(weights.isfinite().all()) for weights in net.parameters())


def refuse_collapse(
    floors: Floors, sums: Mapping[str, float], step: int, on_fault: OnFault
) -> None:
    """Say so where a phase has nothing left to learn.

    Raises:
        InputError: training is to stop then.
    """
    fault = floors.collapsed(sums, step)
    if fault is None:
        return
    what = f"{fault.what} up to step {fault.step}"
    if on_fault == "skip":
        console.print(f"{what}; what the others learn from it is little", style="yellow")
        return
    raise InputError(
        f"{what}; the last good state is kept: give its terms less weight, or go on by "
        "--on-fault skip"
    )
