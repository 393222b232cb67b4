"""The paper's table with our cells: its rows and columns, its numbers beside ours, wins counted."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from radlearn.grids.recipe import Recipe, percent
from radlearn.metrics.statistics import Interval
from radlearn.report.page import Table

if TYPE_CHECKING:
    from radlearn.grids.table_scores import Contrast, Scores

UNKNOWN = "none known"


def shown(interval: Interval, signed: bool = False) -> str:
    """A score, or a difference of scores, with its interval."""
    form = "{:+.3f} ({:+.3f} to {:+.3f})" if signed else "{:.3f} ({:.3f} to {:.3f})"
    return form.format(interval.value, interval.low, interval.high)


def paper_columns(recipe: Recipe, rows: Sequence["Scores"]) -> dict[str, list[str]]:
    """The paper's number for each row and what it was measured on; nothing where there is none.

    A row of which the paper's number is not known says so.
    """
    if not recipe.reported:
        return {}
    scores, splits = [], []
    for row in rows:
        found = [one for one in recipe.reported if one.belongs_to(row)]
        scores.append("; ".join(f"{one.auroc:.3f}" for one in found) or UNKNOWN)
        told = [" ".join(part for part in (one.split, one.note) if part) for one in found]
        splits.append("; ".join(told) or "–")
    return {"paper": scores, "paper's split": splits}


def paper_table(rows: Sequence["Scores"]) -> Table:
    """One row a start and data set, one column a share of labels and tuner: mean AUROC."""
    places = list(dict.fromkeys((row.init, row.data) for row in rows))
    fractions = list(dict.fromkeys(row.fraction for row in rows))
    tuners = list(dict.fromkeys(row.tuner for row in rows))
    cell = {(r.init, r.data, r.fraction, r.tuner): f"{r.point[-1]:.3f}" for r in rows}
    columns = list(product(fractions, tuners))
    return Table(
        "Mean AUROC, as the paper's table has it",
        ("start", "data", *(f"{percent(f).replace('%', ' %')} {tuner}" for f, tuner in columns)),
        [
            (init, data, *(cell.get((init, data, f, tuner), "–") for f, tuner in columns))
            for init, data in places
        ],
        "Mean over labels and seeds; intervals are in the table below.",
    )


def wins(found: Sequence["Contrast"], column: str, finding: str, higher: bool = True) -> str:
    """Who is better how often, over every pair of rows that differ in one thing; and the paper's.

    A pair of names is counted with its better half unnamed: "lora against full: better in ...".

    Args:
        higher: whether more of the score is better.
    """
    sign = 1 if higher else -1
    counted: dict[tuple[str, str], list[Interval]] = {}
    for one in found:
        if one.column == column:
            names = zip(one.second.split(", "), one.first.split(", "), strict=True)
            pair = next((second, first) for second, first in names if second != first)
            counted.setdefault(pair, []).append(one.difference)
    sentences = []
    for (second, first), differences in counted.items():
        better, worse = (sum(side * d.value > 0 for d in differences) for side in (sign, -sign))
        above, below = sum(d.low > 0 for d in differences), sum(d.high < 0 for d in differences)
        sentences.append(
            f"{second} against {first}: better in {better} of {len(differences)}, worse in "
            f"{worse}; {above} intervals lie above zero, {below} below."
        )
    if finding and sentences:
        sentences.append(f"The paper: {finding}")
    return " ".join(sentences)
