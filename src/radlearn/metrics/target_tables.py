"""Scores of classes, levels and numbers, and their differences, for a terminal of 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from radlearn.metrics.tables import measured, p_text, plain_table, print_evaluation
from radlearn.metrics.targets import MEASURES


def print_targets(evaluation: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `score_targets` returned."""
    console = console or Console()
    config, measures = evaluation["config"], MEASURES[evaluation["task"]]
    table = plain_table(
        ("score", "value"),
        f"{evaluation['run']}: {evaluation['records']} {config['split']} records of "
        f"{evaluation['patients']} patients",
        f"95 % intervals over patients, {config['resamples']} resamples, seed {config['seed']}; "
        "* no resample differs",
    )
    for name, found in evaluation["scores"].items():
        table.add_row(measures[name].title, measured(found, measures[name].form))
    console.print(table, "", sep="\n")
    if "confusion" in evaluation:
        _print_confusion(evaluation, console)
    if "labels" in evaluation:
        print_evaluation(dict(evaluation), console)


def print_target_differences(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `compare_targets` returned, a table a pair of runs."""
    console = console or Console()
    measures = MEASURES[comparison["task"]]
    for pair in comparison["pairs"]:
        table = plain_table(
            ("score", "difference", "p", "p, Holm"),
            f"{pair['second']} less {pair['first']}",
            f"the same {comparison['records']} records of {comparison['patients']} patients; p by "
            "paired bootstrap over patients; Holm: adjusted over the scores; * no resample differs",
        )
        for name, found in pair["scores"].items():
            cells = (p_text(found[key]) for key in ("p_bootstrap", "p_bootstrap_holm"))
            form = "+" + measures[name].form
            table.add_row(measures[name].title, measured(found["difference"], form), *cells)
        console.print(table, "", sep="\n")


def _print_confusion(evaluation: Mapping[str, Any], console: Console) -> None:
    classes = evaluation["classes"]
    if len(classes) > 8:
        return
    table = plain_table(("true, called", *(escape(name) for name in classes)))
    for name, row in zip(classes, evaluation["confusion"], strict=True):
        table.add_row(escape(name), *map(str, row))
    console.print(table, "", sep="\n")
