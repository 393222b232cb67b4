"""Metrics a machine reads, and progress that a person reads."""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from radlearn.files import write_text

PLAIN_EVERY = 10.0  # seconds between lines where there is no terminal

# A path may hold [brackets], and one that is folded at 80 columns cannot be found again.
console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The rows of run/metrics.jsonl, oldest first."""
    file = run / "metrics.jsonl"
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]  # a full disk may cut the last one
    return [json.loads(line) for line in whole]


class Metrics:
    """Append-only run/metrics.jsonl, with the same numbers as TensorBoard events beside it.

    Rows hold steps and values, never clock times, so that a resumed run leaves the same bytes.
    """

    def __init__(self, run: Path, resumed_at: int, *, write: bool = True) -> None:
        self._file = None
        if not write:
            return
        from torch.utils.tensorboard import SummaryWriter

        kept = [row for row in read_metrics(run) if row["step"] <= resumed_at]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        path = run / "metrics.jsonl"
        write_text(path, text)
        self._file = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(run / "events"), purge_step=resumed_at + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        if self._file is None:
            return
        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step} | row) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._events.close()


class Ticker:
    """Counts work done and says so, with a rate and the time left."""

    def __init__(self, what: str, total: int, start: int, unit: str, bar: Progress | None) -> None:
        self.what, self.total, self.done, self.unit = what, total, start, unit
        self._start, self._began, self._said = start, time.monotonic(), time.monotonic()
        self._bar = bar
        self._task = bar.add_task(what, total=total, completed=start, text="") if bar else None

    def advance(self, count: int = 1, text: str = "") -> None:
        self.done += count
        now = time.monotonic()
        rate = (self.done - self._start) / max(now - self._began, 1e-9)
        if self._bar is not None and self._task is not None:
            shown = f"{rate:.1f} {self.unit}/s  {text}"
            self._bar.update(self._task, completed=self.done, text=shown)
        elif now - self._said >= PLAIN_EVERY or self.done == self.total:
            self._said = now
            left = (self.total - self.done) / max(rate, 1e-9)
            print(
                f"{self.what}: {self.done}/{self.total}, {rate:.1f} {self.unit}/s, "
                f"{left:.0f} s left  {text}".rstrip(),
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def progress(
    what: str, total: int, *, start: int = 0, unit: str = "it", show: bool = True
) -> Iterator[Ticker]:
    """A bar on a terminal, plain lines in a log."""
    if not (show and console.is_terminal):
        ticker = Ticker(what, total, start, unit, None)
        if not show:
            ticker._said = float("inf")
            ticker.total = -1
        yield ticker
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Ticker(what, total, start, unit, bar)
