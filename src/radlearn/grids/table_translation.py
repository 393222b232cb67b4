"""The table of a grid of translation runs: scores, and who is better at equal steps and time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from radlearn.files import write_json, write_text
from radlearn.grids.recipe import TranslationRecipe
from radlearn.grids.table import markdown, refuse_other_settings, run_of
from radlearn.metrics.slice_grid import (
    Contrast,
    Trained,
    contrasts,
    read_trained,
    refuse_unless_alike,
    scores_of,
    seconds_of,
)
from radlearn.metrics.slice_scores import SCORES
from radlearn.metrics.slices import describe
from radlearn.records.keys import KEY_FILE, hashed, read_key
from radlearn.report.comparison import p_value
from radlearn.report.figures import Score, forest
from radlearn.report.overview import overview_page
from radlearn.report.page import Figure, Section, Table
from radlearn.report.translation import definitions, measure
from radlearn.report.translation_grid import curve_sections, panel_sections

KINDS = {"paper": "as the paper counts", "standard": "standard"}


class Row(NamedTuple):
    """One row of the table: runs of one mode and misalignment, over patients and seeds.

    `scores` is what `slice_grid.scores_of` returns.
    """

    mode: str
    level: str
    runs: tuple[Trained, ...]
    scores: dict[str, Any]


def trained(recipe: TranslationRecipe, out: Path) -> list[Trained]:
    """The runs of the grid that are finished, in its order.

    Raises:
        InputError: one was trained with settings that are not the recipe's, or two were scored on
            different splits or after other steps.
    """
    runs = []
    for cell in recipe.cells():
        run = run_of(out, cell)
        if (run / "results.json").exists():
            refuse_other_settings(run, recipe.flags(cell))
            names = _names_of(recipe, out, cell.store)
            runs.append(read_trained(cell.mode, cell.level, cell.store, cell.seed, run, names))
    refuse_unless_alike(runs)
    return runs


def _names_of(recipe: TranslationRecipe, out: Path, store: str) -> dict[str, str]:
    """The patients whom the recipe names, by what the store has made of their names."""
    path = out / "stores" / store / KEY_FILE
    named = recipe.stores[store].get("test_patients", ())
    return {hashed(read_key(path), name): name for name in named} if path.exists() else {}


def rows_of(recipe: TranslationRecipe, runs: Sequence[Trained], resamples: int) -> list[Row]:
    """The table's rows, of the modes and misalignments of which a run is finished."""
    found = []
    for level in recipe.grid["level"]:
        for mode in recipe.grid["mode"]:
            mine = tuple(one for one in runs if (one.mode, one.level) == (mode, level))
            if mine:
                found.append(Row(mode, level, mine, scores_of(mine, resamples)))
    return found


def contrasts_of(
    recipe: TranslationRecipe, runs: Sequence[Trained], resamples: int
) -> list[Contrast]:
    """The first mode against each of the others, and each with +r against itself without."""
    mode, *others = recipe.grid["mode"]
    pairs = [(mode, others)]
    pairs += [(f"{one}+r", [one]) for one in recipe.grid["mode"] if f"{one}+r" in others]
    return [
        contrast
        for level in recipe.grid["level"]
        for first, second in pairs
        for contrast in contrasts(runs, first, second, level, resamples)
    ]


def write_table(recipe: TranslationRecipe, out: Path, resamples: int, command: str) -> None:
    """Write results.json, table.md and report.html of the cells finished so far.

    Args:
        command: what makes it all again.

    Raises:
        InputError: see `trained`; or a file cannot be read or written.
    """
    runs = trained(recipe, out)
    rows, found = rows_of(recipe, runs, resamples), contrasts_of(recipe, runs, resamples)
    seconds = {mode: seconds_of(runs, mode) for mode in recipe.grid["mode"]}
    write_json(out / "results.json", _as_json(recipe, runs, rows, found, seconds))
    scores, differences, each = _scores(rows), _differences(found), _each_patient(found)
    cost, counted = _cost(rows, seconds), _wins(recipe, found)
    tables = [*scores, cost, *differences, *each]
    write_text(out / "table.md", "\n".join([*map(markdown, tables), counted, ""]))
    _page(
        recipe,
        out,
        command,
        runs,
        [
            Section(
                "Scores", scores[0].caption, [*map(_bare, scores), *_forests(rows), definitions()]
            ),
            *(
                [Section("Who is better", _wins(recipe, found), [*differences, *each])]
                if found
                else []
            ),
            *curve_sections(runs, seconds, recipe.grid["mode"], recipe.grid["level"]),
            *panel_sections(runs, recipe.grid["mode"], recipe.grid["level"]),
            Section("What it costs", cost.caption, [_bare(cost)]),
        ],
    )


def _bare(table: Table) -> Table:
    return replace(table, caption="")


def _names(kind: str) -> list[str]:
    """Scores of one way of counting, the best known first."""
    return [f"{kind}_{measure}" for measure in ("psnr", "ssim", "nmae")]


def _scores(rows: Sequence[Row]) -> list[Table]:
    sentence = describe(*(found for row in rows for found in row.scores.values()))
    made = []
    for kind, meaning in KINDS.items():
        names = _names(kind)
        cells = [
            (
                row.level,
                row.mode,
                *(measure(name, row.scores[name]["overall"]) for name in names),
                str(len(row.scores[names[0]]["patients"])),
                str(len(row.runs)),
            )
            for row in rows
        ]
        columns = ("misalignment", "mode", *(SCORES[name] for name in names), "patients", "runs")
        text = (
            "Means over the slices with foreground, then seeds, then patients, each by the run "
            f"that held the patient apart. {sentence} Of NMAE less is better."
        )
        made.append(Table(f"Scores, {meaning}", columns, cells, text, folded=kind == "standard"))
    return made


