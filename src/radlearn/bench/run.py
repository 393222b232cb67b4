"""`radlearn bench`: every figure in turn, as a table and as JSON."""

import importlib
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from radlearn import __version__
from radlearn.bench.config import BenchConfig, ClockName
from radlearn.bench.figure import OURS, PLAIN, Figure, Measure, Setting
from radlearn.bench.limits import Limits, limits
from radlearn.bench.sizes import SIZES
from radlearn.engine.device import Compute, compute
from radlearn.engine.log import console
from radlearn.files import write_json

FIGURES: dict[str, str] = {
    "pretrain": "pretraining:pretrain",
    "lora": "finetuning:lora",
    "full": "finetuning:full",
    "infer": "finetuning:infer",
    "load": "loading:load",
    "translate": "translation:translate",
    "job-lora": "jobs:job_lora",
    "job-linear": "jobs:job_linear",
    "bootstrap": "commands:bootstrap",
    "help": "commands:opening",
}
"""Where each figure's function is: a module here, and its name."""


def bench(config: BenchConfig) -> None:
    """Measure, print the table, and write what was measured where it was asked for.

    The file is written after every figure, so that a stop loses none.
    """
    here, now = compute(config.device, config.precision), clock(config.clock)
    console.print(f"measuring on {described(here)}, {config.clock} time")
    bounds = limits(here.device, config.repeats, config.size, now)
    figures: list[Figure] = []
    for name in config.only or FIGURES:
        with tempfile.TemporaryDirectory(prefix="radlearn-bench-") as folder:
            setting = Setting(
                SIZES[config.size], config.repeats, config.baseline, here, Path(folder), now
            )
            figures.append(_measure(name)(setting))
        console.print(_line(figures[-1]))
        if config.json is not None:
            write_json(config.json, as_json(figures, bounds, here, config))
    print_table(figures, bounds)


def clock(name: ClockName) -> Callable[[], float]:
    """The clock of this name; the processor's makes torch use one thread, whose time it is."""
    if name == "wall":
        return time.perf_counter
    torch.set_num_threads(1)
    return time.process_time


def described(here: Compute) -> str:
    """Device, threads and precision, in words."""
    precision = "bfloat16" if here.bfloat16 else "float32"
    if here.device.type == "cuda":
        return f"{torch.cuda.get_device_name(here.device)} in {precision}"
    return f"{here.device.type}, {torch.get_num_threads()} threads, in {precision}"


def as_json(
    figures: list[Figure], bounds: Limits, here: Compute, config: BenchConfig
) -> dict[str, Any]:
    """All that was measured, and on what."""
    return {
        "radlearn": __version__,
        "torch": torch.__version__,
        "machine": {"system": platform.platform(), "measured_on": described(here)},
        "size": config.size,
        "repeats": config.repeats,
        "clock": config.clock,
        "limits": asdict(bounds),
        "figures": {figure.name: figure.as_json(bounds) for figure in figures},
    }


def print_table(figures: list[Figure], bounds: Limits) -> None:
    """A row a figure, and a line of the machine's limits."""
    table = Table(box=None, pad_edge=False)
    table.add_column("work")
    for name in ("ours", "plain", "ratio", "goal", "of limit", "memory"):
        table.add_column(name, justify="right")
    for one in figures:
        table.add_row(
            one.about,
            _rate(one, OURS),
            _rate(one, PLAIN),
            _times(one.ratio),
            _goal(one),
            _share(one.share(bounds)),
            _memory(one),
        )
    out = type(console)(highlight=False, markup=False, width=max(console.width, 150))
    out.print(table)
    out.print(
        f"limits: {bounds.float32 / 1e9:,.0f} GFLOP/s in float32, {bounds.bfloat16 / 1e9:,.0f} in "
        f"bfloat16; memory {bounds.bandwidth / 1e9:,.1f} GB/s; {bounds.threads} threads"
    )
    for one in figures:
        for name, value in one.facts.items():
            out.print(f"{one.name}: {name} {value:.3g}")


def _measure(name: str) -> Measure:
    module, function = FIGURES[name].split(":")
    return getattr(importlib.import_module(f"radlearn.bench.{module}"), function)


def _line(figure: Figure) -> str:
    ratio = f", {_times(figure.ratio)} times the plain form" if PLAIN in figure.seconds else ""
    return f"{figure.name}: {_rate(figure, OURS)}{ratio}"


def _rate(figure: Figure, form: str) -> str:
    if not figure.seconds.get(form):
        return ""
    if figure.count == 1 or figure.most_seconds is not None:
        return f"{figure.median(form):.3g} s"
    return f"{figure.rate(form):,.3g} {figure.unit}/s"


def _goal(figure: Figure) -> str:
    if figure.most_seconds is not None:
        return f"{figure.most_seconds:g} s"
    return f"{figure.goal:g}" if figure.goal else ""


def _times(value: float) -> str:
    return "" if value != value else f"{value:.2f}"


def _share(value: float) -> str:
    return "" if value != value else f"{value:.0%}"


def _memory(figure: Figure) -> str:
    if OURS not in figure.memory:
        return ""
    words = f"{figure.memory[OURS] / 1e9:.2f} GB"
    return words + (f" of {figure.memory[PLAIN] / 1e9:.2f}" if PLAIN in figure.memory else "")
