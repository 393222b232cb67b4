"""Scores of segmentations and their differences as tables for a terminal of 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from radlearn.metrics.mask_scores import MEASURES
from radlearn.metrics.tables import measured, plain_table, print_pairs

EMPTY = (
    "Both masks empty: Dice and IoU 1; one of them: 0. HD95 over records where neither is empty."
)


def form_of(measure: str) -> str:
    """The digits that one of `MEASURES` deserves: distances one, shares three."""
    return ".1f" if measure.startswith("hd95") else ".3f"


def shown_measures(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The measures that have a value in any of these rows."""
    return [
        name for name in MEASURES if any(one[name]["value"] is not None for one in rows.values())
    ]


def rows_of(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each class's intervals by measure, and last their mean where there are several."""
    rows = {name: one["scores"] for name, one in evaluation["classes"].items()}
    return rows | ({"Mean": evaluation["mean"]["scores"]} if len(rows) > 1 else {})


def print_masks(evaluation: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `evaluate_segmentation` returned."""
    console = console or Console()
    config, rows = evaluation["config"], rows_of(evaluation)
    shown = shown_measures(rows)
    table = plain_table(
        ("", *rows),
        f"{evaluation['run']}: {evaluation['records']} {config['split']} records of "
        f"{evaluation['patients']} patients",
        f"95 % intervals over patients, {config['resamples']} resamples, seed {config['seed']}; "
        f"* no resample differs. {EMPTY}",
    )
    for name in shown:
        table.add_row(
            MEASURES[name], *(measured(one[name], form_of(name)) for one in rows.values())
        )
    for key, title in (("positives", "not empty"), ("missed", "of these drawn empty"),
                       ("false_alarms", "empty, drawn not")):  # fmt: skip
        table.add_row(title, *(str(one[key]) for one in evaluation["classes"].values()))
    console.print(table, "", sep="\n")


def print_differences(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `compare_segmentations` returned, a table a pair of runs."""
    caption = (
        f"the same {comparison['records']} records of {comparison['patients']} patients; p by "
        "paired bootstrap over patients; Holm: over the classes; * no resample differs"
    )
    print_pairs(
        comparison,
        "HD95",
        lambda _: caption,
        lambda pair: [(name, one, form_of(one["measure"])) for name, one in difference_rows(pair)],
        console,
    )


def difference_rows(pair: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """A row a measure and class of one pair's differences, what is not measured left out."""
    several = len(pair["classes"]) > 1
    everything = {**pair["classes"], **({"mean": pair["mean"]} if several else {})}
    return [
        (
            f"{MEASURES[measure]}{f', {name}' if several else ''}",
            {**one[measure], "measure": measure},
        )
        for measure in MEASURES
        for name, one in everything.items()
        if one[measure]["difference"]["value"] is not None
    ]
