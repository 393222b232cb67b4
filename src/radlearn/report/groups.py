"""The page of a run's groups: scores and gaps as forests, thresholds and calibration in each."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from radlearn.metrics.group_drift import SHARES
from radlearn.metrics.group_tables import untested
from radlearn.metrics.measured import MEAN
from radlearn.report.comparison import p_value
from radlearn.report.figures import Score, forest
from radlearn.report.finetuning import measure
from radlearn.report.overview import overview_page
from radlearn.report.page import Figure, Section, Table, interval

Groups = Mapping[str, Any]


def groups_page(
    run: Path, groups: Groups, evaluation: Mapping[str, Any], command: str = ""
) -> Path:
    """Write run/groups.html and return its path.

    Args:
        groups: what `evaluate_groups.groups_of` returned.
        evaluation: the run's, for what was scored.
        command: makes the page again.

    Raises:
        InputError: the page cannot be written.
    """
    config = evaluation["config"]
    scored = f"{config['split']}, {evaluation['patients']:,} patients"
    return overview_page(
        run / "groups.html",
        "Honest groups",
        {
            "Scored on": f"{scored}; fingerprint {evaluation.get('fingerprint') or '–'}",
            "Resamples": f"{config['resamples']:,} of patients, seed {config['seed']}",
        },
        group_sections(groups),
        {run.resolve().name: run / "report.html"},
        subtitle=f"Run {run.resolve().name}: whether it serves every group alike.",
        command=command,
    )


def group_sections(groups: Groups) -> list[Section]:
    """Two sections a column: scores with gaps, and the operating points with calibration."""
    sections: list[Section] = []
    for grouping in groups["groupings"]:
        sections += [_scores(grouping, groups, not sections), _drift(grouping)]
    return sections


def _scores(grouping: Mapping[str, Any], groups: Groups, first: bool) -> Section:
    metric, members = groups["metric"], grouping["groups"]
    names = list(members[0]["scores"])
    several = len(names) > 1
    order = [MEAN, *names[:-1]] if several else names
    text = first * (
        "Each group against all records of the others. p says how often patients drawn anew, or "
        "groups dealt out anew among patients with and without a finding, differ as much; Holm's "
        "adjustment is over all tests of this run, the means in a family of their own. Groups of "
        f"fewer than {groups['fewest']} patients are shown and not tested. "
    )
    if several:
        text += f"The mean is over {', '.join(grouping['mean_of']) or 'no label'}."
    rows = []
    for name in order:
        for group in members:
            one = group["scores"][name]
            tested = one["tested"]
            rows.append(
                [
                    f"{_title(name)}: {group['name']}" if several else group["name"],
                    f"{group['patients']:,}",
                    measure(one["score"]),
                    _signed(one["gap"]) if tested else "–",
                    *(
                        p_value(one[key]) if tested else "–"
                        for test in ("p_bootstrap", "p_permutation")
                        for key in (test, f"{test}_holm")
                    ),
                ]
            )
    columns = [
        "group", "patients", metric, "less the rest",
        "p, bootstrap", "after Holm", "p, permutation", "after Holm",
    ]  # fmt: skip
    caption = " ".join(f"{line}." for line in untested(grouping, order))
    items: list[Table | Figure] = [
        Table(f"{metric} by {grouping['column']}", columns, rows, caption)
    ]
    shown = order[:1] if len(order) > 4 else order
    for kind, title in (("score", metric), ("gap", f"{metric} less that of the rest")):
        scores = [
            Score(group["name"], _title(name), one["value"], one["low"], one["high"])
            for name in shown
            for group in members
            if (one := group["scores"][name].get(kind)) is not None and _bounded(one)
        ]
        if scores:
            reference = 0.0 if kind == "gap" else None
            items.append(forest(f"{title}, 95 % intervals", _named(scores), reference))
    return Section(f"By {grouping['column']}", text, items)


def _named(scores: Sequence[Score]) -> list[Score]:
    """Of one column a row a group; of several a row a column, the groups in colours."""
    if len({score.name for score in scores}) > 1:
        return list(scores)
    return [Score("group", one.series, *astuple(one)[2:]) for one in scores]


def _drift(grouping: Mapping[str, Any]) -> Section:
    drifted = [group for group in grouping["groups"] if group["drift"]]
    title = f"Thresholds by {grouping['column']}"
    if not drifted:
        return Section(title)
    text = (
        "The thresholds that validation chose for everybody, in each group. Excess is the mean "
        "probability less the share of positives: above 0 the group is said to be sicker than it "
        "is. The calibration error is biased upwards where records are few."
    )
    names = list(drifted[0]["drift"])
    rows, meant, scores = [], [], []
    for name in names:
        for group in drifted:
            one = group["drift"][name]
            cells = [
                measure(one.get(key)) if key in SHARES else _signed(one.get(key))
                for share in SHARES
                for key in (share, f"{share}_gap")
            ]
            label = f"{name}: {group['name']}" if len(names) > 1 else group["name"]
            rows.append([label, *cells])
            ece = "–" if one["ece"] is None else f"{one['ece']:.3f}"
            meant.append([label, _signed(one["excess"]), measure(one["brier"]), ece])
            scores += [
                Score(share, label, value["value"], value["low"], value["high"])
                for share in SHARES
                if (value := one.get(share)) is not None and _bounded(value)
            ]
    columns = ["group", *(name for share in SHARES for name in (share, "less the rest"))]
    items: list[Table | Figure] = [
        Table("At one threshold a label", columns, rows),
        Table("Calibration", ["group", "excess", "Brier", "ECE"], meant),
    ]
    if scores and len(scores) <= 40:
        items.append(forest("Sensitivity and specificity, 95 % intervals", scores))
    return Section(title, text, items)


def _title(name: str) -> str:
    return "Mean" if name == MEAN else name


def _bounded(one: Mapping[str, Any]) -> bool:
    return None not in (one["value"], one["low"], one["high"])


def _signed(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "–"
    return interval(one["value"], one["low"], one["high"], signed=True)
