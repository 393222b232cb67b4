"""The page on how far pairs are apart: distribution, a row a pair, the worst slices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageDraw
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from scipy import ndimage

from radlearn.report.drawing import legend, line, svg
from radlearn.report.page import Figure, Gallery, Number, Picture, Section, Table, write_page
from radlearn.report.palette import LIGHT, styles
from radlearn.report.pictures import encode

Grey = UInt8[np.ndarray, "height width"]
Colour = UInt8[np.ndarray, "height width 3"]
ARROWS = 14  # along the longer side of a slice
LONGEST_ARROW = 18.0  # pixels of the picture
EDGES = 0.10  # share of the pixels drawn as edges: the strongest
PARTS = {"total": "all", "in_plane": "in the slices", "through_plane": "through the slices"}


class Worst(NamedTuple):
    """The worst slice of a pair: grey values and the displacement in pixels, rows then columns."""

    name: str
    depth: int
    before: Grey
    after: Grey
    target: Grey
    field: Float[np.ndarray, "2 height width"]


def misalignment_page(
    path: Path, result: Mapping[str, Any], worst: Sequence[Worst], command: str
) -> None:
    """Write the page from what `misalignment.json` holds and the worst slices.

    Raises:
        InputError: the page cannot be written.
    """
    floor, pooled = result["floor"], result["pooled"]
    numbers = [
        Number("Mode", result["mode"]),
        Number("Half within", _length(pooled["total"][50], floor), "mm"),
        Number("Nine tenths within", _length(pooled["total"][90], floor), "mm"),
        Number("Nothing claimed below", f"{floor:.2f}", "mm"),
    ]
    skipped = [[one["id"], one["reason"]] for one in result["not_measured"]]
    sections = [
        Section("Which mode, and why", " ".join(result["reasons"])),
        Section(
            "Distribution",
            "Displacement of everything that both images show; every pair counts the same.",
            [_distribution(pooled, floor)],
        ),
        Section("Pairs", "", [_table(result["pairs"])]),
        Section(
            "Worst slices",
            "",
            [Gallery("Edges of the source on the target", [_picture(one) for one in worst],
                     "Edges of the source (orange) on the target: as stored, and after "
                     "registration. Arrows: from the target's place to the source's.", 440)]
            if worst
            else [],
        ),
        Section(
            "Not measured", "", [Table("Pairs", ["pair", "reason"], skipped)] if skipped else []
        ),
    ]  # fmt: skip
    facts = {
        "Store": result["store"],
        "Pairs": str(len(result["pairs"])),
        "Seed": str(result["seed"]),
        "Licences of the data": "\n".join(
            f"{one.get('name', 'unnamed')}: {one.get('licence', 'not stated')}"
            for one in result["sources"]
        ),
    }
    write_page(path, "How far pairs are apart", result["store"], facts, sections, numbers, command)


def _length(value: float, floor: float) -> str:
    return f"<{floor:.2f}" if value < floor else f"{value:.2f}"


def _distribution(pooled: Mapping[str, Sequence[float]], floor: float) -> Figure:
    def draw(axes: Axes) -> None:
        chosen = styles(list(PARTS.values()))
        for part, name in PARTS.items():
            values = np.array(pooled[part])
            line(axes, values, np.linspace(0, 100, len(values)), chosen[name], name, False)
        axes.axvline(floor, color=LIGHT["quiet"], lw=0.9, ls="--", zorder=0)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 101)
        axes.set_xlabel("displacement, mm")
        axes.set_ylabel("% of the foreground")
        legend(axes, "lower right")

    alt = "; ".join(
        f"{name}: median {pooled[part][50]:.2f} mm, 90 % within {pooled[part][90]:.2f} mm"
        for part, name in PARTS.items()
    )
    caption = "Share that is at most so far apart. Dashed: what the estimate cannot see below."
    return Figure("Displacement", svg(draw, 440, 270), alt, caption)


def _table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        "pair", "map", "median, mm", "90 %", "largest", "in the slices", "through", "turned, °",
        "shifted, mm", "rigid leaves, mm", "floor, mm", "bend, mm", "information before",
        "after", "chance",
    ]  # fmt: skip
    rows = []
    for pair in sorted(pairs, key=lambda one: -one["total"]["median"]):
        total, rigid, bits = pair["total"], pair["rigid"], pair["information"]
        shown = [(total[key], total["floor"]) for key in ("median", "p90", "max")]
        shown += [
            (pair[part]["median"], pair[part]["floor"]) for part in ("in_plane", "through_plane")
        ]
        rows.append(
            [
                pair["id"],
                pair["map"],
                *(_length(value, floor) for value, floor in shown),
                f"{rigid['degrees']:.2f}",
                f"{rigid['mm']:.2f}",
                f"{rigid['leaves']:.2f}",
                f"{total['floor']:.2f}",
                f"{pair['bend']:.2f}",
                *(f"{bits[key]:.3f}" for key in ("before", "after", "chance")),
            ]
        )
    caption = (
        "Median displacement in and through the slices; what the nearest rigid map would leave of "
        "it. Only rigid and affine displacement is measured: a bend of tissue of up to `bend` can "
        "be there unseen. Mutual information in bits; chance: with the source turned over."
    )
    return Table("Each pair, worst first", columns, rows, caption)


def _picture(worst: Worst) -> Picture:
    arrows, gain = _arrows(worst)
    panels = [
        ("as stored", encode(_outlined(worst.target, worst.before))),
        ("registered", encode(_outlined(worst.target, worst.after))),
        (f"displacement × {gain:.0f}", encode(arrows)),
    ]
    length = float(np.sqrt(np.square(worst.field).sum(axis=0)).max())
    caption = f"{worst.name}, slice {worst.depth}: up to {length:.1f} px"
    return Picture(panels, f"{caption}; source edges over target before and after", caption)


def _outlined(target: Grey, source: Grey) -> Colour:
    """The target in grey, the source's strongest edges in orange."""
    slope = ndimage.gaussian_gradient_magnitude(source.astype(np.float32), 1.0)
    slope = np.where(slope < ndimage.maximum_filter(slope, 3) * 0.98, 0, slope)
    edges = (slope > max(float(np.quantile(slope, 1 - EDGES)), 4.0)) & (slope > 0)
    colour = np.repeat(target[..., None], 3, axis=2)
    colour[edges] = (255, 138, 76)
    return colour


