"""Tasks side by side: as many as asked for, none twice, a failed one told, none left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from radlearn.errors import InputError
from radlearn.grids import side_by_side as module
from radlearn.grids.side_by_side import Task, run_tasks

FAKE = """
import json, os, pathlib, sys, time
run, command, *given = sys.argv[1:]
pathlib.Path(run).mkdir(parents=True, exist_ok=True)
with open(pathlib.Path(run) / "begun", "a") as file:
    file.write(f"{os.getpid()} {time.monotonic()} {os.environ['OMP_NUM_THREADS']}\\n")
if command == "sleep":
    time.sleep(float(given[0]))
if command == "fail":
    print("some progress"); print("radlearn fail: no room left")
    sys.exit(2)
if command == "die":
    os.kill(os.getpid(), 9)
(pathlib.Path(run) / "ended").write_text(str(time.monotonic()))
(pathlib.Path(run) / "results.json").write_text("{}")
"""


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORKER", (sys.executable, "-c", FAKE))


def task(out: Path, name: str, command: str = "sleep", *given: str) -> Task:
    return Task(name, f"cell-{name}", command, given or ("0",), out / "runs" / name)


def spans(out: Path) -> list[tuple[float, float]]:
    runs = sorted((out / "runs").iterdir())
    return [
        (float((r / "begun").read_text().split()[1]), float((r / "ended").read_text()))
        for r in runs
    ]


def test_two_at_a_time_and_no_more(tmp_path: Path) -> None:
    tasks = [task(tmp_path, name, "sleep", "0.5") for name in "abcd"]
    assert run_tasks(tasks, tmp_path, 2) == {}
    found = spans(tmp_path)
    most = max(sum(a <= begin < b for a, b in found) for begin, _ in found)
    assert len(found) == 4 and most == 2


def test_one_at_a_time_can_have_a_process_of_its_own(tmp_path: Path) -> None:
    tasks = [task(tmp_path, name) for name in "ab"]
    assert run_tasks(tasks, tmp_path, 1, apart=True) == {}
    processes = {(one.run / "begun").read_text().split()[0] for one in tasks}
    assert len(processes) == 2 and str(os.getpid()) not in processes
    (first, second) = spans(tmp_path)
    assert first[1] <= second[0]


def test_a_failed_task_is_told_in_its_own_words_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [task(tmp_path, "bad", "fail"), task(tmp_path, "shot", "die"), task(tmp_path, "good")]
    failed = run_tasks(tasks, tmp_path, 2)
    assert failed["bad"] == "radlearn fail: no room left"
    assert "signal 9" in failed["shot"] and set(failed) == {"bad", "shot"}
    assert tasks[2].finished
    assert "bad: failed: radlearn fail: no room left" in capsys.readouterr().err
    assert "some progress" in (tmp_path / "logs" / "bad.txt").read_text()


def test_what_is_finished_or_in_other_hands_is_not_begun(tmp_path: Path) -> None:
    tasks = [task(tmp_path, name) for name in "abc"]
    (tasks[0].run).mkdir(parents=True)
    (tasks[0].run / "results.json").write_text("{}")
    (tmp_path / ".locks").mkdir()
    with FileLock(tmp_path / ".locks" / "cell-b.lock"):
        assert run_tasks(tasks, tmp_path, 2) == {}
    assert not (tasks[0].run / "begun").exists() and not tasks[1].run.exists()
    assert tasks[2].finished
    run_tasks(tasks, tmp_path, 2)
    assert tasks[1].finished, "its lock is free again"
    assert len((tasks[2].run / "begun").read_text().splitlines()) == 1


def test_stopping_stops_all_and_lets_go_of_them(tmp_path: Path) -> None:
    tasks = [task(tmp_path, name, "sleep", "60") for name in "ab"]

    def stop() -> None:
        while not all((one.run / "begun").exists() for one in tasks):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, tmp_path, 2)
    for one in tasks:
        number = int((one.run / "begun").read_text().split()[0])
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
        with FileLock(tmp_path / ".locks" / f"{one.lock}.lock", timeout=0):
            pass


def test_one_at_a_time_stays_in_this_process_and_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def call(command: str, given: tuple[str, ...]) -> int:
        seen.append(command)
        if command == "fail":
            raise InputError("no such store")
        if command == "die":
            raise MemoryError("all of it")
        return 0

    monkeypatch.setattr(module, "call", call)
    tasks = [task(tmp_path, name, name) for name in ("fail", "die", "sleep")]
    failed = run_tasks(tasks, tmp_path, 1)
    assert seen == ["fail", "die", "sleep"]
    assert failed == {"fail": "no such store", "die": "MemoryError: all of it"}


def test_cores_are_shared_among_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "all_cores", lambda: 8)
    run_tasks([task(tmp_path, "a")], tmp_path, 4)
    assert (tmp_path / "runs" / "a" / "begun").read_text().split()[2] == "2"
    assert module.threads_each() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert module.threads_each() == 4


def test_a_worker_ends_with_who_started_it() -> None:
    script = (
        "import threading, time; from radlearn.grids import worker;"
        "threading.Thread(target=worker._end_with_parent, daemon=True).start(); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == -signal.SIGTERM


ORPHAN = """
import pathlib, signal, sys, threading, time
from filelock import FileLock
from radlearn.grids import worker
worker.ORPHANED = 1.0
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=worker._end_with_parent, daemon=True).start()
run = pathlib.Path(sys.argv[1])
run.mkdir(parents=True)
with FileLock(run / ".lock"):
    (run / "begun").write_text("")
    time.sleep(600)
"""
PARENT = """
import pathlib, sys
from radlearn.grids import side_by_side as module
out = pathlib.Path(sys.argv[1])
module.WORKER = (sys.executable, "-c", sys.argv[2])
tasks = [module.Task(n, f"cell-{n}", "sleep", (), out / "runs" / n) for n in ("a", "b")]
module.run_tasks(tasks, out, 2)
"""


def test_after_kill_9_of_the_parent_a_second_start_finds_no_orphan_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), ORPHAN])
    runs = [tmp_path / "runs" / name for name in "ab"]
    deadline = time.monotonic() + 300
    while not all((run / "begun").exists() for run in runs) and time.monotonic() < deadline:
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    free = []

    def call(command: str, given: tuple[str, ...]) -> int:
        with FileLock(Path(given[0]) / ".lock", timeout=0):
            free.append(given[0])
        return 0

    monkeypatch.setattr(module, "call", call)
    tasks = [task(tmp_path, name, "sleep", str(run)) for name, run in zip("ab", runs, strict=True)]
    assert run_tasks(tasks, tmp_path, 1) == {}
    assert free == [str(run) for run in runs]
