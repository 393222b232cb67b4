"""A grid of translations drawn: scores over steps and time, the same slices from each mode."""

from collections.abc import Mapping, Sequence

import numpy as np

from radlearn.metrics.slice_grid import Trained, by_patient
from radlearn.metrics.slice_scores import SCORES
from radlearn.report.figures import lines
from radlearn.report.page import Gallery, Picture, Section
from radlearn.report.panels import Panel, grey, read_panels
from radlearn.report.pictures import encode

DRAWN = "paper_psnr"


def curve_sections(
    runs: Sequence[Trained],
    seconds: Mapping[str, float | None],
    modes: Sequence[str],
    levels: Sequence[str],
) -> list[Section]:
    """PSNR as training goes on, over steps and over minutes, for each misalignment.

    Only of the patients whom every mode has finished there, so that the lines can be compared.

    Args:
        seconds: of a step, by mode.
    """
    found = []
    for level in levels:
        chosen = _in_common([one for one in runs if one.level == level])
        points = {mode: _points([one for one in chosen if one.mode == mode]) for mode in modes}
        points = {mode: some for mode, some in points.items() if some}
        timed = {
            mode: [(step * each / 60, value) for step, value in some]
            for mode, some in points.items()
            if (each := seconds[mode]) is not None
        }
        stores = sorted({one.store for one in chosen})
        plots = [
            lines(f"{SCORES[DRAWN]}, over {along}", series, along, modes)
            for along, series in (("steps", points), ("minutes of training", timed))
            if series
        ]
        text = f"Mean over the patients whom every mode here has finished: {', '.join(stores)}."
        if plots:
            found.append(Section(f"As training goes on, {level}", text, plots))
    return found


def _in_common(runs: Sequence[Trained]) -> list[Trained]:
    modes = {one.mode for one in runs}
    return [
        one for one in runs if {other.mode for other in runs if other.store == one.store} == modes
    ]


def _points(runs: Sequence[Trained]) -> list[tuple[float, float]]:
    steps = runs[0].steps if runs else ()
    means = []
    for step in steps:
        scores, _ = by_patient(runs, DRAWN, step)
        means.append((float(step), float(np.mean([values.mean() for values in scores.values()]))))
    return means


def panel_sections(
    runs: Sequence[Trained], modes: Sequence[str], levels: Sequence[str]
) -> list[Section]:
    """Slices held apart as every mode makes them, first seed of each: two of each store."""
    found = []
    for level in levels:
        here = [one for one in runs if one.level == level]
        pictures = [
            _picture(store, panels)
            for store in dict.fromkeys(one.store for one in here)
            for panels in _side_by_side([one for one in here if one.store == store], modes)
        ]
        if pictures:
            text = "All in one grey window; registered is the first mode's G(a) moved by its R."
            found.append(
                Section(f"Pictures, {level}", text, [Gallery("Held apart", pictures, width=760)])
            )
    return found


def _side_by_side(runs: Sequence[Trained], modes: Sequence[str]) -> list[dict[str, Panel]]:
    """The same slices by mode: a run leaves its panels pair by pair, so these are far apart."""
    of_mode = {}
    for mode in modes:
        mine = [one for one in runs if one.mode == mode]
        if mine and (panels := read_panels(min(mine, key=lambda one: one.seed).run)):
            of_mode[mode] = panels
    count = min(map(len, of_mode.values()), default=0)
    places = sorted({count // 4, 3 * count // 4}) if count else []
    return [{mode: panels[at] for mode, panels in of_mode.items()} for at in places]


def _picture(store: str, panels: Mapping[str, Panel]) -> Picture:
    first = next(iter(panels.values()))
    shown = [(f"source {at}" if at else "source", a) for at, a in enumerate(first.source)]
    shown += [("target", first.target[0])]
    shown += [(mode, panel.made[0]) for mode, panel in panels.items()]
    moved = next((p.registered for p in panels.values() if p.registered is not None), None)
    if moved is not None:
        shown.append(("registered", moved[0]))
    alt = f"Slice {first.slice} of {store}: {', '.join(name for name, _ in shown)}"
    pictures = [(name, encode(grey(image))) for name, image in shown]
    return Picture(pictures, alt, f"{store}, slice {first.slice}")
