"""The page of a segmentation: scores with intervals, masks drawn over their images, curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Bool, UInt8
from scipy.ndimage import binary_dilation, binary_erosion

from radlearn.metrics.mask_scores import MEASURES
from radlearn.metrics.mask_tables import (
    EMPTY,
    difference_rows,
    form_of,
    rows_of,
    shown_measures,
)
from radlearn.report.comparison import p_value
from radlearn.report.facts import command, facts, of_split, scored_on, settings
from radlearn.report.figures import Score, curves, forest, titled
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
from radlearn.report.pictures import LONGEST, encode

Evaluation = Mapping[str, Any]
TRUTH, DRAWN, BOTH = (52, 201, 155), (255, 138, 76), (255, 255, 255)
CLASSES = (
    (88, 180, 234), (255, 138, 76), (52, 201, 155),
    (229, 144, 194), (228, 182, 63), (152, 163, 176),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """A record with its true and its predicted mask.

    Attributes:
        image: in grey.
        truth, predicted: 0 for background, k for class k, 255 where nobody annotated.
        place: what it stands for: "best", "median", "worst".
        dice: mean over the classes.
    """

    image: UInt8[np.ndarray, "height width"]
    truth: UInt8[np.ndarray, "height width"]
    predicted: UInt8[np.ndarray, "height width"]
    place: str
    dice: float


def segmentation_page(
    run: Path,
    metrics: Sequence[Mapping[str, Any]],
    evaluation: Evaluation | None,
    drawn: Sequence[DrawnMask],
    config: Mapping[str, Any],
) -> Path:
    """Write run/report.html and return its path.

    Args:
        metrics: the rows of metrics.jsonl.
        evaluation: what `evaluate_segmentation` returned; None where nothing was held apart.
        drawn: records to show, in order.
        config: of the run.

    Raises:
        InputError: the page cannot be written.
    """
    path = run / "report.html"
    sections = [scores_section(evaluation)] if evaluation else []
    classes = list(evaluation["classes"]) if evaluation else []
    sections += lists_sections(evaluation or {})
    sections += [drawn_section(drawn, classes), _training(metrics), settings(config)]
    found = facts(config) | scored_on(evaluation)
    subtitle = f"Run {run.name}: tuner {config.get('tuner', '–')}"
    if config.get("fraction"):
        subtitle += f", {100 * config['fraction']:g} % of the training masks"
    write_page(
        path,
        f"Segmentation of {', '.join(classes)}" if classes else "Segmentation",
        f"{subtitle}." if evaluation else f"{subtitle}. Not evaluated: nothing was held apart.",
        found,
        sections,
        _numbers(metrics, evaluation),
        command(config, run),
    )
    return path


def cell(measure: str, one: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """An interval of evaluation.json in the digits that its measure deserves."""
    if one is None:
        return "–"
    digits = int(form_of(measure)[1])
    return interval(one["value"], one["low"], one["high"], signed=signed, digits=digits)


def scores_section(evaluation: Evaluation) -> Section:
    """A table of one run: a row a measure, a column a class."""
    rows = rows_of(evaluation)
    table: list[list[str]] = [
        [MEASURES[name], *(cell(name, one[name]) for one in rows.values())]
        for name in shown_measures(rows)
    ]
    mean = [""] if len(rows) > len(evaluation["classes"]) else []
    for key, title in (
        ("positives", "Records that are not empty"),
        ("missed", "of these drawn empty"),
        ("false_alarms", "Empty ones drawn not empty"),
    ):
        counts = [f"{one[key]:,}" for one in evaluation["classes"].values()]
        table.append([title, *counts, *mean])
    items: list[Table | Figure] = [Table("Scores of each class", ["", *rows], table)]
    scores = _scores("Dice", {name: one["dice"] for name, one in rows.items()})
    if len(scores) > 1:
        items.append(forest("Dice, 95 % intervals", scores))
    return Section(
        "Scores", f"{of_split(evaluation)} {EMPTY} Pixels are those of the store.", items
    )


def drawn_section(drawn: Sequence[DrawnMask], classes: Sequence[str]) -> Section:
    """Masks outlined on their images: both on one for one class, side by side for several."""
    pictures = []
    for one in drawn:
        says = f"{one.place}: Dice {one.dice:.3f}"
        if len(classes) <= 1:
            panels = [("", encode(outlined_pair(one.image, one.truth == 1, one.predicted == 1)))]
        else:
            panels = [
                (name, encode(outlined_classes(one.image, mask, len(classes))))
                for name, mask in (("truth", one.truth), ("drawn", one.predicted))
            ]
        pictures.append(Picture(panels, says, says))
    if not pictures:
        return Section("Masks")
    text = "Green outlines the truth, orange what the run drew, white where both run together."
    if len(classes) > 1:
        text = f"Left the truth, right what the run drew. Classes: {', '.join(classes)}."
    width = 220 if len(classes) <= 1 else 320
    return Section(
        "Masks", text, [Gallery("Best, median and worst by Dice", pictures, width=width)]
    )


def outlined_pair(
    image: UInt8[np.ndarray, "height width"],
    truth: Bool[np.ndarray, "height width"],
    predicted: Bool[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "shown_height shown_width 3"]:
    """The image in grey with both outlines, brought to the size of the page."""
    canvas = _canvas(image)
    first, second = (_outline(_enlarged(mask, canvas.shape)) for mask in (truth, predicted))
    for where, colour in ((first, TRUTH), (second, DRAWN), (first & second, BOTH)):
        canvas[where] = colour
    return canvas


def outlined_classes(
    image: UInt8[np.ndarray, "height width"], mask: UInt8[np.ndarray, "height width"], classes: int
) -> UInt8[np.ndarray, "shown_height shown_width 3"]:
    """The image in grey with the outline of each class in a colour of its own."""
    canvas = _canvas(image)
    for number in range(1, classes + 1):
        outline = _outline(_enlarged(mask == number, canvas.shape))
        canvas[outline] = CLASSES[(number - 1) % len(CLASSES)]
    return canvas


def side_by_side(evaluations: Mapping[str, Evaluation]) -> Section:
    """Scores of runs on the same records.

    Args:
        evaluations: what `evaluate_segmentation` returned for each run, by the run's name.
    """
    rows = {name: rows_of(one) for name, one in evaluations.items()}
    first = next(iter(rows.values()))
    shown = shown_measures({f"{run} {name}": v for run, r in rows.items() for name, v in r.items()})
    table = [
        [
            f"{MEASURES[measure]}{f', {name}' if len(first) > 1 else ''}",
            *(cell(measure, of.get(name, {}).get(measure)) for of in rows.values()),
        ]
        for measure in shown
        for name in first
    ]
    scores = [
        score
        for run, of in rows.items()
        for score in _scores(run, {name: one["dice"] for name, one in of.items()})
    ]
    items: list[Table | Figure] = [Table("Scores of each run", ["", *evaluations], table)]
    if scores:
        items.append(forest("Dice, 95 % intervals", scores))
    return Section("Runs side by side", EMPTY, items)


def differences_section(comparison: Mapping[str, Any]) -> Section:
    """The pairs of a comparison, second less first, with intervals and p-values."""
    items = [
        Table(
            f"{pair['second']} − {pair['first']}",
            ["", "difference", "p, bootstrap", "after Holm"],
            [
                [
                    name,
                    cell(one["measure"], one["difference"], signed=True),
                    *(p_value(one[key]) for key in ("p", "p_holm")),
                ]
                for name, one in difference_rows(pair)
            ],
        )
        for pair in comparison["pairs"]
    ]
    text = (
        f"On the same {comparison['records']:,} records of {comparison['patients']:,} patients; "
        "intervals of the paired bootstrap over patients. Of HD95 less is better. Holm's "
        "adjustment is over the classes."
    )
    return Section("Differences", text, items)


def _scores(series: str, rows: Mapping[str, Mapping[str, Any]]) -> list[Score]:
    return [
        Score(series, name, one["value"], one["low"], one["high"])
        for name, one in rows.items()
        if None not in (one["value"], one["low"], one["high"])
    ]


def _canvas(image: np.ndarray) -> np.ndarray:
    picture = PIL.Image.fromarray(image)
    scale = LONGEST / max(picture.size)
    shape = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    grey = np.asarray(picture.resize(shape, PIL.Image.Resampling.BICUBIC))
    return np.repeat(grey[..., None], 3, axis=2)


def _enlarged(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask at the canvas's size, its steps rounded off."""
    share = PIL.Image.fromarray(mask.astype(np.float32))
    return np.asarray(share.resize((shape[1], shape[0]), PIL.Image.Resampling.BILINEAR)) >= 0.5


