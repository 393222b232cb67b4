"""What every plot is drawn with: one pair of axes as an SVG of the page's own colours."""

import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from numpy.typing import ArrayLike

from radlearn.report.page import Image
from radlearn.report.palette import DARK, LIGHT, Style

WIDTH, HEIGHT = (
    330,
    240,
)  # CSS pixels of a panel: three stand side by side on a desk, one on a phone

WIDE = 440  # beside a panel on a desk, still readable on a phone

Corner = Literal["best", "upper left", "lower left", "lower right"]


def line(axes: Axes, x: ArrayLike, y: ArrayLike, style: Style, label: str, marked: bool) -> None:
    """A method's line in its style, with markers where points are few."""
    marker = (style.marker or "o") if marked else ""
    axes.plot(
        x, y, color=LIGHT[style.colour], lw=1.8, ls=style.dash, marker=marker, ms=4.5,
        label=short(label), solid_joinstyle="round",
    )  # fmt: skip


def legend(axes: Axes, where: Corner = "best") -> None:
    """A legend of what was drawn with a label."""
    axes.legend(loc=where, frameon=False, fontsize=10.5, handlelength=1.6, labelcolor=LIGHT["ink"])


def legend_rows(chosen: Mapping[str, Style]) -> int:
    """How many rows `series_legend` takes."""
    return -(-len(chosen) // 3)


def series_legend(axes: Axes, chosen: Mapping[str, Style]) -> None:
    """A legend above the axes, a line and marker a series."""
    handles = [
        matplotlib.lines.Line2D(
            [],
            [],
            color=LIGHT[style.colour],
            ls=style.dash,
            lw=2,
            marker=style.marker or "o",
            ms=5.5,
        )
        for style in chosen.values()
    ]
    axes.legend(
        handles, [short(name) for name in chosen], frameon=False, fontsize=10, handlelength=1.8,
        labelcolor=LIGHT["ink"], loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3,
        borderaxespad=0.2, columnspacing=1.4,
    )  # fmt: skip


def short(text: str) -> str:
    """At most 28 characters, without those that an SVG may not hold."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return text if len(text) <= 28 else text[:27] + "…"


def svg(
    draw: Callable[[Axes], None], width: int = WIDTH, height: int = HEIGHT, square: bool = False
) -> Image:
    """Draw on one pair of axes. Text stays text in the reader's font; colours are variables."""
    if square:
        width, height = 290, 270
    settings: dict[Any, Any] = {
        "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "none",
        "svg.hashsalt": "radlearn", "text.parse_math": False,
        "font.size": 11.5, "axes.edgecolor": LIGHT["quiet"], "axes.labelcolor": LIGHT["quiet"],
        "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": LIGHT["line"],
        "grid.linewidth": 0.8, "xtick.color": LIGHT["quiet"], "ytick.color": LIGHT["quiet"],
        "xtick.major.size": 0, "ytick.major.size": 0, "font.family": "DejaVu Sans",
    }  # fmt: skip
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # the reader's fonts draw the text, so what the measuring font lacks is no matter
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas = Canvas(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        draw(canvas.add_subplot())
        out = io.StringIO()
        FigureCanvasSVG(canvas).print_svg(out, metadata=nothing)
    text = out.getvalue()
    return Image(_themed(text[text.index("<svg") :]).encode(), "image/svg+xml", width, height)


def _themed(svg: str) -> str:
    names = {colour: name for name, colour in LIGHT.items()}
    svg = re.sub(
        r"(fill|stroke): (#[0-9a-f]{6})",
        lambda found: f"{found[1]}: var(--{names[found[2]]})" if found[2] in names else found[0],
        svg,
    )
    svg = svg.replace("'DejaVu Sans'", "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif")

    def variables(colours: Mapping[str, str]) -> str:
        return ":root{" + "".join(f"--{name}:{value};" for name, value in colours.items()) + "}"

    style = (
        f"<style>{variables(LIGHT)}@media (prefers-color-scheme:dark){{{variables(DARK)}}}"
        f"@media print{{{variables(LIGHT)}}}</style>"
    )
    return re.sub(r"(<svg[^>]*>)", lambda found: found[1] + style, svg, count=1)
