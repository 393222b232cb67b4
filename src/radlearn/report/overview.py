"""A page over many runs: a grid of cells side by side, differences of pairs, links to the runs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from radlearn.report.figures import Score, by_fraction, forest
from radlearn.report.page import Figure, Links, Number, Section, Table, interval, write_page

P_VALUES = {
    "p_bootstrap": "p, bootstrap",
    "p_bootstrap_holm": "after Holm",
    "p_delong": "p, DeLong",
    "p_delong_holm": "after Holm",
}


@dataclass(frozen=True)
class Difference:
    """The second's score less the first's on the same records, with its 95 % interval.

    Attributes:
        what: is compared: a label, an amount of labels.
        p_bootstrap: and the others, two-sided p-values, None where not measured.
    """

    first: str
    second: str
    what: str
    value: float | None
    low: float | None
    high: float | None
    p_bootstrap: float | None = None
    p_delong: float | None = None
    p_bootstrap_holm: float | None = None
    p_delong_holm: float | None = None

    @property
    def pair(self) -> str:
        return f"{self.second} − {self.first}"


def grid_section(title: str, text: str, scores: Sequence[Score], measure: str) -> Section:
    """Cells of a grid: a table with a row a series, lines over the amounts, intervals.

    Args:
        scores: `series` is the method, `name` the amount of labels, in the order to show.
        measure: what the score is, "Mean AUROC" say.
    """
    if not scores:
        return Section(title, text)
    names = list(dict.fromkeys(score.name for score in scores))
    cell = {(s.series, s.name): interval(s.score, s.low, s.high) for s in scores}
    rows = [
        [series, *(cell.get((series, name), "–") for name in names)]
        for series in dict.fromkeys(score.series for score in scores)
    ]
    items: list[Table | Figure] = [Table(f"{measure}, 95 % intervals", ["", *names], rows)]
    shown = [score for score in scores if score.low == score.low]
    if len(names) > 1 and shown:
        items.append(by_fraction(f"{measure} against labels", shown))
    if shown:
        items.append(forest(f"{measure}, 95 % intervals", shown))
    return Section(title, text, items)


def differences_section(
    found: Sequence[Difference], text: str = "", title: str = "Differences"
) -> Section:
    """Paired differences as a table and as intervals beside the line of no difference."""
    return Section(title, text, difference_items("Second less first", found))


def difference_items(title: str, found: Sequence[Difference]) -> list[Table | Figure]:
    """The table, without columns that nothing was measured for, and the intervals."""
    if not found:
        return []
    one_pair = len({one.pair for one in found}) == 1
    keys = [key for key in P_VALUES if any(getattr(one, key) is not None for one in found)]
    rows = [
        [
            *([] if one_pair else [one.pair]),
            one.what,
            interval(one.value, one.low, one.high, signed=True),
            *(p_value(getattr(one, key)) for key in keys),
        ]
        for one in found
    ]
    first = ["of"] if one_pair else ["pair", "of"]
    columns = [*first, "difference", *(P_VALUES[key] for key in keys)]
    items: list[Table | Figure] = [Table(found[0].pair if one_pair else title, columns, rows)]
    scores = [
        Score("difference", one.what, one.value, one.low, one.high)
        if one_pair
        else Score(one.what, one.pair, one.value, one.low, one.high)
        for one in found
        if one.value is not None and one.low is not None and one.high is not None
        if one.low == one.low
    ]
    if scores:
        items.append(forest("Differences, 95 % intervals", scores, reference=0.0))
    return items


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
    """Write the page over several runs and return its path.

    Args:
        path: the HTML file.
        title: what the runs were made for.
        subtitle: one line below it.
        sections: from `grid_section`, `differences_section`, `comparison`, or made by hand.
        facts: where the numbers come from.
        runs: name and folder of each run, linked where its page exists.
        numbers: shown large at the top.
        command: makes it all again.

    Raises:
        InputError: the page cannot be written.
    """
    every = [*sections, links_section(path, runs)]
    write_page(path, title, subtitle, facts, every, numbers, command)
    return path


def p_value(p: float | None) -> str:
    """`<0.001`, or three digits; an en dash where it was not measured."""
    if p is None or p != p:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"