def _outline(mask: np.ndarray) -> np.ndarray:
    return binary_dilation(mask, iterations=1) & ~binary_erosion(mask, border_value=1)


def _training(metrics: Sequence[Mapping[str, Any]]) -> Section:
    names = sorted({name for row in metrics for name in row if name != "step"})
    held = [name for name in names if name.startswith("val_")]
    rates = [name for name in names if name.startswith("lr")]
    panels = [
        curves("Training loss", metrics, [n for n in names if n not in {*held, *rates}]),
        *(curves(titled(name), metrics, [name]) for name in held),
        curves("Learning rate", metrics, rates),
    ]
    return Section("Training", "", [panel for panel in panels if panel])


def _numbers(metrics: Sequence[Mapping[str, Any]], evaluation: Evaluation | None) -> list[Number]:
    numbers = []
    if evaluation:
        for measure, one in evaluation["mean"]["scores"].items():
            if one["value"] is not None and measure in ("dice", "dice_positive", "hd95"):
                value, _, detail = cell(measure, one).partition(" ")
                numbers.append(Number(MEASURES[measure], value, detail.strip("()")))
    best = [row for row in metrics if row.get("val_dice") is not None]
    if best:
        top = max(best, key=lambda row: row["val_dice"])
        detail = f"at step {top['step']:,}, the one kept"
        numbers.append(Number("Best validation Dice", f"{top['val_dice']:.3f}", detail))
    return numbers
