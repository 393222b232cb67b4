"""What the machine itself can do: the rate of matrix products, and of moving memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

WORDS = 2**26  # of float32 in a copy: 256 MB, more than caches hold
SIDES = {"full": 2048, "tiny": 128}


@dataclass(frozen=True)
class Limits:
    """Of one device, in operations and bytes a second; a multiplication and addition are two.

    Attributes:
        float32, bfloat16: rates of products of large square matrices.
        bandwidth: bytes read and written by a copy of a large tensor.
        threads: of the CPU that were used.
    """

    float32: float
    bfloat16: float
    bandwidth: float
    threads: int

    @property
    def best(self) -> float:
        """The rate that every figure is a share of: bfloat16's, or float32's where that is more."""
        return max(self.float32, self.bfloat16)


def limits(
    device: torch.device, repeats: int, size: str, now: Callable[[], float] = time.perf_counter
) -> Limits:
    """Measure them; medians of at least 5 measurements, each after one that does not count."""
    side, words = SIDES[size], WORDS if size == "full" else 2**16
    repeats = max(repeats, 5)

    def product(kind: torch.dtype) -> float:
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        return 2 * side**3 / _seconds(lambda: a @ b, device, repeats, now)

    given = torch.ones(words, device=device)
    taken = torch.empty_like(given)
    moved = 2 * given.nbytes / _seconds(lambda: taken.copy_(given), device, repeats, now)
    return Limits(product(torch.float32), product(torch.bfloat16), moved, torch.get_num_threads())


def _seconds(
    work: Callable[[], object], device: torch.device, repeats: int, now: Callable[[], float]
) -> float:
    found = []
    for _ in range(repeats + 1):
        began = now()
        work()
        wait(device)
        found.append(now() - began)
    return median(found[1:])


def wait(device: torch.device) -> None:
    """Return when the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
