"""Slices of a translation as pictures: in grey, their errors in colour, fields as bent grids."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from radlearn.errors import InputError
from radlearn.metrics.translation import BACKGROUND, RANGE, paper_scores
from radlearn.models.registration import jacobian

ERROR_COLOURS, JACOBIAN_COLOURS = "inferno", "PuOr"
FOLDED = (255, 0, 200)
GRID_COLOUR = "#ffc53d"
GRID_LINES = 20  # along the longer side
GRID_PIXELS = 256  # of the longer side of a drawn grid, at least

Slice = Float32[np.ndarray, "channels height width"]
Map = Float[np.ndarray, "rows columns"]
Colour = UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice that a run was not trained on.

    Attributes:
        source, target, made, registered: in [-1, 1]; made is G(a), registered G(a) o phi, None
            without R.
        field: phi along rows and columns, in pixels; None without R.
        spacing: millimetres between rows, and between columns; None where not known.
    """

    source: Float32[np.ndarray, "_ height width"]
    target: Slice
    made: Slice
    registered: Slice | None
    field: Float32[np.ndarray, "2 height width"] | None
    slice: int
    spacing: tuple[float, float] | None

    @property
    def error(self) -> Slice:
        """|G(a) - b| as a share of the range of values."""
        return np.abs(self.made - self.target) / np.float32(RANGE)

    def foreground_errors(self) -> tuple[float, float | None]:
        """The paper's NMAE of G(a), and of G(a) o phi where there is a field."""
        after = None
        if self.registered is not None:
            after = paper_scores(self.registered, self.target)["nmae"]
        return paper_scores(self.made, self.target)["nmae"], after


def read_panels(run: Path) -> list[Panel]:
    """The panels that a run left in `run/panels`, by file name; none where there are none.

    Raises:
        InputError: one cannot be read, or its pictures differ in size.
    """
    return [_read(path) for path in sorted((run / "panels").glob("*.npz"))]


def _read(path: Path) -> Panel:
    try:
        with np.load(path) as file:  # which unpickles nothing
            held = {name: file[name] for name in file.files}
        images = {
            name: np.asarray(held[name], np.float32) if name in held else None
            for name in ("source", "target", "made", "registered", "field")
        }
        source, target, made = (images[name] for name in ("source", "target", "made"))
        if source is None or target is None or made is None:
            raise ValueError("source, target or made is missing")
        there = [image for image in images.values() if image is not None]
        if {one.shape[1:] for one in there} != {target.shape[-2:]} or len(made) != len(target):
            raise ValueError("its pictures differ in size")
        spacing, field = held.get("spacing"), images["field"]
        return Panel(
            source,
            target,
            made,
            images["registered"],
            None if field is None else field[-2:],  # of three, that across slices is left out
            int(held["slice"]),
            None if spacing is None else (float(spacing[-2]), float(spacing[-1])),
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read the panel {path}: {error}; translate again") from error


def grey(image: Map) -> UInt8[np.ndarray, "rows columns"]:
    """-1 as black and 1 as white, for every picture alike."""
    level = np.nan_to_num((image - BACKGROUND) / RANGE)
    return np.rint(255 * np.clip(level, 0, 1)).astype(np.uint8)


def in_colour(values: Map, low: float, high: float, colours: str) -> Colour:
    """Values on a scale of colours; what lies beyond has the colour of the end."""
    level = np.nan_to_num((values - low) / (high - low))
    return np.rint(255 * colormaps[colours](np.clip(level, 0, 1))[..., :3]).astype(np.uint8)


def jacobian_of(field: Float32[np.ndarray, "2 height width"]) -> Map:
    """Determinants of a field's Jacobian in the plane; one fewer along each axis."""
    return jacobian(torch.from_numpy(np.ascontiguousarray(field))[None])[0].numpy()


def jacobian_picture(determinants: Map, reach: float) -> Colour:
    """Determinants from 1 - reach to 1 + reach in colour, folds in one of their own."""
    picture = in_colour(determinants, 1 - reach, 1 + reach, JACOBIAN_COLOURS)
    picture[determinants <= 0] = FOLDED
    return picture


def magnitude(
    field: Float32[np.ndarray, "2 height width"], spacing: tuple[float, float] | None = None
) -> Map:
    """How far a field points at each place: pixels, or millimetres where `spacing` is given."""
    scale = np.array(spacing or (1.0, 1.0)).reshape(2, 1, 1)
    return np.sqrt(np.square(field * scale).sum(0))


def grid_over(
    image: Map, field: Float32[np.ndarray, "2 height width"]
) -> UInt8[np.ndarray, "_ _ 3"]:
    """G(a) under a regular grid of the target, drawn where phi takes it from; enlarged."""
    height, width = image.shape
    zoom = max(1, -(-GRID_PIXELS // max(height, width)))
    canvas = Canvas(figsize=(width * zoom / 100, height * zoom / 100), dpi=100)
    agg = FigureCanvasAgg(canvas)
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.imshow(grey(image), cmap="gray", vmin=0, vmax=340, interpolation="bilinear")
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    rows, columns = rows + field[0], columns + field[1]
    every = max(2, round(max(height, width) / GRID_LINES))
    for at in range(every // 2, height, every):
        axes.plot(columns[at], rows[at], color=GRID_COLOUR, lw=0.7)
    for at in range(every // 2, width, every):
        axes.plot(columns[:, at], rows[:, at], color=GRID_COLOUR, lw=0.7)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.axis("off")
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].copy()


def error_limit(panels: Sequence[Panel]) -> float:
    """Where the errors' colours end, for all panels: their 99.5 % quantile, rounded up."""
    values = np.concatenate([panel.error.ravel() for panel in panels])
    return max(0.05, float(np.ceil(np.nan_to_num(np.quantile(values, 0.995)) * 20) / 20))


def jacobian_reach(determinants: Sequence[Map]) -> float:
    """How far from 1 the determinants' colours reach, for all panels: at most to 0 and 2."""
    away = np.concatenate([np.abs(one - 1).ravel() for one in determinants])
    return min(1.0, max(0.1, float(np.ceil(np.nan_to_num(np.quantile(away, 0.995)) * 10) / 10)))
