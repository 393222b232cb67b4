"""A registered pair as one picture: images, errors before and after, and the field's grid."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LINES = 24  # of the grid, along each side
INK = "#3b6ea5"


def draw_registration(
    path: Path,
    images: Mapping[str, Float32[np.ndarray, "height width"]],
    field: Float32[np.ndarray, "2 height width"],
) -> None:
    """Write a PNG of one slice.

    Args:
        images: in [-1, 1]: "source", "target", "G(a)" and "registered", which is G(a) o phi.
        field: phi in the slice, pixels along rows and columns.
    """
    target = images["target"]
    figure = Figure(figsize=(14, 2.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 7)
    for place, (name, image) in zip(axes, images.items(), strict=False):
        place.imshow(image, cmap="gray", vmin=-1, vmax=1)
        place.set_title(name, fontsize=9)
    errors = {"error before": images["G(a)"], "error after": images["registered"]}
    for place, (name, image) in zip(axes[4:6], errors.items(), strict=True):
        place.imshow(np.abs(image - target) / 2, cmap="inferno", vmin=0, vmax=0.5)
        place.set_title(name, fontsize=9)
    _draw_grid(axes[6], field)
    axes[6].set_title("where from (phi)", fontsize=9)
    for place in axes:
        place.set_axis_off()
    figure.savefig(path, format="png", dpi=110)


def _draw_grid(axes: Axes, field: Float32[np.ndarray, "2 height width"]) -> None:
    height, width = field.shape[1:]
    rows, columns = np.indices((height, width)) + field
    for at in range(0, height, max(height // LINES, 1)):
        axes.plot(columns[at], rows[at], color=INK, linewidth=0.6)
    for at in range(0, width, max(width // LINES, 1)):
        axes.plot(columns[:, at], rows[:, at], color=INK, linewidth=0.6)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_aspect("equal")
