"""Plots as SVG images that follow the reader's light or dark theme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from radlearn.report.drawing import (
    HEIGHT,
    WIDE,
    WIDTH,
    Corner,
    legend,
    legend_rows,
    line,
    series_legend,
    short,
    svg,
)
from radlearn.report.page import Figure
from radlearn.report.palette import LIGHT, styles

POINTS = 240  # more than a panel has pixels to show
Points = Sequence[tuple[float, float]]


def titled(name: str) -> str:
    """A column of the log as a heading."""
    known = {"loss": "Loss, all terms", "image": "Image term", "report": "Report term"}
    text = known.get(name, name.replace("val_", "Validation ").replace("_", " "))
    return text.replace("auroc", "AUROC")


@dataclass(frozen=True)
class Score:
    """A score with its interval: `series` is the method it belongs to."""

    series: str
    name: str
    score: float
    low: float
    high: float


def curves(title: str, metrics: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure | None:
    """What the log holds under `names`, against the step; None where it holds nothing.

    Many points are drawn faint, with their running mean over a fortieth of the run on top.
    """
    series = {
        name: np.array(
            [(row["step"], row[name]) for row in metrics if row.get(name) is not None], float
        ).reshape(-1, 2)
        for name in names
    }
    series = {name: points for name, points in series.items() if len(points)}
    if not series:
        return None

    def draw(axes: Axes) -> None:
        for name, style in styles(list(series)).items():
            steps, values = series[name].T
            noisy = len(steps) > 2 * 40 and not name.startswith("lr")
            if noisy:
                every = max(1, len(steps) // POINTS)
                axes.plot(
                    steps[::every], values[::every], color=LIGHT[style.colour], lw=0.7, alpha=0.3
                )
                width = len(steps) // 40
                steps = np.convolve(steps, np.ones(width) / width, "valid")
                values = np.convolve(values, np.ones(width) / width, "valid")
            every = max(1, len(steps) // POINTS)
            line(axes, steps[::every], values[::every], style, name, marked=len(steps) <= 12)
        if len(series) > 1:
            legend(axes)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))

    ends = "; ".join(
        f"{name} from {points[0, 1]:.4g} to {points[-1, 1]:.4g}" for name, points in series.items()
    )
    return Figure(title, svg(draw), f"Curve over steps: {ends}.")


def roc(title: str, runs: Mapping[str, Points], caption: str = "") -> Figure:
    """Points (false positive rate, sensitivity) of each run, from (0, 0) to (1, 1)."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LIGHT["quiet"], lw=0.8, ls=":")
        _unit_lines(axes, runs, steps=False)
        axes.set_xlabel("1 − specificity")
        axes.set_ylabel("sensitivity")

    return Figure(title, svg(draw, square=True), f"ROC curve of {title}. {caption}", caption)


def precision_recall(
    title: str, runs: Mapping[str, Points], prevalence: float | None = None, caption: str = ""
) -> Figure:
    """Points (recall, precision) of each run; the dotted line is what guessing reaches."""

    def draw(axes: Axes) -> None:
        if prevalence is not None:
            axes.axhline(prevalence, color=LIGHT["quiet"], lw=0.8, ls=":")
        _unit_lines(axes, runs, steps=True)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")

    alt = f"Precision against recall of {title}. {caption}"
    return Figure(title, svg(draw, square=True), alt, caption)


def reliability(
    title: str, runs: Mapping[str, Points], counts: Sequence[int] = (), caption: str = ""
) -> Figure:
    """Points (mean predicted probability, observed share) of each run's bins.

    `counts`, the records of each bin where there is one run, sets the dots' areas.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LIGHT["quiet"], lw=0.8, ls=":")
        for name, style in styles(list(runs)).items():
            x, y = np.array(runs[name], float).reshape(-1, 2).T
            line(axes, x, y, style, name, marked=not counts)
            if counts:
                area = 12 + 130 * np.array(counts, float) / max(counts)
                axes.scatter(x, y, area, LIGHT[style.colour], alpha=0.75, lw=0, zorder=3)
        _unit(axes, len(runs) > 1, "upper left")
        axes.set_xlabel("predicted")
        axes.set_ylabel("observed")

    return Figure(title, svg(draw, square=True), f"Reliability of {title}. {caption}", caption)


def forest(
    title: str,
    scores: Sequence[Score],
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Intervals one below the other, grouped by name, a colour a series.

    Args:
        reference: where a dashed line stands: no difference, or chance.
        limits: of the scores' axis, where several plots are to be compared.
    """
    names = list(dict.fromkeys(score.name for score in scores))
    chosen = styles(list(dict.fromkeys(score.series for score in scores)))

    def draw(axes: Axes) -> None:
        y, ticks = 0.0, []
        for name in names:
            rows = [score for score in scores if score.name == name]
            ticks.append(y + (len(rows) - 1) / 2)
            for score in rows:
                style = chosen[score.series]
                colour = LIGHT[style.colour]
                axes.plot([score.low, score.high], [y, y], color=colour, lw=2, alpha=0.75)
                axes.plot(score.score, y, style.marker or "o", color=colour, ms=5.5)
                y += 1
            y += 0.7 if len(chosen) > 1 else 0
        axes.set_yticks(ticks, [short(name) for name in names])
        axes.set_ylim(y - 0.3, -0.7)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        if limits is not None:
            axes.set_xlim(limits)
        if reference is not None:
            axes.axvline(reference, color=LIGHT["quiet"], lw=0.9, ls="--", zorder=0)
        if len(chosen) > 1:
            series_legend(axes, chosen)

    alt = "; ".join(
        f"{s.name} {s.series}: {s.score:.3f} ({s.low:.3f} to {s.high:.3f})" for s in scores
    )
    height = (
        84
        + 19 * len(scores)
        + (13 * len(names) + 16 * legend_rows(chosen) if len(chosen) > 1 else 0)
    )
    return Figure(title, svg(draw, width=WIDE, height=height), alt)


