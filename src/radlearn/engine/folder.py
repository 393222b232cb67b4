"""A run is a folder: config, model, state, metrics, results and a page to look at."""

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from radlearn import __version__
from radlearn.checksums import NAME as CHECKSUMS
from radlearn.checksums import write_checksums
from radlearn.errors import InputError
from radlearn.files import read_json, spelled, writable, write_json
from radlearn.records.storage import checksums_of

LASTING = ("config.json", "model", "metrics.jsonl", "predictions.parquet", "results.json")
"""What nothing changes after a run is finished."""
STORES = "stores_sha256"
"""Setting that tells stores from others under the same names: of their checksums."""
FREE = {"radlearn", "workers", "device", "marks", "on_fault", "recompute"}
"""What may change when a run goes on; marks depend on which stores are still there."""


class RunFolder:
    """Where one run lives. Begun again with the same config it goes on where it stopped.

    Attributes:
        path: the folder.
        config: complete and resolved: enough to run it again.
        main: whether this process is the one of several that writes here.
        finished: whether results are there, so that nothing is left to do.
    """

    def __init__(self, path: Path, config: dict[str, Any], main: bool = True) -> None:
        self.path = path
        self.config = config
        self.main = main
        self._lock = FileLock(path / ".lock")

    @classmethod
    def begin(
        cls, path: Path, mission: str, config: dict[str, Any], main: bool = True
    ) -> "RunFolder":
        """Create the run, or open it again where the config is the same.

        Args:
            main: False for every process but one under a launcher: the first holds the lock.

        Raises:
            InputError: another run is there, or another process is working on this one.
        """
        config = json.loads(json.dumps({"mission": mission, "radlearn": __version__} | config))
        run = cls(path, config, main)
        if not main:
            return run
        file = path / "config.json"
        if file.exists():
            check_same(path, read_json(file, "a run"), config)
        elif path.is_dir() and any(not left.name.startswith(".") for left in path.iterdir()):
            raise InputError(f"{path} is not empty and is not a run; choose another folder")
        else:
            writable(path)
            write_json(file, config)
        try:
            run._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"another process is working on {path}; wait for it or stop it"
            ) from None
        if file.exists() and not run.finished:
            there = read_json(file, "a run")
            if there.get("on_fault") != config.get("on_fault"):
                write_json(file, there | {"on_fault": config.get("on_fault")})
        return run

    @property
    def finished(self) -> bool:
        return (self.path / "results.json").exists()

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def state(self) -> Path:
        return self.path / "state"

    def finish(self, results: dict[str, Any]) -> None:
        """Write the results, which is what makes a run finished."""
        write_json(self.path / "results.json", {"finished": True} | results)

    def abandon(self) -> None:
        """Forget a run that failed before it learnt anything: its settings may be changed then."""
        if not self.main or self.finished or any(self.state.glob("step-*.pt")):
            return
        for folder in (self.model, self.state, self.path / "events"):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("metrics.jsonl", "config.json"):
            (self.path / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the run; the first time after it finished, note its checksums."""
        try:
            if self.main and self.finished and not (self.path / CHECKSUMS).exists():
                write_checksums(self.path, [self.path / name for name in LASTING])
        finally:
            self._lock.release()


def check_same(path: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to go on with a run whose config is another."""
    if there.get(STORES) != wanted.get(STORES) and there.get("stores") == wanted.get("stores"):
        raise InputError(
            f"the stores have been prepared anew since the run {path} began; choose another --run "
            "folder"
        )
    for key in sorted(there.keys() | wanted.keys()):
        if key not in FREE and there.get(key) != wanted.get(key):
            raise InputError(
                f"{path} holds a run with {key} = {there.get(key)!r}, not {wanted.get(key)!r}; "
                "choose another --run folder, or give the same settings to go on with it"
            )


def finished_run(path: Path, mission: str | None = None) -> dict[str, Any]:
    """The config of a finished run.

    Raises:
        InputError: no run is there, it is of another mission, or it is not finished.
    """
    config: dict[str, Any] = read_json(path / "config.json", "a run")
    if mission is not None and config.get("mission") != mission:
        raise InputError(f"{path} is a run of {config.get('mission')}, not of {mission}")
    if not (path / "results.json").exists():
        raise InputError(f"the run {path} is not finished; give its command again to go on with it")
    return config


def settings(config: Any) -> dict[str, Any]:
    """A command's config as JSON holds it: every flag by its name, but for the run's own place."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    del values["run"]
    values[STORES] = [checksums_of(Path(store)) for store in values.get("stores", ())]
    return {
        name: [spelled(Path(one)) for one in value]
        if name == "stores"
        else str(value)
        if isinstance(value, Path)
        else value
        for name, value in values.items()
    }
