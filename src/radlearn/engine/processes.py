"""Several processes that train as one: what they tell each other, and who does what.

All of it goes by the CPU, so that nothing waits for a device. One process does what is asked of
it, and that is all.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup

from radlearn.engine.device import Compute
from radlearn.errors import InputError

Answer = TypeVar("Answer")
Item = TypeVar("Item")


@cache
def _by_cpu() -> ProcessGroup | None:
    """None is the group that there is already."""
    if dist.get_backend() == "gloo":
        return None
    group = dist.new_group(backend="gloo")
    assert isinstance(group, ProcessGroup), "every process is in it"
    return group


def summed(here: Compute, values: Sequence[float]) -> list[float]:
    """Each value's sum over the processes, in float64."""
    if here.world == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total, group=_by_cpu())
    return total.tolist()


def of_all(here: Compute, value: Answer) -> list[Answer]:
    """What every process has, in their order."""
    if here.world == 1:
        return [value]
    found: list[Any] = [None] * here.world
    dist.all_gather_object(found, value, group=_by_cpu())
    return found


def of_main(here: Compute, value: Answer) -> Answer:
    """What the main process has, so that no two decide differently."""
    return of_all(here, value if here.is_main else None)[0]  # type: ignore[return-value]


def spread(here: Compute, items: Sequence[Item], work: Callable[[Item], Answer]) -> list[Answer]:
    """The answers for all items, each worked out by one process; all get all."""
    mine = [work(item) for item in items[here.rank :: here.world]]
    if here.world == 1:
        return mine
    found: list[Any] = [None] * len(items)
    for rank, answers in enumerate(of_all(here, mine)):
        found[rank :: here.world] = answers
    return found


def main_first(here: Compute, work: Callable[[], Answer]) -> Answer:
    """What the main process works out while the others wait; then these, who find it done.

    Raises:
        InputError: the main process could not do it; the others leave without a word.
    """
    if here.world == 1:
        return work()
    if not here.is_main:
        if not of_main(here, False):
            sys.exit(2)
        return work()
    done = False
    try:
        answer = work()
        done = True
    finally:
        of_main(here, done)
    return answer


@contextmanager
def said_once(here: Compute) -> Iterator[None]:
    """What all processes find wrong, the main one alone says."""
    try:
        yield
    except InputError:
        if here.is_main:
            raise
        sys.exit(2)
