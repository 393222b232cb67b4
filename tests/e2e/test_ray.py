"""Cells and files over a real Ray cluster of two nodes, one of which is lost: the local results."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from e2e.conftest import run
from radlearn.cluster import joined
from radlearn.errors import InputError
from radlearn.grids import side_by_side
from radlearn.grids.on_ray import Far, room_there
from radlearn.grids.side_by_side import Begin, Task, run_tasks
from radlearn.records import prepare as preparing
from radlearn.records.prepare import prepare_source
from radlearn.records.record import SourceRecord
from unit.made_bomb import Bomb
from unit.made_sources import made_config, made_records, made_source

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'radlearn[cluster]'")
SMALL = {
    "num_cpus": 1,
    "object_store_memory": 80 * 2**20,
    "include_dashboard": False,
    "include_log_monitor": False,
}
PATIENT = {  # a lost node is noticed in seconds, one that is only slow is waited for
    "worker_register_timeout_seconds": 600,
    "worker_niceness": 0,
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 20000,
    "health_check_failure_threshold": 5,
}


def key_file(folder: Path) -> Path:
    (folder / "a.key").write_text("0123456789abcdef0123456789abcdef")
    return folder / "a.key"


def contents(store: Path) -> dict[str, bytes]:
    """All files of a store, less the checksums, which tell only what the rest is."""
    kept = [path for path in store.iterdir() if path.name not in (".lock", "checksums.json")]
    return {path.name: path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one node with one core."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the bomb is from
        head = {**SMALL, "no_monitor": True, "_system_config": PATIENT}
        found = Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("RAY_ADDRESS", found.address)
        yield found
        found.shutdown()


class Second:
    """The second node of the cluster, which can be lost without a word."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.node = cluster.add_node(**SMALL)

    def lose(self) -> None:
        if self.node is not None:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


@pytest.fixture
def second(cluster: Any) -> Iterator[Second]:
    found = Second(cluster)
    yield found
    found.lose()


def test_without_a_cluster_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RADLEARN_DATA", str(tmp_path))
    given = ("compare", "medpeft", "--scale", "tiny", "--out", tmp_path / "out", "--on", "ray")
    assert run(*given) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "at 127.0.0.1:1" in said[0]
    assert "ray start --head" in said[0] and "RAY_ADDRESS" in said[0]


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, phantom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'radlearn\[cluster\]'"), joined():
        pass


def test_a_store_made_on_a_cluster_that_loses_a_node_is_the_local_one(
    second: Second, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "SHARD_SIZE", 8)
    records = made_records(tmp_path, 12)
    records[5] = replace(records[5], image=Bomb(records[5].image))
    records[9].image.write_bytes(b"no picture")  # type: ignore[union-attr]
    config = made_config(tmp_path, tmp_path / "local", key=key_file(tmp_path), workers=1)
    prepare_source(made_source(records), config)

    def with_a_loss() -> Iterator[SourceRecord]:
        yield from records[:18]
        second.lose()
        yield from records[18:]

    far = replace(config, store=tmp_path / "far", on="ray")
    prepare_source(replace(made_source([]), records=with_a_loss()), far)
    assert second.node is None
    assert contents(tmp_path / "far") == contents(tmp_path / "local")
    told = (tmp_path / "far" / "set_aside.csv").read_text()
    assert "crashed" in told and len(told.splitlines()) == 3


FAKE = """
import os, pathlib, sys, time
run, command, *given = sys.argv[1:]
pathlib.Path(run).mkdir(parents=True, exist_ok=True)
with open(pathlib.Path(run) / "begun", "a") as file:
    file.write(f"{os.getpid()}\\n")
if command == "fail":
    print("some progress"); print("radlearn fail: no room left")
    sys.exit(2)
time.sleep(float(given[0]))
(pathlib.Path(run) / "results.json").write_text("{}")
"""


