"""A run on some node of a Ray cluster; where the node is lost, on another, from where it was."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from radlearn.cluster import LOST, SHARED, Sender, nodes, sender, unfit
from radlearn.engine.log import console
from radlearn.grids import side_by_side
from radlearn.grids.side_by_side import LOOK_EVERY, THREADS, Task
from radlearn.grids.worker import PATIENCE


class Room(NamedTuple):
    """What a run takes of a node, and how many runs the cluster has room for."""

    jobs: int
    threads: int
    gpus: int


def room_there() -> Room:
    """A GPU a run where the cluster has any; OMP_NUM_THREADS cores, else a quarter of a node's.

    Raises:
        InputError: the cluster has no node that takes work.
    """
    able = nodes()
    told = os.environ.get("OMP_NUM_THREADS", "")
    least = int(min(node["CPU"] for node in able))
    threads = int(told) if told.isdigit() and int(told) > 0 else max(1, least // 4)
    gpus = int(any(node.get("GPU", 0) >= 1 for node in able))
    fits = [
        min(node["CPU"] // threads, node.get("GPU", 0) if gpus else node["CPU"]) for node in able
    ]
    return Room(max(1, int(sum(fits))), threads, gpus)


class Far:
    """A task on the cluster, looked at and stopped like a process of this machine."""

    stdin: IO[bytes] | None = None

    def __init__(self, room: Room, task: Task, log: Path) -> None:
        import ray

        self.task, self.log = task, log
        self.returncode: int | None = None
        self._lost = 0
        self._told = {name: os.environ.get(name, str(room.threads)) for name in THREADS}
        self._get = ray.get
        self._run = ray.remote(carry_out).options(
            num_cpus=room.threads, num_gpus=room.gpus, max_retries=0
        )
        self._send()

    def poll(self) -> int | None:
        import ray

        if self.returncode is None and ray.wait([self._answer], timeout=0)[0]:
            self._end()
        return self.returncode

    def terminate(self) -> None:
        self._cancel(force=False)

    def kill(self) -> None:
        self._cancel(force=True)

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (PATIENCE if timeout is None else timeout)
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.task.name, end)
            time.sleep(LOOK_EVERY)
        return status

    def _send(self) -> None:
        words = [str(self.task.run), self.task.command, *self.task.arguments]
        worker = side_by_side.WORKER[1:]
        self._answer = self._run.remote(sender(), [*worker, *words], str(self.log), self._told)

    def _cancel(self, force: bool) -> None:
        import ray

        self._lost = LOST  # what is stopped is not sent again
        if self.returncode is None:
            ray.cancel(self._answer, force=force)

    def _end(self) -> None:
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError

        try:
            answer: tuple[int, str] = self._get(self._answer)
        except RayTaskError as error:
            answer = 1, f"{type(error.cause).__name__}: {error.cause}"
        except TaskCancelledError:
            answer = 130, "stopped"
        except RayError as error:
            self._lost += 1
            if self._lost <= LOST:
                name = type(error).__name__
                console.print(f"{self.task.name}: its node was lost ({name}); it is sent again")
                self._send()
                return
            answer = 1, f"its node was lost {self._lost} times ({type(error).__name__})"
        self.returncode, said = answer
        if said:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"{' '.join(said.split())}\n")


def carry_out(
    asked: Sender, words: Sequence[str], log: str, told: dict[str, str]
) -> tuple[int, str]:
    """On a node: the run in a process of its own, which is stopped when it is cancelled.

    Returns:
        Its exit status, and what is to be added to its log.
    """
    if why := unfit(asked):
        return 2, why
    place = Path(log)
    if not place.parent.is_dir():
        return (
            2,
            f"the node {socket.gethostname()} does not see {place.parent.absolute()}: {SHARED}",
        )
    with place.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,  # it ends with this process, so with the node
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | told,
            start_new_session=True,
        )
    try:
        while process.poll() is None:  # only between two looks is a cancelled task told
            time.sleep(LOOK_EVERY)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()
    return process.returncode, ""
