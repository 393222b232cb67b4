"""Translations side by side on the same slices: their scores, and differences by patient."""

from collections.abc import Mapping
from typing import Any

from radlearn.metrics.slice_scores import MEASURES, SCORES
from radlearn.report.comparison import p_value
from radlearn.report.figures import Score, forest
from radlearn.report.page import Figure, Section, Table
from radlearn.report.translation import definitions, measure

MOST_PATIENTS = 40  # in a plot; the tables have all of them
DRAWN = [f"paper_{name.lower()}" for name in MEASURES]


def side_by_side(evaluations: Mapping[str, Mapping[str, Any]]) -> Section:
    """Scores of runs on the same slices.

    Args:
        evaluations: what `evaluate_translation` returned for each run, by the run's name.
    """
    rows = [
        [title, *(measure(name, one["scores"][name]["overall"]) for one in evaluations.values())]
        for name, title in SCORES.items()
    ]
    steps = "; ".join(f"{name} after {one['step']:,}" for name, one in evaluations.items())
    return Section(
        "Runs side by side",
        f"Scored after these steps: {steps}.",
        [Table("Scores of each run", ["", *evaluations], rows), definitions()],
    )


def differences(comparison: Mapping[str, Any]) -> list[Section]:
    """A section a pair of runs, second less first, over all patients and in each.

    Args:
        comparison: what `compare_translations` returned.
    """
    return [_pair(pair, comparison) for pair in comparison["pairs"]]


def _pair(pair: Mapping[str, Any], comparison: Mapping[str, Any]) -> Section:
    name = f"{pair['second']} − {pair['first']}"
    items: list[Table | Figure] = [
        Table(
            "Over all patients",
            ["", "difference", "p, bootstrap", "after Holm"],
            [_row(SCORES[key], key, found["overall"]) for key, found in pair["scores"].items()],
            "Holm's adjustment is over the scores.",
        )
    ]
    for key in DRAWN:
        found = pair["scores"][key]
        shown = list(found["patients"].items())[:MOST_PATIENTS]
        drawn = [
            Score("difference", title, one["value"], one["low"], one["high"])
            for title, one in [*shown, ("All patients", found["overall"])]
            if None not in (one["value"], one["low"], one["high"])
        ]
        items.append(forest(f"{SCORES[key]}: each patient", drawn, reference=0.0))
    items += [
        Table(
            f"{SCORES[key]}: each patient",
            ["patient", "difference", "p, bootstrap", "after Holm"],
            [_row(patient, key, one) for patient, one in found["patients"].items()],
            "Holm's adjustment is over the patients.",
            folded=True,
        )
        for key, found in pair["scores"].items()
    ]
    text = (
        f"On the same {comparison['slices']:,} slices of {comparison['patients']:,} patients, "
        f"paired slice by slice. {pair['intervals']} Of NMAE less is better. An interval across "
        "the dashed line leaves open which run is better."
    )
    return Section(name, text, items)


def _row(title: str, key: str, one: Mapping[str, Any]) -> list[str]:
    cells = (p_value(one[p]) for p in ("p", "p_holm"))
    return [title, measure(key, one, signed=True), *cells]
