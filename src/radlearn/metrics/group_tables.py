"""Scores of groups as tables for a terminal of 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from radlearn.metrics.group_drift import SHARES
from radlearn.metrics.measured import MEAN
from radlearn.metrics.tables import measured, p_text, plain_table

MOST_COLUMNS = 3
"""With more labels the terminal has the mean alone; evaluation.json and the page have each."""


def print_groups(
    groups: Mapping[str, Any], evaluation: Mapping[str, Any], console: Console | None = None
) -> None:
    """Print what `evaluate_groups.groups_of` returned, two tables a column."""
    console = console or Console()
    config = evaluation["config"]
    for grouping in groups["groupings"]:
        names = _shown(grouping)
        table = plain_table(
            ("group", "n", groups["metric"], "less the rest", "p", "p perm."),
            f"{evaluation['run']} by {grouping['column']}",
            "n: patients; the rest: all records of other groups; p by bootstrap over patients and "
            "by dealing the groups out anew, both after Holm over all tests of a kind; 95 % "
            f"intervals, {config['resamples']} resamples, seed {config['seed']}",
        )
        for name in names:
            if len(names) > 1:
                table.add_section()
                table.add_row(escape(name), *[""] * 5)
            for group in grouping["groups"]:
                one = group["scores"][name]
                cells = ["–", "–", "–"]
                if one["tested"]:
                    p = (p_text(one[f"{key}_holm"]) for key in ("p_bootstrap", "p_permutation"))
                    cells = [measured(one["gap"], "+.2f"), *p]
                own = measured(one["score"], ".2f")
                table.add_row(escape(group["name"]), f"{group['patients']:,}", own, *cells)
        console.print(table, "", sep="\n")
        for line in untested(grouping, names):
            console.print(line, markup=False)
        _print_drift(grouping, console)


def untested(grouping: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """A line a group that was not tested, or that was not in some of these columns, and why."""
    found = []
    for group in grouping["groups"]:
        where = f"{grouping['column']} {group['name']}"
        if group["reason"] is not None:
            found.append(f"{where}: not tested, {group['reason']}")
            continue
        why: dict[str, list[str]] = {}
        for name in names:
            one = group["scores"][name]
            if one["reason"] is not None:
                why.setdefault(one["reason"], []).append(name)
        found += [f"{where}: not tested for {', '.join(of)}: {one}" for one, of in why.items()]
    return found


def _shown(grouping: Mapping[str, Any]) -> list[str]:
    names = list(grouping["groups"][0]["scores"])
    return [MEAN] if len(names) > MOST_COLUMNS + 1 else names


def _title(name: str, grouping: Mapping[str, Any]) -> str:
    return f"mean of {len(grouping['mean_of'])}" if name == MEAN else name


def _print_drift(grouping: Mapping[str, Any], console: Console) -> None:
    drifted = [group for group in grouping["groups"] if group["drift"]]
    if not drifted:
        return
    columns = list(drifted[0]["drift"])
    if len(columns) > MOST_COLUMNS:
        return
    table = plain_table(
        ("group", *SHARES, "excess", "ECE"),
        f"At the thresholds of validation, by {grouping['column']}",
        "excess: mean probability less the share of positives",
    )
    for name in columns:
        if len(columns) > 1:
            table.add_section()
            table.add_row(escape(name), *[""] * 4)
        for group in drifted:
            one = group["drift"][name]
            shares = (measured(one[share], ".2f") if share in one else "–" for share in SHARES)
            ece = "–" if one["ece"] is None else f"{one['ece']:.3f}"
            table.add_row(escape(group["name"]), *shares, measured(one["excess"], "+.2f"), ece)
    console.print("", table, "", sep="\n")
