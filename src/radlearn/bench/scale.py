"""`radlearn bench scale`: whether a large store and larger steps cost what they should."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radlearn.bench.config import ScaleConfig
from radlearn.bench.estimates import GPUS, Estimate, estimates
from radlearn.bench.figure import Setting
from radlearn.bench.limits import Limits, limits
from radlearn.bench.run import clock, described
from radlearn.bench.sizes import SIZES
from radlearn.bench.step_growth import step_growth
from radlearn.bench.store_growth import StoreGrowth, store_growth
from radlearn.engine.device import compute
from radlearn.engine.log import console
from radlearn.files import write_json
from radlearn.report.figures import lines
from radlearn.report.page import Section, Table, write_page

Lines = dict[str, list[tuple[float, float]]]


def scale(config: ScaleConfig) -> int:
    """Measure, print, and write OUT/scale.json and OUT/report.html.

    Returns:
        1 where the large store loads slower than the small one by more than a tenth, or takes
        200 MB more to prepare; else 0.
    """
    here, now = compute(config.device, config.precision), clock(config.clock)
    bounds = limits(here.device, config.repeats, config.size, now)
    stores = _stores(config) if "store" in config.parts else None
    grown: Lines = {}
    if "steps" in config.parts:
        with tempfile.TemporaryDirectory(prefix="radlearn-bench-") as folder:
            setting = Setting(SIZES[config.size], config.repeats, False, here, Path(folder), now)
            grown = step_growth(setting)
    hours = estimates(bounds)
    found: dict[str, Any] = {
        "measured_on": described(here),
        "limits": asdict(bounds),
        "stores": stores and {**asdict(stores), "flat": stores.flat},
        "steps": grown,
        "estimates": [one._asdict() for one in hours],
    }
    write_json(config.out / "scale.json", found)
    command = f"radlearn bench scale --records {config.records} --out {config.out}"
    write_page(
        config.out / "report.html",
        "What grows, and how fast",
        f"Measured on {described(here)}.",
        {"Matrix products": f"{bounds.best / 1e9:,.0f} GFLOP/s at the best"},
        _sections(stores, grown, hours, bounds),
        command=command,
    )
    console.print(f"page: {config.out / 'report.html'}")
    return 0 if stores is None or stores.flat else 1


def _stores(config: ScaleConfig) -> StoreGrowth:
    folder = config.out / "made"
    try:
        found = store_growth(folder, config.records, config.image_size, config.repeats)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for one in (found.small, found.large):
        console.print(
            f"{one.records:,} records: prepared in {one.prepare_seconds:,.0f} s with "
            f"{one.prepare_memory / 1e9:.2f} GB, {one.load_rate:,.0f} pictures/s a core, a run of "
            f"one step in {one.run_seconds:.1f} s"
        )
    return found


def _sections(
    stores: StoreGrowth | None, grown: Lines, hours: Sequence[Estimate], bounds: Limits
) -> list[Section]:
    sections = []
    if stores is not None:
        sections.append(Section("Stores", _verdict(stores), [_store_table(stores)]))
    if grown:
        text = "Seconds of a step of LoRA, one thing changed at a time; the fastest of the repeats."
        plots = [lines(name, {"step": points}, name, ["step"]) for name, points in grown.items()]
        sections.append(Section("Steps", text, plots))
    columns = ("Recipe", "Runs", "Hours here", "Hours on one GPU", f"Hours on {GPUS} GPUs")
    rows = [
        (one.recipe, f"{one.runs:,}", *(f"{value:,.1f}" for value in (one.here, one.gpu, one.gpus)))
        for one in hours
    ]
    text = "By counted operations; the shares of the machines' rates are in docs/performance.md."
    return [*sections, Section("The papers' own runs", text, [Table("Hours", columns, rows)])]


def _verdict(stores: StoreGrowth) -> str:
    return (
        f"The large store loads {abs(stores.slower):.0%} "
        f"{'slower' if stores.slower > 0 else 'faster'} and takes "
        f"{stores.more_memory / 1e6:,.0f} MB more to prepare: {'' if stores.flat else 'not '}flat."
    )


def _store_table(stores: StoreGrowth) -> Table:
    columns = ("Records", "Prepared in", "Memory", "Pictures a second and core", "Run of one step")
    rows = [
        (
            f"{one.records:,}",
            f"{one.prepare_seconds:,.0f} s",
            f"{one.prepare_memory / 1e9:.2f} GB",
            f"{one.load_rate:,.0f}",
            f"{one.run_seconds:.1f} s",
        )
        for one in (stores.small, stores.large)
    ]
    return Table("A large store beside a small one", columns, rows)