def task(out: Path, name: str, command: str = "sleep", *given: str) -> Task:
    return Task(name, f"cell-{name}", command, given or ("0",), out / "runs" / name)


def begun(one: Task) -> list[int]:
    """The processes that have worked on a task."""
    file = one.run / "begun"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.fixture
def far(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    monkeypatch.setattr(side_by_side, "WORKER", (sys.executable, "-c", FAKE))
    with joined():
        room = room_there()
        assert (room.threads, room.gpus) == (1, 0)
        yield partial(Far, room)


def test_what_fails_is_told_in_its_own_words_and_not_tried_again(
    far: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a relative folder is the same on every node
    tasks = [task(Path("out"), "bad", "fail"), task(Path("out"), "good")]
    assert run_tasks(tasks, Path("out"), 2, begin=far) == {"bad": "radlearn fail: no room left"}
    assert [len(begun(one)) for one in tasks] == [1, 1]
    assert "some progress" in (tmp_path / "out" / "logs" / "bad.txt").read_text()
    assert run_tasks(tasks[1:], Path("out"), 2, begin=far) == {}
    assert len(begun(tasks[1])) == 1, "what is finished is not begun"


def test_stopping_stops_all_and_lets_go_of_them(far: Begin, tmp_path: Path) -> None:
    tasks = [task(tmp_path, name, "sleep", "60") for name in "ab"]

    def stop() -> None:
        while not any(begun(one) for one in tasks):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, tmp_path, 2, begin=far)
    worked = [number for one in tasks for number in begun(one)]
    assert len(worked) == 1, "the cluster has one core"
    with pytest.raises(ProcessLookupError):
        os.kill(worked[0], 0)
    for one in tasks:
        with FileLock(tmp_path / ".locks" / f"{one.lock}.lock", timeout=0):
            pass


RECIPE = """
title = "Phantoms"
[about]
cost = "seconds"
expected = "nothing"
[stores.phantoms]
layout = "folder"
source = "${PHANTOMS}"
table = "${PHANTOMS}/records.csv"
label_columns = ["Effusion", "Consolidation"]
size = 64
val = 0.2
test = 0.3
key = "${PHANTOM_KEY}"
[finetune]
stores = ["phantoms"]
model = "tiny"
image_size = 32
patch = 8
batch = 8
evaluations = 4
precision = "float32"
[finetune.tuners.full]
[finetune.tuners.lora]
rank = 2
[finetune.tuners.linear]
[finetune.fractions."1"]
steps = 60
[grid]
init = ["scratch"]
tuner = ["full", "lora", "linear"]
fraction = [1.0]
seed = [0]
"""


def weights(out: Path) -> dict[str, bytes]:
    """What every cell learnt, step by step, and what it answers."""
    names = ("model.safetensors", "metrics.jsonl", "predictions.parquet")
    found = sorted(path for name in names for path in (out / "runs").rglob(name))
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def test_a_grid_on_a_cluster_that_loses_a_node_is_the_local_one(
    second: Second,
    phantom_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PHANTOMS", str(phantom_folder))
    monkeypatch.setenv("PHANTOM_KEY", str(key_file(tmp_path)))
    (tmp_path / "grid.toml").write_text(RECIPE)
    given: Sequence[object] = ("compare", tmp_path / "grid.toml", "--resamples", 20)
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(*given, "--out", here, "--jobs", 1) == 0

    def learning() -> list[Path]:
        return [path.parent for path in there.glob("runs/*/metrics.jsonl")]

    def lose() -> None:
        while sum(not (run / "results.json").exists() for run in learning()) < 2:
            time.sleep(0.05)
        second.lose()

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    assert run(*given, "--out", there, "--on", "ray") == 0
    thread.join(1)
    said = capsys.readouterr().err
    assert said.count("its node was lost") == 1 and said.count("finished in") == 3
    assert len(weights(here)) >= 9 and weights(there) == weights(here)
