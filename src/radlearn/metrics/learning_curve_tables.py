"""A plan of labels as tables for a terminal of 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from radlearn.metrics.measured import MEAN
from radlearn.metrics.tables import measured, plain_table


def what_of(plan: Mapping[str, Any]) -> str:
    """What the score is, in words."""
    if plan["label"] == MEAN:
        return f"mean {plan['metric']} of {len(plan['mean_of'])}"
    return f"{plan['metric']} of {plan['label']}"


def back_tested(plan: Mapping[str, Any]) -> str | None:
    """The back-test in a line; None where there was none."""
    test = plan["back_test"]
    if test is None:
        return None
    return (
        f"back-test: for {test['labels']:,} labels the fewer ones foretell "
        f"{measured(test['predicted'])}, and it was {measured(test['scored'])}; off by "
        f"{measured(test['error'], '+.3f')}"
    )


def print_plan(plan: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `plan_labels.plan` returned."""
    console = console or Console()
    config, what = plan["config"], what_of(plan)
    there = plain_table(
        ("labels", "runs", what, "sd over seeds"),
        f"What there is: {len(plan['runs'])} runs, scored on {plan['records']:,} "
        f"{config['split']} records of {plan['patients']:,} patients",
    )
    for one in plan["amounts"]:
        spread = "–" if one["spread"] is None else f"{one['spread']:.3f}"
        there.add_row(f"{one['labels']:,}", str(one["runs"]), measured(one["score"]), spread)
    ahead = plain_table(
        ("labels", "times", f"{what}, foretold", "gain"),
        "What more would give",
        f"95 % intervals over patients and seeds, {config['resamples']} resamples, seed "
        f"{config['seed']}",
    )
    for one in plan["predictions"]:
        ahead.add_row(
            f"{one['labels']:,}",
            f"{one['times']:g}",
            measured(one["score"]),
            measured(one["gain"], "+.3f"),
        )
    console.print(there, "", ahead, "", sep="\n")
    for line in [back_tested(plan), *plan["notes"]]:
        if line is not None:
            console.print(line, markup=False)