def _titled(contrast: Contrast) -> str:
    text = f"{contrast.mode} − {contrast.other}, {contrast.at}"
    if contrast.at == "equal time":
        text += f" ({contrast.steps[0]:.0f} steps against {contrast.steps[1]:.0f})"
    return text


def _differences(found: Sequence[Contrast]) -> list[Table]:
    made = []
    for kind, meaning in KINDS.items() if found else ():
        cells = []
        for contrast in found:
            shown = []
            for name in _names(kind):
                one = contrast.scores[name]
                overall = one["overall"]
                shown += [measure(name, overall, signed=True), p_value(overall["p"])]
                shown.append(f"{one['won']} to {one['lost']}")
            cells.append((contrast.level, _titled(contrast), *shown))
        columns = [(SCORES[name], "p", "patients won to lost") for name in _names(kind)]
        text = (
            "Paired by slice, seeds and blocks drawn as above; two-sided p of that bootstrap, not "
            "corrected for the number of comparisons. Equal time: the other mode's scores when it "
            "had trained as long, by the median seconds of a step, on the line between the two "
            "nearest scored steps, slice by slice. Won: patients for whom the first mode is better."
        )
        heads = ("misalignment", "difference", *(name for three in columns for name in three))
        made.append(Table(f"Differences, {meaning}", heads, cells, text, folded=kind == "standard"))
    return made


def _each_patient(found: Sequence[Contrast]) -> list[Table]:
    names = _names("paper")
    cells = []
    for contrast in found:
        for patient in contrast.scores[names[0]]["patients"]:
            each = {name: contrast.scores[name]["patients"][patient] for name in names}
            shown = (
                text
                for name, one in each.items()
                for text in (measure(name, one, signed=True), p_value(one["p"]))
            )
            cells.append((contrast.level, _titled(contrast), patient, *shown))
    heads = ("misalignment", "difference", "patient", *(t for n in names for t in (SCORES[n], "p")))
    text = "Each patient held apart, over blocks of its neighbouring slices and over seeds."
    return [Table("Differences, each patient", heads, cells, text, folded=True)] if cells else []


def _cost(rows: Sequence[Row], seconds: dict[str, float | None]) -> Table:
    cells = []
    for mode, each in seconds.items():
        steps = next((row.runs[0].steps[-1] for row in rows if row.mode == mode), None)
        if steps is not None:
            time = ("–", "–") if each is None else (f"{each:.3f}", f"{each * steps / 60:.0f}")
            cells.append((mode, str(steps), *time))
    return Table(
        "What training costs",
        ("mode", "steps", "seconds a step", "minutes a run"),
        cells,
        "Seconds of a step: the median over the mode's finished runs, scoring left out.",
    )


def _wins(recipe: TranslationRecipe, found: Sequence[Contrast]) -> str:
    """Over everything that was compared, by PSNR and SSIM as the paper counts; and the paper's."""
    sentences = []
    for mode in dict.fromkeys(contrast.mode for contrast in found):
        mine = [contrast for contrast in found if contrast.mode == mode]
        parts = []
        for name in ("paper_psnr", "paper_ssim"):
            won, lost = (sum(c.scores[name][key] for c in mine) for key in ("won", "lost"))
            overall = [c.scores[name]["overall"] for c in mine]
            above, below = sum(o["low"] > 0 for o in overall), sum(o["high"] < 0 for o in overall)
            parts.append(
                f"in {SCORES[name].split(',')[0]} {mode} is better for {won} patients and worse "
                f"for {lost}; of {len(mine)} intervals {above} lie above zero and {below} below"
            )
        sentences.append(f"Over all comparisons of {mode} below, {'; '.join(parts)}.")
    if recipe.finding:
        sentences.append(f"The paper, on its own patients: {recipe.finding}")
    return " ".join(sentences)


def _forests(rows: Sequence[Row]) -> list[Figure]:
    figures = []
    for name in ("paper_psnr", "paper_ssim"):
        overall = [(row, row.scores[name]["overall"]) for row in rows]
        shown = [Score(r.mode, r.level, o["value"], o["low"], o["high"]) for r, o in overall]
        figures.append(forest(f"{SCORES[name]}, 95 % intervals", shown))
    return figures


def _as_json(
    recipe: TranslationRecipe,
    runs: Sequence[Trained],
    rows: Sequence[Row],
    found: Sequence[Contrast],
    seconds: dict[str, float | None],
) -> dict[str, Any]:
    return {
        "title": recipe.title,
        "cells": {"finished": len(runs), "all": len(recipe.cells())},
        "seconds_per_step": seconds,
        "rows": [
            {
                "mode": row.mode,
                "level": row.level,
                "steps": row.runs[0].steps[-1],
                "runs": [one.run.name for one in row.runs],
                "scores": row.scores,
            }
            for row in rows
        ],
        "differences": [contrast._asdict() for contrast in found],
    }


def _page(
    recipe: TranslationRecipe,
    out: Path,
    command: str,
    runs: Sequence[Trained],
    sections: Sequence[Section],
) -> None:
    overview_page(
        out / "report.html",
        recipe.title,
        recipe.about,
        sections,
        {one.run.name: one.run / "report.html" for one in runs},
        subtitle=f"{len(runs)} of {len(recipe.cells())} runs are finished.",
        command=command,
    )
