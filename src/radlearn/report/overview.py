"""A page over many runs: a grid of cells side by side, differences of pairs, links to the runs."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from radlearn.report.figures import Score, by_fraction, forest
from radlearn.report.page import Figure, Links, Number, Section, Table, interval, write_page


def grid_sections(
    groups: Mapping[str, Sequence[Score]], measure: str, text: str = ""
) -> list[Section]:
    """A section a group, on one scale: a table with a row a series, the same as lines and bars.

    Args:
        groups: title and cells; `series` is the method, `name` the amount of labels, in order.
        measure: what the score is, "Mean AUROC" say.
        text: stands under the first title.
    """
    everything = [score for scores in groups.values() for score in scores if _measured(score)]
    if not everything:
        return [Section(next(iter(groups), measure), text)]
    low, high = min(s.low for s in everything), max(s.high for s in everything)
    edge = 0.04 * (high - low) or 0.01
    limits = (low - edge, high + edge)
    return [
        Section(title, "" if at else text, _grid(scores, measure, limits))
        for at, (title, scores) in enumerate(groups.items())
    ]


def _grid(
    scores: Sequence[Score], measure: str, limits: tuple[float, float]
) -> list[Table | Figure]:
    names = list(dict.fromkeys(score.name for score in scores))
    cell = {(s.series, s.name): interval(s.score, s.low, s.high) for s in scores}
    rows = [
        [series, *(cell.get((series, name), "–") for name in names)]
        for series in dict.fromkeys(score.series for score in scores)
    ]
    title = f"{measure}, 95 % intervals"
    items: list[Table | Figure] = [Table(title, ["", *names], rows)]
    shown = [score for score in scores if _measured(score)]
    if len({score.name for score in shown}) > 1:
        items.append(by_fraction(f"{measure} against labels", shown, limits))
    return [*items, forest(title, shown, limits=limits)] if shown else items


def _measured(score: Score) -> bool:
    return math.isfinite(score.low) and math.isfinite(score.high)


def links_section(page: Path, links: Mapping[str, Path]) -> Section:
    """Links, relative to `page`, to those of the pages that are there.

    Args:
        page: where the links will stand.
        links: name and file of each page.
    """
    found = [
        (name, quote(Path(os.path.relpath(file, page.parent)).as_posix()), "")
        for name, file in links.items()
        if file.exists()
    ]
    return Section("Runs", "", [Links("The page of each run", found)] if found else [])


def overview_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    links: Mapping[str, Path],
    subtitle: str = "",
    numbers: Sequence[Number] = (),
    command: str = "",
) -> Path:
    """Write the page over several runs and return its path.

    Args:
        path: the HTML file.
        title: what the runs were made for.
        facts: where the numbers come from.
        sections: from `grid_sections`, `comparison.side_by_side`, or made by hand.
        links: name and file of each run's page; those that are not there are left out.
        subtitle: one line below the title.
        numbers: shown large at the top.
        command: makes it all again.

    Raises:
        InputError: the page cannot be written.
    """
    every = [*sections, links_section(path, links)]
    write_page(path, title, subtitle, facts, every, numbers, command)
    return path