def _arrows(worst: Worst) -> tuple[Colour, float]:
    """The target with the displacement on it, lengthened by a whole number that is returned."""
    height, width = worst.target.shape
    scale = 256 / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    dark = PIL.Image.fromarray((worst.target * 0.7).astype(np.uint8))
    picture = dark.resize(size, PIL.Image.Resampling.BICUBIC).convert("RGB")
    pen = PIL.ImageDraw.Draw(picture)
    seen = ndimage.gaussian_filter(worst.target.astype(np.float32), 1.0) > 12
    every = max(1, max(height, width) // ARROWS)
    places = [
        (y, x)
        for y in range(every // 2, height, every)
        for x in range(every // 2, width, every)
        if seen[y, x]
    ]
    longest = max((float(np.hypot(*worst.field[:, y, x])) for y, x in places), default=0.0)
    gain = float(np.clip(LONGEST_ARROW / max(longest * scale, 1e-6), 1, 10) // 1)
    for y, x in places:
        down, right = worst.field[:, y, x] * gain * scale
        at = ((x + 0.5) * scale, (y + 0.5) * scale)
        pen.line([at, (at[0] + right, at[1] + down)], fill=(88, 180, 234), width=2)
        pen.ellipse([at[0] - 2, at[1] - 2, at[0] + 2, at[1] + 2], fill=(255, 138, 76))
    return np.asarray(picture), gain
