"""The page of a plan of labels: the curve, what it foretells, and how far to trust it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from radlearn.metrics.learning_curve_tables import back_tested, what_of
from radlearn.report.drawing import svg
from radlearn.report.finetuning import measure
from radlearn.report.overview import overview_page
from radlearn.report.page import Figure, Number, Section, Table, interval
from radlearn.report.palette import LIGHT

Plan = Mapping[str, Any]
WIDTH, HEIGHT = 640, 340


def plan_page(path: Path, plan: Plan, runs: Mapping[str, Path], command: str = "") -> Path:
    """Write the page and return its path.

    Args:
        plan: what `plan_labels.plan` returned.
        runs: the folder of each run, by its name.
        command: makes the page again.

    Raises:
        InputError: the page cannot be written.
    """
    config = plan["config"]
    return overview_page(
        path,
        "How many more labels?",
        {
            "Scored on": f"{config['split']}, {plan['records']:,} records of "
            f"{plan['patients']:,} patients; fingerprint {plan['fingerprint'] or '–'}",
            "Resamples": f"{config['resamples']:,} of patients and seeds, seed {config['seed']}",
        },
        plan_sections(plan),
        {name: run / "report.html" for name, run in runs.items()},
        subtitle=f"A learning curve of {what_of(plan)} over {len(plan['runs'])} runs.",
        numbers=[_number(plan, one) for one in plan["predictions"]],
        command=command,
    )


def plan_sections(plan: Plan) -> list[Section]:
    """The curve, the predictions, the back-test, and what the runs scored."""
    lines = [line for line in (back_tested(plan), *plan["notes"]) if line is not None]
    trust = " ".join(f"{line[0].upper()}{line[1:]}." for line in lines)
    curve = plan["curve"]
    return [
        Section(
            "Learning curve",
            "Small dots are runs, large ones their means with 95 % intervals. Left of the line the "
            "curve goes through runs; right of it, dashed, it is carried on to labels that nobody "
            "has made yet. The band holds what other patients and other seeds could have given.",
            [curve_figure(plan), _ahead(plan)],
        ),
        Section(
            "How far to trust it",
            f"{trust} All runs of an amount learn from the same records, so the luck of which "
            "records were labelled is in no interval, nor is a change of who is imaged.",
            [],
        ),
        Section(
            "What there is",
            f"Score = {curve['a']:.4f} − {curve['b']:.4f} (n / {curve['unit']:g})^−{curve['c']:.2f}"
            f"; its ceiling {measure(curve['ceiling'])}; a doubling of the labels is worth "
            f"{_signed(plan['slope'])} along a straight line.",
            [_there(plan)],
        ),
    ]


def curve_figure(plan: Plan) -> Figure:
    """Runs, curve and band over the number of labels, on a scale of logarithms."""
    drawn, amounts, ahead = plan["drawn"], plan["amounts"], plan["predictions"]
    largest = amounts[-1]["labels"]
    seen = [at for at, n in enumerate(drawn["labels"]) if n <= largest * 1.0001]
    beyond = list(range(seen[-1], len(drawn["labels"])))

    def draw(axes: Axes) -> None:
        blue, orange = LIGHT["blue"], LIGHT["orange"]
        for part, colour, dash, name in (
            (seen, blue, "-", "fitted"),
            (beyond, orange, "--", "carried on"),
        ):
            x, y, low, high = ([drawn[key][at] for at in part] for key in drawn)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            axes.plot(x, y, color=colour, lw=1.8, ls=dash, label=name)
        runs = plan["runs"]
        axes.plot(
            [run["labels"] for run in runs], [run["score"] for run in runs], "o",
            color=blue, ms=3.2, alpha=0.5,
        )  # fmt: skip
        for points, colour, marker in ((amounts, blue, "o"), (ahead, orange, "D")):
            for one in points:
                score = one["score"]
                if colour == blue:
                    axes.plot([one["labels"]] * 2, [score["low"], score["high"]], color=colour)
                axes.plot(one["labels"], score["value"], marker, color=colour, ms=6)
        axes.axvline(largest, color=LIGHT["quiet"], lw=0.9, ls=":")
        axes.set_xscale("log")
        places = [one["labels"] for one in (*amounts, *ahead)]
        axes.set_xticks(places, [f"{place:,}" for place in places], rotation=35, ha="right")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("labelled training records")
        axes.set_ylabel(what_of(plan)[:40])
        axes.legend(frameon=False, fontsize=10.5, labelcolor=LIGHT["ink"], loc="best")

    told = "; ".join(
        f"{one['labels']:,} labels {one['score']['value']:.3f}" for one in (*amounts, *ahead)
    )
    alt = f"{what_of(plan)} against labels: {told}; the last {len(ahead)} are foretold."
    return Figure("Score against labels", svg(draw, WIDTH, HEIGHT), alt)


def _ahead(plan: Plan) -> Table:
    rows = [
        [
            f"{one['times']:g} times",
            f"{one['labels']:,}",
            measure(one["score"]),
            _signed(one["gain"]),
        ]
        for one in plan["predictions"]
    ]
    columns = ["labels", "that is", f"{what_of(plan)}, foretold", "gain"]
    return Table("What more labels would give", columns, rows)


def _there(plan: Plan) -> Table:
    rows = [
        [
            f"{one['labels']:,}",
            str(one["runs"]),
            measure(one["score"]),
            "–" if one["spread"] is None else f"{one['spread']:.4f}",
        ]
        for one in plan["amounts"]
    ]
    return Table("Runs by labels", ["labels", "runs", what_of(plan), "sd over seeds"], rows)


def _number(plan: Plan, one: Mapping[str, Any]) -> Number:
    score = one["score"]
    detail = f"{score['low']:.3f} to {score['high']:.3f}"
    return Number(f"{plan['metric']} with {one['times']:g} times the labels",
                  f"{score['value']:.3f}", detail)  # fmt: skip


def _signed(one: Mapping[str, Any]) -> str:
    return interval(one["value"], one["low"], one["high"], signed=True)
