"""The page of a run that learned one class, one level of a scale, or a number a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from radlearn.metrics.targets import MEASURES
from radlearn.report.comparison import p_value
from radlearn.report.drawing import svg
from radlearn.report.facts import command, facts, of_split, scored_on, settings
from radlearn.report.figures import Points, Score, forest
from radlearn.report.finetuning import TUNERS, curves_section, evaluation_sections
from radlearn.report.lists import lists_sections
from radlearn.report.page import Figure, Number, Section, Table, interval, write_page
from radlearn.report.palette import LIGHT, styles

Evaluation = Mapping[str, Any]
TITLES = {
    "single-label": "One class of several",
    "ordinal": "A level of a scale",
    "continuous": "A number",
}


def targets_page(
    run: Path,
    metrics: Sequence[Mapping[str, Any]],
    evaluation: Evaluation | None,
    config: Mapping[str, Any],
) -> Path:
    """Write run/report.html and return its path.

    Args:
        metrics: the rows of metrics.jsonl.
        evaluation: what `score_targets` returned; None where no records were held apart.
        config: of the run.

    Raises:
        InputError: the page cannot be written.
    """
    path, task = run / "report.html", str(config["task"])
    sections, found = [], facts(config) | scored_on(evaluation)
    if evaluation:
        sections = [_scores(evaluation)]
        sections += evaluation_sections(evaluation) if "labels" in evaluation else []
        sections += lists_sections(evaluation)
    sections += [curves_section(metrics), settings(config)]
    learned = config.get("target") or ", ".join(config.get("labels") or ())
    tuned = TUNERS.get(str(config.get("tuner")), ("Fine-tuning", "a head for few labels"))[0]
    subtitle = f"Run {run.name}: {learned}. {tuned}"
    write_page(
        path,
        TITLES[task],
        f"{subtitle}." if evaluation else f"{subtitle}. Not evaluated yet.",
        found,
        sections,
        _numbers(metrics, evaluation),
        command(config, run),
    )
    return path


def side_by_side(evaluations: Mapping[str, Evaluation]) -> Section:
    """A column a run, a row a score."""
    first = next(iter(evaluations.values()))
    measures = MEASURES[first["task"]]
    rows = [
        [
            measures[name].title,
            *(_cell(one["scores"][name], name, one) for one in evaluations.values()),
        ]
        for name in first["scores"]
    ]
    return Section("Runs side by side", "", [Table("Scores", ["score", *evaluations], rows)])


def differences_section(comparison: Mapping[str, Any]) -> Section:
    """The pairs of a comparison, second less first, with intervals and p-values."""
    measures = MEASURES[comparison["task"]]
    items: list[Table | Figure] = []
    for pair in comparison["pairs"]:
        rows = [
            [
                measures[name].title,
                interval(
                    *(one["difference"][key] for key in ("value", "low", "high")), signed=True
                ),
                p_value(one["p_bootstrap"]),
                p_value(one["p_bootstrap_holm"]),
            ]
            for name, one in pair["scores"].items()
        ]
        columns = ["score", "difference", "p, bootstrap", "after Holm"]
        items.append(Table(f"{pair['second']} − {pair['first']}", columns, rows))
    text = (
        f"On the same {comparison['records']:,} records of {comparison['patients']:,} patients; "
        "intervals of the paired bootstrap over patients. An interval across 0 leaves open which "
        "run is better."
    )
    return Section("Differences", text, items)


def _scores(evaluation: Evaluation) -> Section:
    measures = MEASURES[evaluation["task"]]
    rows = [
        [measures[name].title, _cell(one, name, evaluation)]
        for name, one in evaluation["scores"].items()
    ]
    items: list[Table | Figure] = [Table("Scores", ["score", "value"], rows)]
    drawn = [
        Score(evaluation["task"], measures[name].title, one["value"], one["low"], one["high"])
        for name, one in evaluation["scores"].items()
        if None not in (one["value"], one["low"], one["high"]) and measures[name].form == ".3f"
    ]
    if len(drawn) > 1:
        items.append(forest("Scores, 95 % intervals", drawn))
    if "confusion" in evaluation:
        classes = evaluation["classes"]
        counts = [
            [name, *(f"{count:,}" for count in row)]
            for name, row in zip(classes, evaluation["confusion"], strict=True)
        ]
        items.append(Table("True classes (rows) and what was called", ["true", *classes], counts))
    if evaluation.get("points"):
        items.append(_agreement(evaluation["points"]))
    return Section("Scores", of_split(evaluation), items)


def _agreement(points: Points) -> Figure:
    """True numbers across, predicted ones upwards, on one scale; dotted is where they agree."""
    pairs = np.array(points, float).reshape(-1, 2)
    low, high = float(pairs.min()), float(pairs.max())
    (style,) = styles(["predicted"]).values()

    def draw(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=LIGHT["quiet"], lw=0.8, ls=":")
        axes.scatter(pairs[:, 0], pairs[:, 1], 14, LIGHT[style.colour], alpha=0.6, lw=0)
        axes.set_aspect("equal")
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")

    alt = f"Predicted against true of {len(pairs)} records, from {low:.4g} to {high:.4g}."
    return Figure("Predicted and true", svg(draw, square=True), alt)


def _cell(found: Mapping[str, Any], name: str, evaluation: Evaluation) -> str:
    """A score and its interval, in the digits that it deserves."""
    if found["value"] is None:
        return "–"
    form = MEASURES[evaluation["task"]][name].form
    value, low, high = (
        "–" if found[key] is None else f"{found[key]:{form}}" for key in ("value", "low", "high")
    )
    return f"{value} (no width)" if found["degenerate"] else f"{value} ({low} to {high})"


def _numbers(metrics: Sequence[Mapping[str, Any]], evaluation: Evaluation | None) -> list[Number]:
    numbers = []
    if evaluation:
        for name in list(evaluation["scores"])[:3]:
            cell = _cell(evaluation["scores"][name], name, evaluation)
            value, _, detail = cell.partition(" ")
            title = MEASURES[evaluation["task"]][name].title
            numbers.append(Number(title, value, detail.strip("()")))
    if metrics:
        numbers.append(Number("Steps", f"{max(row['step'] for row in metrics):,}"))
    return numbers
