"""`radlearn verify`: whether a run's first steps, trained again, give the same numbers."""

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from radlearn.errors import InputError

LOOK_EVERY = 0.2  # seconds
COMMANDS_OF = {"pretraining": "pretrain", "finetuning": "finetune", "translation": "translate"}


@dataclass(frozen=True)
class VerifyConfig:
    """Train the first steps of a run again, in a folder that is thrown away, and compare.

    Its stores, its init and the same number of threads are needed. Every number is expected to be
    the same to the last bit on the machine that trained the run; elsewhere it may differ.

    Example: radlearn verify runs/lora
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run, finished or not."""
    rows: int = 3
    """Rows of metrics to compare."""

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise InputError("--rows must be above 0")


def verify(config: VerifyConfig) -> int:
    """Print the first difference, or that there is none.

    Returns:
        0 when all compared numbers are the same, 1 when one differs.

    Raises:
        InputError: no run is there, it has no metrics yet, or it cannot be trained again.
    """
    from radlearn.engine.log import console, read_metrics
    from radlearn.files import read_json

    told = read_json(config.run / "config.json", "a run")
    command = COMMANDS_OF.get(str(told.get("mission"))) if isinstance(told, dict) else None
    if command is None:
        raise InputError(f"{config.run} is no run of {', '.join(COMMANDS_OF)}")
    before = read_metrics(config.run)[: config.rows]
    if not before:
        raise InputError(f"{config.run} has no metrics yet; give its command again to go on")
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "run"
        after = _first_rows(command, _arguments(command, told), again, len(before))
    for old, new in zip(before, after, strict=True):
        if old != new:
            names = [name for name in old if old[name] != new.get(name)]
            name = names[0] if names else "the names of the columns"
            console.print(
                f"not the same: {name} at step {old['step']} was {old.get(name)}, and is "
                f"{new.get(name)} now",
                style="red",
            )
            return 1
    console.print(
        f"the same: {sum(len(row) for row in before)} numbers of {len(before)} rows, to step "
        f"{before[-1]['step']}"
    )
    return 0


def _arguments(command: str, told: Mapping[str, Any]) -> list[str]:
    """A run's config as the flags that made it."""
    from radlearn.cli import COMMANDS, load
    from radlearn.grids.recipe import arguments

    flags = {one.name for one in fields(load(COMMANDS[command].config))}
    given = {name: value for name, value in told.items() if name in flags and name != "stores"}
    return [*told["stores"], *arguments({k: v for k, v in given.items() if v not in (None, [])})]


def _first_rows(command: str, given: list[str], run: Path, rows: int) -> list[dict[str, Any]]:
    """The first rows of metrics of a run that is stopped as soon as it has them."""
    from radlearn.engine.log import read_metrics
    from radlearn.grids.side_by_side import WORKER

    arguments = [*WORKER, str(run), command, *given, "--run", str(run)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None and len(_read(run)) < rows:
                time.sleep(LOOK_EVERY)
        finally:
            process.kill()
            process.communicate()
        found = read_metrics(run)
        if len(found) < rows:
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()
            raise InputError(
                f"the run could not be trained again: {said[-1] if said else 'silent'}"
            )
    return found[:rows]


def _read(run: Path) -> list[dict[str, Any]]:
    from radlearn.engine.log import read_metrics

    try:
        return read_metrics(run)
    except (OSError, json.JSONDecodeError):  # it is being written
        return []
