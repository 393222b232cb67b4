"""Scores of translations and their differences as tables for a terminal of 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from radlearn.metrics.slice_scores import MEASURES, SCORES
from radlearn.metrics.tables import measured, p_text, plain_table

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
    console = console or Console()
    for pair in comparison["pairs"]:
        table = plain_table(
            ("", "difference", "p", "p, Holm"),
            f"{pair['second']} less {pair['first']} (of NMAE less is better)",
            f"the same {comparison['slices']} slices of {comparison['patients']} patients. "
            f"{pair['intervals']} Holm: adjusted over the scores; of patients, over the patients",
        )
        for name, found in pair["scores"].items():
            rows = {SCORES[name]: found["overall"]}
            if 1 < len(found["patients"]) <= MOST_PATIENTS:
                rows |= {f"  {patient}": one for patient, one in found["patients"].items()}
            for title, one in rows.items():
                cells = (p_text(one[key]) for key in ("p", "p_holm"))
                table.add_row(escape(title), measured(one, "+" + form_of(name)), *cells)
        console.print(table, "", sep="\n")
