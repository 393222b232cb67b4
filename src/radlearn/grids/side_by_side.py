"""Runs one after the other in this process, or side by side in processes of their own."""

import gc
import os
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from filelock import FileLock, Timeout

from radlearn.cli import call
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.grids.worker import PATIENCE, wait_for
from radlearn.records.settings import all_cores

LOOK_EVERY = 0.2  # seconds
FOREVER = -1.0
WORKER = (sys.executable, "-m", "radlearn.grids.worker")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """A command that makes a run.

    Attributes:
        lock: the name under which processes agree on who does it.
        run: the folder it makes.
    """

    name: str
    lock: str
    command: str
    arguments: tuple[str, ...]
    run: Path

    @property
    def finished(self) -> bool:
        return (self.run / "results.json").exists()


class Working(Protocol):
    """A task that somebody works on, as `subprocess.Popen` has it; it may be on another machine."""

    stdin: IO[bytes] | None
    returncode: int | None

    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


Begin = Callable[[Task, Path], Working]
"""How a task is begun, all it says going to a log."""


@contextmanager
def alone(out: Path, name: str, seconds: float) -> Iterator[bool]:
    """Whether no other comparison has `name` in its hands; it has not until this one leaves it."""
    place = out / ".locks"
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / f"{name}.lock")
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def start(command: str, given: Sequence[str]) -> None:
    """Carry out a command in this process.

    Raises:
        InputError: it could not be carried out.
    """
    console.print(f"radlearn {command} {shlex.join(given)}", style="dim", soft_wrap=True)
    if call(command, given) != 0:
        raise InputError(f"radlearn {command} set aside more files than --max-bad allows")
    gc.collect()


def threads_each() -> int:
    """Threads of a run: OMP_NUM_THREADS where that is set, else a quarter of the cores."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else max(1, all_cores() // 4)


def room() -> int:
    """How many runs have room side by side: one on a GPU, else as many as threads allow."""
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return 1
    return max(1, all_cores() // threads_each())


def run_tasks(
    tasks: Sequence[Task],
    out: Path,
    jobs: int,
    apart: bool = False,
    begin: Begin | None = None,
) -> dict[str, str]:
    """Do the tasks that are not finished and that no other process has in its hands.

    A task that fails leaves the others as they are.

    Args:
        jobs: how many at a time; 1 does them in this process, unless `apart`.
        apart: each in a process of its own, whose memory can be measured.
        begin: hands a task to another machine; default: they are done on this one.

    Returns:
        What went wrong, in a line, by the name of the task.
    """
    if jobs == 1 and not apart and begin is None:
        return _in_turn(tasks, out)
    return _SideBySide(tasks, out, jobs, begin or partial(_here, jobs)).run()


def _in_turn(tasks: Sequence[Task], out: Path) -> dict[str, str]:
    failed = {}
    for number, task in enumerate(tasks, start=1):
        with alone(out, task.lock, 0) as mine:
            if task.finished:
                continue
            busy = "" if mine else ": another process works on it"
            console.print(f"[{number}/{len(tasks)}] {task.name}{busy}", markup=False)
            if mine:
                wait_for(task.run)
                try:
                    start(task.command, task.arguments)
                except InputError as error:
                    failed[task.name] = str(error)
                except Exception as error:  # a bug in one cell, or its memory: the others go on
                    traceback.print_exc()
                    failed[task.name] = f"{type(error).__name__}: {error}".splitlines()[0]
                if task.name in failed:
                    _tell(number, len(tasks), task.name, f"failed: {failed[task.name]}")
    return failed


def _tell(number: int, of: int, name: str, what: str) -> None:
    console.print(f"[{number}/{of}] {name}: {what}", markup=False)


def _here(jobs: int, task: Task, log: Path) -> Working:
    """A task in a process of this machine, with its share of the cores."""
    threads = str(max(1, all_cores() // jobs))
    told = {name: os.environ.get(name, threads) for name in THREADS}
    with log.open("ab") as file:
        return subprocess.Popen(
            [*WORKER, str(task.run), task.command, *task.arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | told,
            start_new_session=True,  # Ctrl-C is told once, by this process
        )


@dataclass
class _Running:
    task: Task
    number: int
    process: Working
    log: Path
    since: float
    lock: AbstractContextManager[bool]


class _SideBySide:
    """Tasks in processes; each writes to a log of its own, and a line here says how it ended."""

    def __init__(self, tasks: Sequence[Task], out: Path, jobs: int, begin: Begin) -> None:
        self.tasks = tasks
        self.out = out
        self.jobs = jobs
        self.begin = begin
        self.running: list[_Running] = []
        self.failed: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        try:
            for number, task in enumerate(self.tasks, start=1):
                self._until(lambda: len(self.running) < self.jobs)
                self._begin(number, task)
            self._until(lambda: not self.running)
        finally:
            self._stop()
        return self.failed

    def _begin(self, number: int, task: Task) -> None:
        lock = alone(self.out, task.lock, 0)
        with ExitStack() as stack:
            mine = stack.enter_context(lock)
            if task.finished:
                return
            if not mine:
                _tell(number, len(self.tasks), task.name, "another process works on it")
                return
            log = self.out / "logs" / f"{task.name}.txt"
            log.parent.mkdir(exist_ok=True)
            self.running.append(
                _Running(task, number, self.begin(task, log), log, time.monotonic(), lock)
            )
            stack.pop_all()
        _tell(number, len(self.tasks), task.name, "begun")

    def _until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            for one in [one for one in self.running if one.process.poll() is not None]:
                self._end(one)
            if not enough():
                time.sleep(LOOK_EVERY)

    def _end(self, one: _Running) -> None:
        self._let_go(one)
        status = one.process.returncode
        assert status is not None
        if status == 0 and one.task.finished:
            what = f"finished in {time.monotonic() - one.since:.0f} s"
        else:
            self.failed[one.task.name] = _reason(status, one.log)
            what = f"failed: {self.failed[one.task.name]}; all it said: {one.log}"
        _tell(one.number, len(self.tasks), one.task.name, what)

    def _let_go(self, one: _Running) -> None:
        self.running.remove(one)
        if one.process.stdin is not None:
            one.process.stdin.close()
        one.lock.__exit__(None, None, None)

    def _stop(self) -> None:
        """Ask every process to save and stop, and see that it does."""
        for one in self.running:
            one.process.terminate()
        for one in list(self.running):
            try:
                one.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            self._let_go(one)


def _reason(status: int, log: Path) -> str:
    if status < 0:
        return f"its process was ended by signal {-status}; there may be too little memory"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    return told[-1] if told else f"exit status {status}, without a word"
