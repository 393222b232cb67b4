"""Learning rate as a function of the step; steps and (fractional) epochs alike."""

import math
from collections.abc import Callable

Real = float | int  # steps are whole, epochs are not


def constant(step: Real, *, warmup: Real, total: Real, lr: float, floor: float = 0.0) -> float:
    """Linear warm-up from 0, then `lr` for good; `total` and `floor` change nothing."""
    return lr * step / warmup if step < warmup else lr


def warmup_cosine(step: Real, *, warmup: Real, total: Real, lr: float, floor: float = 0.0) -> float:
    """Linear warm-up from 0 to `lr`, then half a cosine down to `floor` (SGDR, eq. 5, one cycle).

    Args:
        step: how much of the training is done, in the unit of `warmup` and `total`.
        warmup: length of the warm-up.
        total: length of the training, warm-up included; `floor` from there on.
        lr: at the end of the warm-up.
        floor: at `total`; the warm-up itself starts at 0.
    """
    if step < warmup:
        return lr * step / warmup
    return floor + (lr - floor) * 0.5 * (1 + math.cos(math.pi * _done(step, warmup, total)))


def warmup_poly(
    step: Real,
    *,
    warmup: Real,
    total: Real,
    lr: float,
    floor: float = 0.0,
    power: float = 1.0,
) -> float:
    """Linear warm-up from 0 to `lr`, then (1 - what is done)^power down to `floor`."""
    if step < warmup:
        return lr * step / warmup
    return floor + (lr - floor) * (1 - _done(step, warmup, total)) ** power


def _done(step: Real, warmup: Real, total: Real) -> float:
    """Share of the way from the end of the warm-up to `total`, 1 beyond it."""
    return min((step - warmup) / (total - warmup), 1.0) if step < total else 1.0


SCHEDULES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "cosine": warmup_cosine,
    "poly": warmup_poly,
}
