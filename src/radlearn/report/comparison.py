"""Runs side by side on the same records: their scores, their curves, and differences of pairs."""

from collections.abc import Mapping
from typing import Any

from radlearn.report.figures import Score, forest, roc
from radlearn.report.finetuning import Evaluation, measure
from radlearn.report.page import Figure, Section, Table, interval

P_VALUES = {
    "p_bootstrap": "p, bootstrap",
    "p_bootstrap_holm": "after Holm",
    "p_delong": "p, DeLong",
    "p_delong_holm": "after Holm",
}


def side_by_side(evaluations: Mapping[str, Evaluation]) -> list[Section]:
    """AUROCs and ROC curves of runs that were scored on the same records.

    Args:
        evaluations: what `evaluate_run` returned for each run, by the run's name.
    """
    found = list(dict.fromkeys(label for e in evaluations.values() for label in e["labels"]))
    aurocs = {
        label: {
            name: evaluation["labels"][label]["auroc"]
            for name, evaluation in evaluations.items()
            if label in evaluation["labels"]
        }
        for label in found
    }
    if len(found) > 1:
        aurocs["Mean"] = {name: one["mean"]["auroc"] for name, one in evaluations.items()}
    rows = [
        [label, *(measure(of.get(name)) for name in evaluations)] for label, of in aurocs.items()
    ]
    scores = [
        Score(name, label, one["value"], one["low"], one["high"])
        for label, of in aurocs.items()
        for name, one in of.items()
        if None not in (one["value"], one["low"], one["high"])
    ]
    items: list[Table | Figure] = [Table("AUROC of each run", ["label", *evaluations], rows)]
    if scores:
        items.append(forest("AUROC, 95 % intervals", scores, reference=0.5))
    drawn = {
        label: {
            name: list(zip(points["fpr"], points["tpr"], strict=True))
            for name, one in evaluations.items()
            if (points := one["curves"].get(label, {}).get("roc"))
        }
        for label in found
    }
    curves = [roc(label, of_runs) for label, of_runs in drawn.items() if of_runs]
    return [
        Section("Runs side by side", "", items if found else []),
        Section("ROC curves", "", curves),
    ]


def differences(comparison: Mapping[str, Any]) -> Section:
    """The pairs of a comparison, second less first, with intervals and p-values.

    Args:
        comparison: what `compare_runs` returned.
    """
    items: list[Table | Figure] = []
    for pair in comparison["pairs"]:
        name = f"{pair['second']} − {pair['first']}"
        parts = dict(pair["labels"])
        if len(parts) > 1:
            parts["Mean"] = pair["mean"]
        rows = [
            [
                label,
                interval(
                    *(one["difference"][key] for key in ("value", "low", "high")), signed=True
                ),
                *(p_value(one.get(key)) for key in P_VALUES),
            ]
            for label, one in parts.items()
        ]
        items.append(Table(name, ["label", "difference in AUROC", *P_VALUES.values()], rows))
        scores = [
            Score("difference", label, one["value"], one["low"], one["high"])
            for label, one in ((label, part["difference"]) for label, part in parts.items())
            if None not in (one["value"], one["low"], one["high"])
        ]
        if scores:
            items.append(forest(f"{name}, 95 % intervals", scores, reference=0.0))
    text = (
        f"On the same {comparison['records']:,} records of {comparison['patients']:,} patients; "
        "intervals of the paired bootstrap over patients. An interval across the dashed line "
        "leaves open which run is better."
    )
    return Section("Differences", text, items)


def p_value(p: float | None) -> str:
    """`<0.001`, or three digits; an en dash where it was not measured."""
    if p is None or p != p:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
