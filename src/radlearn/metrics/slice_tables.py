"""Scores of translations and their differences as tables for a terminal of 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from radlearn.metrics.slice_scores import LOWER_IS_BETTER, MEASURES, SCORES
from radlearn.metrics.tables import measured, p_text, plain_table

MOST_PATIENTS = 12
"""With more, the terminal has what holds over all of them; evaluation.json has each."""


def form_of(score: str) -> str:
    """The digits that one of `SCORES` deserves: decibels two, shares four."""
    return ".2f" if score.endswith("psnr") else ".4f"


def print_translation(evaluation: dict[str, Any], console: Console | None = None) -> None:
    """Print what `evaluate_translation` returned: over all patients, then each by the paper."""
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
        keys = (f"{kind}_{measure.lower()}" for kind in ("paper", "standard"))
        cells = (measured(scores[key]["overall"], form_of(key)) for key in keys)
        table.add_row(measure, *cells)
    console.print(table, "", sep="\n")
    if not 1 < evaluation["patients"] <= MOST_PATIENTS:
        return
    each = plain_table(("patient", "slices", *MEASURES), "Each patient, as the paper")
    names = [f"paper_{measure.lower()}" for measure in MEASURES]
    for patient, first in scores[names[0]]["patients"].items():
        cells = (measured(scores[name]["patients"][patient], form_of(name)) for name in names)
        each.add_row(escape(patient), str(first["slices"]), *cells)
    console.print(each, "", sep="\n")


def print_differences(comparison: dict[str, Any], console: Console | None = None) -> None:
    """Print what `compare_translations` returned, a table a pair of runs."""
    console = console or Console()
    for pair in comparison["pairs"]:
        lower = " and ".join(sorted({SCORES[name].split(",")[0] for name in LOWER_IS_BETTER}))
        table = plain_table(
            ("", "difference", "p", "p, Holm"),
            f"{pair['second']} less {pair['first']} (of {lower} less is better)",
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
