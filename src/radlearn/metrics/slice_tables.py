"""Scores of translations and their differences as tables for a terminal of 80 columns."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from radlearn.metrics.slice_scores import MEASURES, SCORES
from radlearn.metrics.tables import measured, plain_table, print_pairs

MOST_PATIENTS = 12
"""With more, the terminal has what holds over all of them; evaluation.json has each."""


def form_of(score: str) -> str:
    """The digits that one of `SCORES` deserves: decibels two, shares four."""
    return ".2f" if score.endswith("psnr") else ".4f"


def print_translation(evaluation: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `evaluate_translation` returned: over all patients and in each."""
    console = console or Console()
    scores: Mapping[str, Any] = evaluation["scores"]
    table = plain_table(
        ("", "as the paper", "standard"),
        f"{evaluation['run']} after {evaluation['step']} steps: {evaluation['slices']} "
        f"{evaluation['config']['split']} slices of {evaluation['patients']} patients",
        f"{evaluation['intervals']} Slices without foreground are left out "
        f"({evaluation['empty']}).",
    )
    for measure in MEASURES:
        kinds = [f"{kind}_{measure.lower()}" for kind in ("paper", "standard")]
        rows = {measure: [scores[key]["overall"] for key in kinds]}
        if 1 < evaluation["patients"] <= MOST_PATIENTS:
            for patient in scores[kinds[0]]["patients"]:
                rows[f"  {patient}"] = [scores[key]["patients"][patient] for key in kinds]
        for title, values in rows.items():
            cells = (measured(one, form_of(kinds[0])) for one in values)
            table.add_row(escape(title), *cells)
    console.print(table, "", sep="\n")


def print_differences(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `compare_translations` returned, a table a pair of runs."""
    same = f"the same {comparison['slices']} slices of {comparison['patients']} patients."
    print_pairs(
        comparison,
        "NMAE",
        lambda pair: (
            f"{same} {pair['intervals']} Holm: adjusted over the scores; of patients, "
            "over the patients"
        ),
        _difference_rows,
        console,
    )


def _difference_rows(pair: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    for name, found in pair["scores"].items():
        yield SCORES[name], {**found["overall"], "difference": found["overall"]}, form_of(name)
        if 1 < len(found["patients"]) <= MOST_PATIENTS:
            for patient, one in found["patients"].items():
                yield f"  {patient}", {**one, "difference": one}, form_of(name)
