"""A page over many runs: a grid of cells side by side, differences of pairs, links to the runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from radlearn.report.figures import Score, by_fraction, forest
from radlearn.report.page import Figure, Links, Number, Section, Table, interval, write_page


@dataclass(frozen=True)
class Difference:
    """Second less first on the same records, with its 95 % interval."""

    first: str
    second: str
    what: str
    value: float | None
    low: float | None
    high: float | None
    p_bootstrap: float | None = None
    p_delong: float | None = None


def grid_sections(
    groups: Mapping[str, Sequence[Score]], measure: str, text: str = ""
) -> list[Section]:
    """A section a group, on one scale: a table with a row a series, the same as lines and bars.

    Args:
        groups: title and cells; `series` is the method, `name` the amount of labels, in order.
        measure: what the score is, "Mean AUROC" say.
        text: stands under the first title.
    """
    everything = [score for scores in groups.values() for score in scores]
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
    if len(names) > 1:
        items.append(by_fraction(f"{measure} against labels", scores, limits))
    return [*items, forest(title, scores, limits=limits)]


def differences(pair: Mapping[str, Any], first: str, second: str) -> list[Difference]:
    """One pair of a comparison as rows: the mean, where there are several labels, and each label.

    Args:
        pair: "labels" (name to difference and p-values) and "mean", as the comparison of two runs
            gives them.
        first: the name of the run that is subtracted.
        second: the name of the other.
    """
    parts = dict(pair["labels"])
    if len(parts) > 1:
        parts = {"Mean": pair["mean"]} | parts
    return [
        Difference(
            first,
            second,
            what,
            one["difference"]["value"],
            one["difference"]["low"],
            one["difference"]["high"],
            one.get("p_bootstrap"),
            one.get("p_delong"),
        )
        for what, one in parts.items()
    ]


def differences_section(
    found: Sequence[Difference], text: str = "", title: str = "Differences"
) -> Section:
    """Paired differences with intervals and p-values; a difference of 0 is marked in the plot."""
    if not found:
        return Section(title, text)
    rows = [
        [
            f"{one.second} − {one.first}",
            one.what,
            interval(one.value, one.low, one.high),
            p_value(one.p_bootstrap),
            p_value(one.p_delong),
        ]
        for one in found
    ]
    columns = ["pair", "of", "difference (95 % interval)", "p, bootstrap", "p, DeLong"]
    scores = [
        Score(f"{one.second} − {one.first}", one.what, one.value, one.low, one.high)
        for one in found
        if one.value is not None and one.low is not None and one.high is not None
    ]
    items = [Table("Pairs on the same records", columns, rows)]
    plots = [forest("Differences, 95 % intervals", scores, reference=0.0)] if scores else []
    return Section(title, text, [*items, *plots])


def links_section(page: Path, runs: Mapping[str, Path]) -> Section:
    """Links, relative to `page`, to the pages of the runs that have one."""
    links = [
        (name, quote(Path(os.path.relpath(run / "report.html", page.parent)).as_posix()), "")
        for name, run in runs.items()
        if (run / "report.html").exists()
    ]
    return Section("Runs", "", [Links("The page of each run", links)] if links else [])


def overview_page(
    path: Path,
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    facts: Mapping[str, str],
    runs: Mapping[str, Path],
    numbers: Sequence[Number] = (),
    command: str = "",
) -> Path:
    """Write the page over several runs.

    Args:
        path: the HTML file.
        sections: from `grid_sections`, `differences_section` or made by hand.
        facts: see `page.write_page`.
        runs: name and folder of each run, linked where its page exists.

    Raises:
        InputError: the page cannot be written.
    """
    write_page(
        path, title, subtitle, facts, [*sections, links_section(path, runs)], numbers, command
    )
    return path


def p_value(p: float | None) -> str:
    """`< 0.001`, or three digits; an en dash where it was not measured."""
    if p is None or p != p:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
