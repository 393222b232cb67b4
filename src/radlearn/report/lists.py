"""Scores on other published lists, and what has to be said of scores, for pages and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from radlearn.report.page import Section, Table, interval

TITLE = "On other published lists"
TEXT = (
    "Of each list only what the run held apart for the test is scored: a score on part of a list "
    "is not comparable with scores on the whole of it."
)


def lists_table(lists: Sequence[Mapping[str, Any]]) -> Table:
    """A row a list: what of it is scored, and the score.

    Args:
        lists: what `evaluate_lists.evaluate_lists` returned.
    """
    rows = []
    for one in lists:
        left = f"{one['trained']:,} / {one['chose']:,}"
        scored = f"{one['records']:,} of {one['of']:,}"
        rows.append((one["name"], scored, left, one["fingerprint"][:12], score_of(one)))
    metric = lists[0]["metric"] if lists else ""
    columns = ("list", "scored", "for training / chose the step", "fingerprint", metric)
    return Table(TITLE, columns, rows, TEXT)


def score_of(listed: Mapping[str, Any]) -> str:
    """The mean, or the one score, with its interval; else why there is none."""
    if not listed["scores"]:
        return str(listed["reason"])
    value = list(listed["scores"].values())[-1]
    return interval(value["value"], value["low"], value["high"])


def side_by_side(evaluations: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """A table a run that was scored on other lists; nothing where none was."""
    tables = [
        replace(lists_table(one["lists"]), title=run)
        for run, one in evaluations.items()
        if one.get("lists")
    ]
    return [Section(TITLE, "", tables)] if tables else []


def lists_sections(evaluation: Mapping[str, Any]) -> list[Section]:
    """A section where the run was scored on other lists, else none."""
    lists = evaluation.get("lists") or ()
    return [Section(TITLE, "", [lists_table(lists)])] if lists else []
