"""The table of a grid of fine-tuned runs: scores, differences, the paper's numbers, the page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from radlearn.files import read_json, write_json, write_text
from radlearn.grids.recipe import Recipe, percent
from radlearn.grids.table_costs import costs_of, costs_table
from radlearn.grids.table_paper import paper_columns, paper_table, shown, wins
from radlearn.grids.table_scores import (
    LEAST,
    Contrast,
    Scored,
    Scores,
    contrasts,
    refuse_other_settings,
    run_of,
    score_cells,
    scored_on,
)
from radlearn.metrics.finished import finished_results
from radlearn.report.figures import Score
from radlearn.report.lists import TEXT, TITLE, score_of
from radlearn.report.overview import grid_sections, overview_page
from radlearn.report.page import Section, Table

__all__ = [
    "contrasts",
    "markdown",
    "refuse_other_settings",
    "run_of",
    "score_cells",
    "write_backbones",
    "write_table",
]


def _columns_of(recipe: Recipe, rows: Sequence[Scores]) -> list[str]:
    return [*recipe.labels, "mean of labels" if _metric(rows) == "AUROC" else _metric(rows)]


def _metric(rows: Sequence[Scores]) -> str:
    return rows[0].metric


def _told(rows: Sequence[Scores]) -> str:
    if _metric(rows) == "AUROC":
        return (
            f"The mean of labels is over those with at least {LEAST} positives and negatives among "
            "the test records."
        )
    return "" if rows[0].higher else "Less is better."


def _differences(recipe: Recipe, rows: Sequence[Scores], columns: Sequence[str]) -> list[Contrast]:
    """All differences of two rows, or those with the tuner that the recipe compares with."""
    end = f", {recipe.against}" if recipe.against else ""
    found = contrasts(rows, columns)
    return [one for one in found if one.first.endswith(end) or one.second.endswith(end)]


def _tables(
    recipe: Recipe, rows: Sequence[Scores], found: Sequence[Contrast]
) -> tuple[Table, Table]:
    columns = _columns_of(recipe, rows)
    several = any(row.data for row in rows)
    paper = paper_columns(recipe, rows)
    cells = []
    for at_row, row in enumerate(rows):
        spread = f"{row.by_seed[:, -1].std(ddof=1):.3f}" if len(row.by_seed) > 1 else "–"
        cells.append(
            (
                *([row.data] if several else []),
                *(row.init, row.tuner, percent(row.fraction).replace("%", " %")),
                *(shown(row.interval(at)) for at in range(len(columns))),
                spread,
                *(column[at_row] for column in paper.values()),
            )
        )
    scores = Table(
        f"{_metric(rows)} on patients held apart",
        (
            *(["data"] if several else []),
            *("start", "tuner", "labels used", *columns, "sd over seeds", *paper),
        ),
        cells,
        "Mean over seeds, and over classes where there are several, with the 95 % interval of a "
        "bootstrap over test patients and, where there are several, seeds; the standard deviation "
        f"is between seeds. {_told(rows)}".strip(),
    )
    differences = Table(
        f"Differences in {_metric(rows)}",
        (
            *(["data"] if several else []),
            *("first", "second", "labels used", "score", "second - first", "p"),
        ),
        [
            (
                *([c.data] if several else []),
                *(c.first, c.second, percent(c.fraction).replace("%", " %"), c.column),
                *(shown(c.difference, signed=True), f"{c.p:.3f}"),
            )
            for c in found
        ],
        "Paired on the same resampled patients; two-sided p of that bootstrap, not corrected for "
        "the number of comparisons.",
    )
    return scores, differences


def markdown(table: Table) -> str:
    """A table as text that a page of Markdown takes."""
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, "", table.caption, ""])


def write_table(
    recipe: Recipe, out: Path, resamples: int, command: str, more: Sequence[Section] = ()
) -> None:
    """Write results.json, table.md and report.html of the cells finished so far.

    Args:
        command: what makes it all again.
        more: sections that follow the scores on the page.

    Raises:
        InputError: see `score_cells`.
    """
    rows = score_cells(recipe, out, resamples)
    columns = _columns_of(recipe, rows)
    found = _differences(recipe, rows, columns)
    costs = costs_of(recipe, out, rows) if recipe.costs else []
    counted = wins(found, columns[-1], recipe.finding, all(row.higher for row in rows))
    sets = scored_on(recipe, out)
    write_json(
        out / "results.json",
        {
            "title": recipe.title,
            "columns": columns,
            "metric": _metric(rows),
            "higher_is_better": all(row.higher for row in rows),
            "rows": [
                {
                    "data": row.data,
                    "init": row.init,
                    "tuner": row.tuner,
                    "fraction": row.fraction,
                    "by_seed": row.by_seed.tolist(),
                    "score": [row.interval(at).as_json() for at in range(len(columns))],
                }
                for row in rows
            ],
            "differences": [c._asdict() | {"difference": c.difference.as_json()} for c in found],
            "test": {data: one._asdict() for data, one in sets.items()},
            **({"costs": costs} if costs else {}),
        },
    )
    scores, differences = _tables(recipe, rows, found)
    tables = [scores, *([costs_table(rows, costs)] if costs else [])]
    tables += [differences, _scored_on(sets)]
    said = _said_of(recipe, out)
    if any(sets) and _metric(rows) == "AUROC":
        tables.insert(0, paper_table(rows))
    write_text(
        out / "table.md",
        "\n".join([*map(markdown, [*tables, *said]), *([counted] if counted else [])]),
    )
    more = [*(Section(t.title, t.caption, [replace(t, caption="")]) for t in said), *more]
    _page(recipe, out, rows, command, counted, [*tables], more)


def _scored_on(sets: Mapping[str, Scored]) -> Table:
    return Table(
        "What was scored",
        ("data", "test records", "patients", "fingerprint of the test split"),
        [
            (data or "–", f"{s.records:,}", f"{s.patients:,}", s.fingerprint[:12])
            for data, s in sets.items()
        ],
        "Scores on another split, a paper's as well, are shown beside ours and never subtracted.",
    )


def _said_of(recipe: Recipe, out: Path) -> list[Table]:
    """Scores of the cells on other published lists, and what has to be said of their scores."""
    lists: list[tuple[str, ...]] = []
    marks: dict[str, list[str]] = {}
    for cell in recipe.cells():
        if not (place := run_of(out, cell) / "evaluation.json").exists():
            continue
        evaluation = read_json(place, "an evaluated run")
        for one in evaluation.get("lists", ()):
            scored = f"{one['records']:,} of {one['of']:,}"
            score = f"{one['metric']} {score_of(one)}"
            cells = (one["name"], scored, one["fingerprint"][:12], score)
            lists.append((cell.name, *cells))
        for mark in evaluation.get("marks", ()):
            marks.setdefault(mark, []).append(cell.setting)
    columns = ("cell", "list", "scored", "fingerprint", "score")
    found = [Table(TITLE, columns, lists, TEXT)] if lists else []
    rows = [(mark, ", ".join(dict.fromkeys(cells))) for mark, cells in marks.items()]
    caption = "Stores prepared with a link to each other tell for certain who is in both."
    return [
        *found,
        *([Table("To be said of the scores", ("what", "cells"), rows, caption)] if rows else []),
    ]


def write_backbones(recipe: Recipe, out: Path) -> None:
    """Write table.md of a recipe without a grid: what its backbones came to.

    Raises:
        InputError: a backbone is not finished.
    """
    rows = []
    for name in recipe.backbones:
        final = finished_results(out / "backbones" / name).get("final", {})
        told = ", ".join(
            f"{term} {value:.4g}" for term, value in final.items() if value is not None
        )
        rows.append((name, told or "–"))
    made = Table("Backbones", ("backbone", "last terms"), rows, "Each is a folder of backbones/.")
    write_text(out / "table.md", markdown(made))


def _page(
    recipe: Recipe,
    out: Path,
    rows: Sequence[Scores],
    command: str,
    counted: str,
    tables: Sequence[Table],
    more: Sequence[Section],
) -> None:
    columns = _columns_of(recipe, rows)
    groups: dict[str, list[Score]] = {}
    for row in rows:
        for at, column in enumerate(columns):
            name = ", ".join(part for part in (row.data, column) if part)
            score = Score(
                row.series, percent(row.fraction).replace("%", " %"), *row.interval(at)[:3]
            )
            groups.setdefault(name, []).append(score)
    seeds = sorted({len(row.by_seed) for row in rows})
    links = {f"backbone {name}": out / "backbones" / name for name in recipe.backbones}
    links |= {cell.name: run_of(out, cell) for cell in recipe.cells()}
    text = "Means over seeds; 95 % intervals by bootstrap over test patients and seeds."
    *scores, differences, scored_on = tables
    overview_page(
        out / "report.html",
        recipe.title,
        recipe.about,
        [
            *grid_sections(groups, _metric(rows), text),
            *(Section(one.title, one.caption, [replace(one, caption="")]) for one in scores),
            Section(
                "Differences",
                " ".join(part for part in (counted, differences.caption) if part),
                [replace(differences, caption="")],
            ),
            Section(scored_on.title, scored_on.caption, [replace(scored_on, caption="")]),
            *more,
        ],
        {name: run / "report.html" for name, run in links.items()},
        subtitle=f"{len(rows)} cells; seeds of each: {' or '.join(map(str, seeds))}.",
        command=command,
    )
