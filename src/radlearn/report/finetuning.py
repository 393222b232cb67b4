"""The page of a fine-tuning run: curves, scores with intervals, calibration, and its mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from radlearn.report.facts import command, facts, of_split, scored_on, settings
from radlearn.report.figures import (
    Score,
    curves,
    forest,
    precision_recall,
    reliability,
    roc,
    titled,
)
from radlearn.report.lists import lists_sections
from radlearn.report.page import (
    Figure,
    Gallery,
    Number,
    Picture,
    Section,
    Table,
    interval,
    write_page,
)
from radlearn.report.pictures import encode

Evaluation = Mapping[str, Any]
TUNERS = {
    "lora": ("Fine-tuning by LoRA", "low-rank updates of query and value, and a head"),
    "full": ("Full fine-tuning", "every weight trained"),
    "linear": ("Linear probe", "a head on a frozen backbone"),
}


@dataclass(frozen=True)
class Mistake:
    """A record that the run was sure about, and wrong.

    Attributes:
        image: in grey.
        label: the finding.
        truth: 0 or 1.
        probability: what the run said.
        saliency: the image with what the run looked at, from `pictures.saliency_overlay`.
        record: its id, given only where the page may show ids.
    """

    image: UInt8[np.ndarray, "height width"]
    label: str
    truth: int
    probability: float
    saliency: UInt8[np.ndarray, "height width 3"] | None = None
    record: str | None = None


def finetuning_page(
    run: Path,
    metrics: Sequence[Mapping[str, Any]],
    evaluation: Evaluation | None,
    mistakes: Sequence[Mistake],
    config: Mapping[str, Any],
) -> Path:
    """Write run/report.html and return its path.

    Args:
        run: the run's folder.
        metrics: the rows of metrics.jsonl.
        evaluation: what `evaluate_run` returned; None before the run is scored.
        mistakes: the most confident ones first.
        config: of the run.

    Raises:
        InputError: the page cannot be written.
    """
    path = run / "report.html"
    sections = [*(evaluation_sections(evaluation) if evaluation else ())]
    sections += lists_sections(evaluation or {})
    sections += [mistakes_section(mistakes), curves_section(metrics), settings(config)]
    found = facts(config) | scored_on(evaluation)
    title, what = TUNERS.get(str(config.get("tuner")), ("Fine-tuning", "a head for few labels"))
    subtitle = f"Run {run.name}: {what}"
    if config.get("fraction"):
        subtitle += f", {100 * config['fraction']:g} % of the training records"
    write_page(
        path,
        title,
        f"{subtitle}." if evaluation else f"{subtitle}. Not evaluated yet.",
        found,
        sections,
        _numbers(metrics, evaluation),
        command(config, run),
    )
    return path


def measure(value: Mapping[str, Any] | None) -> str:
    """An interval of evaluation.json as a cell; one without width says so."""
    if value is None:
        return "–"
    text = interval(value["value"], value["low"], value["high"])
    return f"{value['value']:.3f} (no width)" if value.get("degenerate") else text


def evaluation_sections(evaluation: Evaluation) -> list[Section]:
    """Scores, curves, calibration and operating points of one evaluation.json."""
    labels: Mapping[str, Any] = evaluation["labels"]
    return [
        Section(
            "Scores",
            of_split(evaluation),
            _scores(labels, evaluation["mean"]),
        ),
        _operating_points(labels),
        _label_by_label(labels, evaluation["curves"]),
    ]


def mistakes_section(mistakes: Sequence[Mistake]) -> Section:
    """The images that the run was most sure and wrong about."""
    if not mistakes:
        return Section("Mistakes")
    pictures = []
    for one in mistakes:
        panels = [("", encode(one.image))]
        if one.saliency is not None:
            panels = [("image", panels[0][1]), ("saliency", encode(one.saliency))]
        says = f"{one.label}: {one.probability:.2f}, labelled {'yes' if one.truth else 'no'}"
        caption = f"{says} · {one.record}" if one.record else says
        pictures.append(Picture(panels, says, caption))
    text = (
        "Where the run was most sure and the label says otherwise. Labels read off reports are "
        "wrong at times, so some of these may be the label's mistakes."
    )
    width = 300 if any(one.saliency is not None for one in mistakes) else 170
    return Section("Mistakes", text, [Gallery("Most confident mistakes", pictures, width=width)])


def _scores(labels: Mapping[str, Any], mean: Mapping[str, Any]) -> list[Table | Figure]:
    rows = [
        [
            name,
            f"{one['positives']:,} / {one['records']:,}",
            measure(one["auroc"]),
            measure(one["average_precision"]),
            measure(one["brier"]),
            "–" if one["ece"] is None else f"{one['ece']:.3f}",
        ]
        for name, one in labels.items()
    ]
    if len(labels) > 1:
        what = f"Mean of {len(mean['labels'])}"
        means = [measure(mean["auroc"]), measure(mean["average_precision"])]
        rows.append([what, "", *means, "", ""])
    reasons = [f"{name}: {one['reason']}." for name, one in labels.items() if one["reason"]]
    caption = " ".join(["Not measurable:", *reasons]) if reasons else ""
    columns = ["label", "positives / labelled", "AUROC", "average precision", "Brier", "ECE"]
    scores = [
        Score("AUROC", name, value["value"], value["low"], value["high"])
        for name, value in [(name, one["auroc"]) for name, one in labels.items()]
        + ([("Mean", mean["auroc"])] if len(labels) > 1 else [])
        if None not in (value["value"], value["low"], value["high"])
    ]
    items: list[Table | Figure] = [Table("Scores of each label", columns, rows, caption)]
    if len(scores) > 1:
        items.append(forest("AUROC, 95 % intervals", scores, reference=0.5))
    return items


def _label_by_label(labels: Mapping[str, Any], points: Mapping[str, Any]) -> Section:
    """A row a label: ROC, precision against recall, reliability; the last alone for one class."""
    plots = []
    for name, one in labels.items():
        drawn = points.get(name, {})
        if "roc" in drawn:
            pairs = list(zip(drawn["roc"]["fpr"], drawn["roc"]["tpr"], strict=True))
            plots.append(roc(f"{name}: ROC", {name: pairs}, f"AUROC {measure(one['auroc'])}"))
            of = drawn["precision_recall"]
            pairs = list(zip(of["recall"], of["precision"], strict=True))
            caption = f"Average precision {measure(one['average_precision'])}"
            share = one["positives"] / one["records"]
            title = f"{name}: precision and recall"
            plots.append(precision_recall(title, {name: pairs}, share, caption))
        bins = drawn.get("reliability")
        if bins and bins["count"]:
            pairs = list(zip(bins["predicted"], bins["observed"], strict=True))
            caption = f"ECE {one['ece']:.3f}, {sum(bins['count']):,} records"
            title = f"{name}: reliability"
            plots.append(reliability(title, {name: pairs}, bins["count"], caption))
    text = (
        "Dotted is what guessing reaches; in reliability, where predicted probabilities meet the "
        "share of positives (larger dots hold more records)."
    )
    return Section("Label by label", text if plots else "", plots)


def _operating_points(labels: Mapping[str, Any]) -> Section:
    rows, reasons, rule = [], [], ""
    for name, one in labels.items():
        point = one["operating_point"]
        rule = point["rule"]
        if point["reason"]:
            reasons.append(f"{name}: {point['reason']}.")
            continue
        shares = [measure(point[key]) for key in ("sensitivity", "specificity", "ppv", "npv")]
        rows.append([name, _threshold(point["threshold"]), *shares])
    columns = ["label", "threshold", "sensitivity", "specificity", "PPV", "NPV"]
    caption = " ".join(["No threshold:", *reasons]) if reasons else ""
    text = f"Thresholds chosen on validation ({rule}) and applied here as they are."
    items = [Table("At one threshold a label", columns, rows, caption)] if rows else []
    return Section("Operating points", text if items else caption, items)


def _threshold(value: float) -> str:
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"


def curves_section(metrics: Sequence[Mapping[str, Any]]) -> Section:
    names = sorted({name for row in metrics for name in row if name != "step"})
    rates = [name for name in names if name.startswith("lr")]
    held = [name for name in names if name.startswith("val_")]
    terms = [name for name in names if name not in {*rates, *held}]
    panels = [
        curves("Training loss", metrics, terms),
        *(curves(titled(name), metrics, [name]) for name in held),
        curves("Learning rate", metrics, rates),
    ]
    return Section("Training", "", [panel for panel in panels if panel])


def _numbers(metrics: Sequence[Mapping[str, Any]], evaluation: Evaluation | None) -> list[Number]:
    numbers = []
    if evaluation:
        mean = evaluation["mean"]
        of = "Mean " if len(evaluation["labels"]) > 1 else ""
        for name, key in (("AUROC", "auroc"), ("average precision", "average_precision")):
            value, _, detail = measure(mean[key]).partition(" ")
            what = of + name
            numbers.append(Number(what[0].upper() + what[1:], value, detail.strip("()")))
    if metrics:
        numbers.append(Number("Steps", f"{max(row['step'] for row in metrics):,}"))
    best = [row for row in metrics if row.get("val_auroc") is not None]
    if best:
        top = max(best, key=lambda row: row["val_auroc"])
        detail = f"at step {top['step']:,}, the one kept"
        numbers.append(Number("Best validation AUROC", f"{top['val_auroc']:.3f}", detail))
    return numbers
