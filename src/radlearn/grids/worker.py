"""One command in a process of its own, which ends when the process that started it is gone."""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE = 60.0
"""Seconds for a run to save and stop, or for the one before us to let go of it."""
ORPHANED = 20.0
"""Seconds for a run whose parent was killed: less, so that it is gone before who waits gives up."""


def _end_with_parent() -> None:
    """Standard input ends when the parent does, who holds its other end and never writes."""
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(ORPHANED)
    os._exit(1)


def wait_for(run: Path) -> None:
    """A worker whose parent was killed may still be saving this run."""
    if run.is_dir():
        with suppress(Timeout), FileLock(run / ".lock", timeout=PATIENCE):
            pass


def work(run: str, arguments: list[str]) -> int:
    """Carry out a command on the folder of a run; returns its exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    wait_for(Path(run))
    from radlearn.cli import main

    return main(arguments)


if __name__ == "__main__":
    sys.exit(work(sys.argv[1], sys.argv[2:]))
