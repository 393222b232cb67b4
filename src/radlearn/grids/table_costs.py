"""What the cells of a grid cost, beside what they score."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from radlearn.grids.recipe import Recipe, percent
from radlearn.grids.table_paper import shown
from radlearn.grids.table_scores import Scores, run_of
from radlearn.metrics.finished import finished_results
from radlearn.report.page import Table

MIB = 2**20


def costs_of(recipe: Recipe, out: Path, rows: Sequence[Scores]) -> list[dict[str, Any]]:
    """Of every row: parameters that train, bytes at the peak, seconds of a step; over its seeds.

    The peak is the highest, the seconds are the median; None where no run has measured them.
    """
    found = []
    for row in rows:
        cells = [
            finished_results(run_of(out, cell))
            for cell in recipe.cells()
            if (cell.init, cell.tuner, cell.fraction, cell.data)
            == (row.init, row.tuner, row.fraction, row.data)
            and (run_of(out, cell) / "results.json").exists()
        ]
        seconds = [c["seconds_per_step"] for c in cells if c.get("seconds_per_step") is not None]
        peaks = [c["peak_memory"] for c in cells if c.get("peak_memory") is not None]
        found.append(
            {
                "data": row.data,
                "init": row.init,
                "tuner": row.tuner,
                "fraction": row.fraction,
                "parameters_trained": max(c["parameters_trained"] for c in cells),
                "peak_memory": max(peaks, default=None),
                "seconds_per_step": median(seconds) if seconds else None,
            }
        )
    return found


def costs_table(rows: Sequence[Scores], costs: Sequence[dict[str, Any]]) -> Table:
    """A line a row, the best score first."""
    lines = []
    last = rows[0].point.size - 1
    for row, cost in sorted(zip(rows, costs, strict=True), key=lambda one: -one[0].point[last]):
        peak, seconds = cost["peak_memory"], cost["seconds_per_step"]
        lines.append(
            (
                *(row.init, row.tuner, percent(row.fraction).replace("%", " %")),
                shown(row.interval(last)),
                f"{cost['parameters_trained']:,}",
                "–" if peak is None else f"{peak / MIB:,.0f}",
                "–" if seconds is None else f"{seconds:.3f}",
            )
        )
    return Table(
        "What it costs",
        (
            *("start", "tuner", "labels used", rows[0].metric),
            *("parameters trained", "peak memory, MiB", "seconds a step"),
        ),
        lines,
        "Parameters with the head's. Memory: the most that the run's own process took, Python and "
        "pictures included, or on a GPU its tensors. Seconds: forward, backward and update; the "
        "median over steps, then over seeds.",
    )
