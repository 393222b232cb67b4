"""Pictures decoded on the nodes of a Ray cluster; the store is written here, and is the same."""

import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from radlearn.cluster import LOST, SHARED, Sender, joined, nodes, sender, unfit
from radlearn.errors import InputError
from radlearn.records.decoding import CRASHED, NO_MEMORY, TASK_IMAGES, Decoded, Job, decode

TASKS_AHEAD = 2  # a core of the cluster; bounds what waits in memory
CRASHES = 2  # of a picture alone; a node that was lost may look like one


class Unseen(NamedTuple):
    """A node that cannot do what it was asked: a reason, or a file that is not there."""

    reason: str
    file: Path | None = None


class FarDecoder:
    """What `Decoder` is on this machine, over the cluster; a context manager that is part of it."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(joined())
            import ray

            self._ray = ray
            self._ahead = TASKS_AHEAD * int(sum(node["CPU"] for node in nodes()))
            self._decode = ray.remote(decode_there).options(num_cpus=1, max_retries=0)
            self._waiting: deque[tuple[tuple[Job, ...], Any]] = deque()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        for _, answer in self._waiting:
            self._ray.cancel(answer)
        self._waiting.clear()
        self._stack.close()

    def in_order(self, jobs: Iterable[Job]) -> Iterator[Decoded]:
        """Results in the order of the jobs; those of a node that is lost are asked for again.

        Raises:
            InputError: a node does not see a file, memory ran out, or node after node was lost.
        """
        jobs = iter(jobs)
        while True:
            while len(self._waiting) < self._ahead and (task := tuple(islice(jobs, TASK_IMAGES))):
                self._waiting.append((task, self._send(task)))
            if not self._waiting:
                return
            yield from self._results(*self._waiting.popleft())

    def _send(self, task: Sequence[Job]) -> Any:
        return self._decode.remote(sender(), tuple(task))

    def _results(self, task: Sequence[Job], answer: Any) -> list[Decoded]:
        crashes = 0
        for _ in range(LOST + 1):
            try:
                return self._seen(task, self._ray.get(answer))
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error, MemoryError):
                    raise InputError(NO_MEMORY) from None
                raise
            except self._ray.exceptions.WorkerCrashedError:
                if len(task) > 1:
                    return [
                        one for job in task for one in self._results((job,), self._send((job,)))
                    ]
                crashes += 1
                if crashes == CRASHES:
                    return [Decoded(task[0].key, CRASHED)]
            except self._ray.exceptions.RayError:
                pass  # the node is lost, or the one that kept the answer
            answer = self._send(task)
        raise InputError(
            f"nodes of the cluster were lost {LOST + 1} times over the same files; the same "
            "command goes on from here"
        )

    def _seen(self, task: Sequence[Job], found: list[Decoded] | Unseen) -> list[Decoded]:
        if not isinstance(found, Unseen):
            return found
        if found.file is not None and not found.file.is_file():
            return [decode(job) for job in task]  # it is not here either: say what is said here
        raise InputError(found.reason)


def decode_there(asked: Sender, jobs: Sequence[Job]) -> list[Decoded] | Unseen:
    """On a node: decode pictures, all of which it has to see."""
    if why := unfit(asked):
        return Unseen(why)
    for job in jobs:
        if not job.image.is_file():
            reason = f"the node {socket.gethostname()} does not see {job.image}: {SHARED}"
            return Unseen(reason, job.image)
    return [decode(job) for job in jobs]