def by_fraction(
    title: str, scores: Sequence[Score], limits: tuple[float, float] | None = None
) -> Figure:
    """Score against the labels used, one line a series; `Score.name` is the amount, in order."""
    names = list(dict.fromkeys(score.name for score in scores))
    chosen = styles(list(dict.fromkeys(score.series for score in scores)))

    def draw(axes: Axes) -> None:
        for i, (series, style) in enumerate(chosen.items()):
            mine = [score for score in scores if score.series == series]
            # side by side, so that no interval hides another
            aside = (i - (len(chosen) - 1) / 2) * min(0.09, 0.5 / len(chosen))
            x = [names.index(s.name) + aside for s in mine]
            colour = LIGHT[style.colour]
            for at, score in zip(x, mine, strict=True):
                axes.plot([at, at], [score.low, score.high], color=colour, lw=1.6, alpha=0.5)
            line(axes, x, [s.score for s in mine], style, series, marked=True)
        axes.set_xticks(range(len(names)), [short(name) for name in names])
        axes.set_xlim(-0.35, len(names) - 0.65)
        axes.set_xlabel("labels used")
        if limits is not None:
            axes.set_ylim(limits)
        if len(chosen) > 1:
            series_legend(axes, chosen)

    width = WIDTH if len(chosen) <= 3 else WIDE
    height = HEIGHT + 16 * (1 + legend_rows(chosen)) + (0 if len(chosen) <= 3 else 70)
    alt = "; ".join(f"{s.series} at {s.name}: {s.score:.3f}" for s in scores)
    return Figure(title, svg(draw, width, height), alt)


def lines(title: str, series: Mapping[str, Points], along: str, names: Sequence[str]) -> Figure:
    """Points (x, y) of each series, joined.

    Args:
        along: what x is.
        names: every series of the page, in order, so that each has one colour in all its plots.
    """
    chosen = styles(list(names))

    def draw(axes: Axes) -> None:
        for name, points in series.items():
            x, y = zip(*points, strict=True)
            line(axes, x, y, chosen[name], name, marked=True)
        axes.set_xlabel(along)
        legend(axes)

    ends = "; ".join(f"{name} up to {points[-1][1]:.4g}" for name, points in series.items())
    return Figure(title, svg(draw), f"{title}: {ends}.")


def colour_bar(title: str, colours: str, low: float, high: float, caption: str = "") -> Figure:
    """The scale of a map of matplotlib, from left to right, as it is used in pictures nearby."""

    def draw(axes: Axes) -> None:
        axes.imshow(np.linspace(0, 1, 256)[None], cmap=colours, aspect="auto",
                    extent=(low, high, 0, 1), interpolation="nearest")  # fmt: skip
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))

    alt = f"Colours of {title}, from {low:g} to {high:g}. {caption}"
    return Figure(title, svg(draw, height=48), alt, caption)


def _unit_lines(axes: Axes, runs: Mapping[str, Points], steps: bool) -> None:
    for name, style in styles(list(runs)).items():
        points = np.array(runs[name], float).reshape(-1, 2)
        x, y = points[np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))].T
        axes.plot(
            x, y, color=LIGHT[style.colour], lw=1.8, ls=style.dash, label=short(name),
            drawstyle="steps-pre" if steps else "default",
        )  # fmt: skip
    _unit(axes, len(runs) > 1, "lower left" if steps else "lower right")


def _unit(axes: Axes, several: bool, where: Corner) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    if several:
        legend(axes, where)
