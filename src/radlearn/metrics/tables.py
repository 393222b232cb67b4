"""Scores and differences as tables for a terminal of 80 columns."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def measured(interval: dict[str, Any], form: str = ".3f") -> str:
    """An interval as a cell; a star where it has no width."""
    if interval["value"] is None:
        return "–"
    value = f"{interval['value']:{form}}"
    if interval["low"] is None:
        return value
    star = "*" if interval["degenerate"] else ""
    return f"{value} [{interval['low']:{form}}, {interval['high']:{form}}]{star}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def p_text(value: float | None) -> str:
    """A p-value as a cell."""
    return "<0.001" if value is not None and value < 0.001 else _number(value)


def plain_table(columns: tuple[str, ...], title: str = "", caption: str = "") -> Table:
    """A table without a frame; every column but the first is of numbers."""
    table = Table(
        title=escape(title), caption=escape(caption), title_justify="left", caption_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False,
    )  # fmt: skip
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def print_evaluation(evaluation: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `evaluate_run` returned: the ranking scores, then calibration and thresholds."""
    console = console or Console()
    config, mean = evaluation["config"], evaluation["mean"]
    ranking = plain_table(
        ("label", "positive", "AUROC", "average precision"),
        f"{evaluation['run']}: {evaluation['records']} {config['split']} records of "
        f"{evaluation['patients']} patients",
    )
    answers = plain_table(
        ("label", "ECE", "Brier", "threshold", "sensitivity", "specificity"),
        caption=f"95 % intervals over patients, {config['resamples']} resamples, seed "
        f"{config['seed']}; threshold by {config['rule']} on validation; * no resample differs",
    )
    for label, scores in evaluation["labels"].items():
        ranking.add_row(
            escape(label),
            f"{scores['positives']}/{scores['records']}",
            measured(scores["auroc"]),
            measured(scores["average_precision"]),
        )
        point = scores["operating_point"]
        shares = (point.get(name) for name in ("sensitivity", "specificity"))
        answers.add_row(
            escape(label),
            _number(scores["ece"]),
            _number(scores["brier"]["value"]),
            _number(point["threshold"]),
            *("–" if share is None else measured(share, ".2f") for share in shares),
        )
    ranking.add_section()
    name = f"mean of {len(mean['labels'])}"
    ranking.add_row(name, "", measured(mean["auroc"]), measured(mean["average_precision"]))
    console.print(ranking, "", answers, "", sep="\n")
    for label, scores in evaluation["labels"].items():
        if scores["reason"] is not None:
            console.print(f"{label}: not measurable, {scores['reason']}", markup=False)


def print_comparison(comparison: Mapping[str, Any], console: Console | None = None) -> None:
    """Print what `compare_runs` returned, a table a pair of runs."""
    console = console or Console()
    for pair in comparison["pairs"]:
        table = plain_table(
            ("label", "difference", "p", "p, Holm", "DeLong p", "Holm"),
            f"AUROC of {pair['second']} less {pair['first']}",
            f"the same {comparison['records']} records of {comparison['patients']} patients; p by "
            "paired bootstrap over patients; Holm: adjusted over the labels; * no resample differs",
        )
        keys = ("p_bootstrap", "p_bootstrap_holm", "p_delong", "p_delong_holm")
        for label, found in pair["labels"].items():
            cells = (p_text(found[key]) for key in keys)
            table.add_row(escape(label), measured(found["difference"], "+.3f"), *cells)
        mean = pair["mean"]
        table.add_section()
        name = f"mean of {len(mean['labels'])}"
        table.add_row(name, measured(mean["difference"], "+.3f"), p_text(mean["p_bootstrap"]))
        console.print(table, "", sep="\n")


def print_pairs(
    comparison: Mapping[str, Any],
    less_is_better: str,
    caption: Callable[[Mapping[str, Any]], str],
    rows: Callable[[Mapping[str, Any]], Iterable[tuple[str, Mapping[str, Any], str]]],
    console: Console | None = None,
) -> None:
    """Print differences of runs that have scores of several kinds, a table a pair of runs.

    Args:
        less_is_better: the score of which that is true.
        caption: of a pair, below its table.
        rows: of a pair: what a row is called, its "difference", "p" and "p_holm", and its digits.
    """
    console = console or Console()
    for pair in comparison["pairs"]:
        table = plain_table(
            ("", "difference", "p", "p, Holm"),
            f"{pair['second']} less {pair['first']} (of {less_is_better} less is better)",
            caption(pair),
        )
        for name, one, form in rows(pair):
            cells = (p_text(one[key]) for key in ("p", "p_holm"))
            table.add_row(escape(name), measured(one["difference"], f"+{form}"), *cells)
        console.print(table, "", sep="\n")
