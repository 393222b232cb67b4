"""The page of a translation: scores with intervals, pictures, how fields deform, and curves."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from radlearn.files import read_json
from radlearn.metrics.slice_scores import DEFINITIONS, MEASURES, SCORES, over_steps
from radlearn.report.facts import command, facts, settings
from radlearn.report.figures import colour_bar, curves
from radlearn.report.page import (
    Figure,
    Gallery,
    Image,
    Item,
    Number,
    Picture,
    Section,
    Table,
    interval,
    write_page,
)
from radlearn.report.panels import (
    ERROR_COLOURS,
    JACOBIAN_COLOURS,
    Panel,
    error_limit,
    grey,
    grid_over,
    in_colour,
    jacobian_of,
    jacobian_picture,
    jacobian_reach,
    magnitude,
    read_panels,
)
from radlearn.report.pictures import encode

Evaluation = Mapping[str, Any]
KINDS = {"paper": "as the paper", "standard": "standard"}


def translation_page(
    run: Path,
    metrics: Sequence[Mapping[str, Any]],
    evaluation: Evaluation | None,
    config: Mapping[str, Any],
) -> Path:
    """Write run/report.html and return its path.

    Args:
        run: the run's folder; its panels, predictions and model/config.json are read.
        metrics: the rows of metrics.jsonl.
        evaluation: what `evaluate_translation` returned; None where no pair was held apart.
        config: of the run.

    Raises:
        InputError: a panel or the predictions cannot be read, or the page cannot be written.
    """
    path = run / "report.html"
    names = _channels(run)
    panels = read_panels(run)
    sections = [_scores(evaluation)] if evaluation else []
    sections += [_pictures(panels, names), _fields(panels)]
    sections += [_over_steps(run, evaluation)] if evaluation else []
    sections += [_training(metrics), settings(config)]
    found = facts(config)
    if evaluation:
        found["Scored on"] = (
            f"{evaluation['config']['split']}, {evaluation['slices']:,} slices of "
            f"{evaluation['patients']:,} patients; fingerprint {evaluation['fingerprint'] or '–'}"
        )
    sides = [" + ".join(names[side]) or side for side in ("source", "target")]
    subtitle = f"Run {run.name}: {' to '.join(sides)}, mode {config.get('mode', '–')}"
    if (level := config.get("misalign")) is not None:
        subtitle += f", training pairs misaligned at level {level}"
    write_page(
        path,
        "Translation",
        f"{subtitle}." if evaluation else f"{subtitle}. Not evaluated.",
        found,
        sections,
        _numbers(metrics, evaluation, panels),
        command(config, run),
    )
    return path


def measure(score: str, value: Mapping[str, Any], *, signed: bool = False) -> str:
    """An interval of one of `SCORES` as a cell: decibels with two digits, shares with four."""
    digits = 2 if score.endswith("psnr") else 4
    text = interval(value["value"], value["low"], value["high"], signed=signed, digits=digits)
    return f"{text.partition(' ')[0]} (no width)" if value.get("degenerate") else text


def definitions() -> Table:
    """What each score is, in a sentence."""
    rows = [[SCORES[name], text] for name, text in DEFINITIONS.items()]
    return Table("What is measured", ["score", "definition"], rows)


def _channels(run: Path) -> dict[str, list[str]]:
    path = run / "model" / "config.json"
    about = read_json(path, "a translation model") if path.exists() else {}
    return {side: list(about.get(f"{side}_names") or []) for side in ("source", "target")}


def _scores(evaluation: Evaluation) -> Section:
    scores: Mapping[str, Any] = evaluation["scores"]
    rows = [
        [name, *(measure(key, scores[key]["overall"]) for key in _keys(name))] for name in MEASURES
    ]
    each = [
        Table(
            f"Each patient, {words}",
            ["patient", "slices", *MEASURES],
            [
                [patient, f"{one['slices']:,}"]
                + [
                    measure(key, scores[key]["patients"][patient])
                    for key in (f"{kind}_{name.lower()}" for name in MEASURES)
                ]
                for patient, one in scores[f"{kind}_nmae"]["patients"].items()
            ],
            "Intervals over blocks of neighbouring slices inside the patient.",
            folded=kind != "paper",
        )
        for kind, words in KINDS.items()
    ]
    text = (
        f"After {evaluation['step']:,} steps, on the {evaluation['config']['split']} split: "
        f"{evaluation['slices']:,} slices of {evaluation['patients']:,} patients; "
        f"{evaluation['empty']:,} slices without foreground are left out. A patient's score is the "
        "mean over its slices, the run's the mean over its patients. " + evaluation["intervals"]
    )
    table = Table("Over all patients", ["", *KINDS.values()], rows)
    return Section("Scores", text, [table, *each, definitions()])


def _keys(name: str) -> list[str]:
    return [f"{kind}_{name.lower()}" for kind in KINDS]


def _pictures(panels: Sequence[Panel], names: Mapping[str, list[str]]) -> Section:
    if not panels:
        return Section("Pictures")
    limit = error_limit(panels)
    jacobians = [None if one.field is None else jacobian_of(one.field) for one in panels]
    known = [one for one in jacobians if one is not None]
    reach = jacobian_reach(known) if known else 0.0
    pictures = []
    for at, (panel, determinants) in enumerate(zip(panels, jacobians, strict=True), 1):
        for channel in range(len(panel.target)):
            shown = _grey_ones(panel, channel, names)
            error = in_colour(panel.error[channel], 0, limit, ERROR_COLOURS)
            shown.insert(len(panel.source) + 2, ("error", encode(error)))
            if panel.field is not None and determinants is not None:
                shown.append(("field", encode(grid_over(panel.made[channel], panel.field))))
                shown.append(("Jacobian", encode(jacobian_picture(determinants, reach))))
            alt = f"Example {at}: {', '.join(name for name, _ in shown)}"
            pictures.append(Picture(shown, alt, _caption(at, panel, determinants)))
    text = (
        "Slices that training did not see, all in one grey window. The error is |G(a) − target| as "
        "a share of the range of values, on one scale of colours for all."
    )
    items: list[Item] = [Gallery("Source to target", pictures, width=900)]
    items.append(
        colour_bar("Error", ERROR_COLOURS, 0, limit, "Share of the range; errors beyond as the end")
    )
    if reach:
        text += (
            " Registered is G(a) moved onto the target by R; the field is drawn as a regular grid "
            "of the target, at the places of G(a) that it is taken from."
        )
        caption = "1 keeps areas, below 1 the grid's cells shrink; folds (0 and below) in magenta"
        low, high = 1 - reach, 1 + reach
        items.append(colour_bar("Jacobian determinant", JACOBIAN_COLOURS, low, high, caption))
    return Section("Pictures", text, items)


def _grey_ones(
    panel: Panel, channel: int, names: Mapping[str, list[str]]
) -> list[tuple[str, Image]]:
    """Every channel of the source, and one of target, G(a) and registered, named."""
    sources = names["source"] or ["source"]
    targets = names["target"] or ["target"]
    several = len(panel.source) > 1 or len(panel.target) > 1
    shown = [
        (sources[at] if several and at < len(sources) else "source", encode(grey(image)))
        for at, image in enumerate(panel.source)
    ]
    target = targets[channel] if several and channel < len(targets) else "target"
    shown += [(target, encode(grey(panel.target[channel])))]
    shown += [("G(a)", encode(grey(panel.made[channel])))]
    if panel.registered is not None:
        shown += [("registered", encode(grey(panel.registered[channel])))]
    return shown


def _caption(at: int, panel: Panel, determinants: np.ndarray | None) -> str:
    before, after = panel.foreground_errors()
    text = f"Example {at}, slice {panel.slice}: NMAE {before:.4f}"
    if after is not None:
        text += f", registered {after:.4f}"
    if determinants is not None:
        text += f"; folding {_per_cent(determinants)}"
    return text


def _per_cent(determinants: np.ndarray) -> str:
    return f"{100 * float((determinants <= 0).mean()):.2f}\u00a0%"


def _fields(panels: Sequence[Panel]) -> Section:
    """How far the fields of the panels point, and whether they fold."""
    rows = []
    for at, panel in enumerate(panels, 1):
        if panel.field is None:
            continue
        pixels = magnitude(panel.field)
        shown = panel.target.max(0) > -1
        cells = [_lengths(pixels, shown)]
        cells.append(
            _lengths(magnitude(panel.field, panel.spacing), shown) if panel.spacing else "–"
        )
        determinants = jacobian_of(panel.field)
        ends = f"{determinants.min():.2f} to {determinants.max():.2f}"
        rows.append([f"Example {at}", *cells, ends, _per_cent(determinants)])
    if not rows:
        return Section("Fields")
    text = (
        "How far R moves the examples above onto their targets: mean / 95 % quantile / largest "
        "over the target's foreground. A field that is not smooth has Jacobian determinants far "
        "from 1; it folds where they are 0 or less."
    )
    columns = ["", "displacement, px", "displacement, mm", "Jacobian", "folding"]
    return Section("Fields", text, [Table("Fields of the examples", columns, rows)])


def _lengths(lengths: np.ndarray, shown: np.ndarray) -> str:
    inside = lengths[shown] if shown.any() else lengths
    return f"{inside.mean():.2f} / {np.quantile(inside, 0.95):.2f} / {inside.max():.2f}"


def _over_steps(run: Path, evaluation: Evaluation) -> Section:
    rows = over_steps(run, evaluation["config"]["split"])
    if len(rows) < 2:
        return Section("Scores over steps")
    plots = []
    for name in MEASURES:
        keys = dict(zip(_keys(name), KINDS.values(), strict=True))
        named = [{"step": row["step"]} | {keys[key]: row[key] for key in keys} for row in rows]
        plots.append(curves(name, named, list(keys.values())))
    return Section(
        "Scores over steps",
        "Means over the same patients at each evaluation; nothing was chosen by them.",
        [plot for plot in plots if plot],
    )


def _training(metrics: Sequence[Mapping[str, Any]]) -> Section:
    """A plot a kind of term: its name up to the side, as in adversarial_a and adversarial_b."""
    names = sorted({name for row in metrics for name in row if name != "step"})
    rates = [name for name in names if name.startswith("lr")]
    terms = [name for name in names if not name.startswith(("lr", "val_", "test_"))]
    panels: list[Figure | None] = [
        curves("Loss, all terms" if kind == "loss" else kind.capitalize(), metrics, list(of))
        for kind, of in groupby(terms, lambda name: name.split("_")[0])
    ]
    panels.append(curves("Learning rate", metrics, rates))
    text = "Every term of the losses, as weighted." if terms else ""
    return Section("Training", text, [panel for panel in panels if panel])


def _numbers(
    metrics: Sequence[Mapping[str, Any]], evaluation: Evaluation | None, panels: Sequence[Panel]
) -> list[Number]:
    numbers = []
    if evaluation:
        for name in ("PSNR", "SSIM", "NMAE"):
            key = f"paper_{name.lower()}"
            value, _, detail = measure(key, evaluation["scores"][key]["overall"]).partition(" ")
            numbers.append(Number(f"{name}, as the paper", value, detail.strip("()")))
    if metrics:
        numbers.append(Number("Steps", f"{max(row['step'] for row in metrics):,}"))
    fields = [one.field for one in panels if one.field is not None]
    if fields:
        share = np.mean([(jacobian_of(field) <= 0).mean() for field in fields])
        numbers.append(Number("Folding", f"{100 * share:.2f} %", "of the examples' fields"))
    return numbers
