"""The page of a retrieval: how early the right answer comes, and queries with their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from radlearn.report.facts import facts
from radlearn.report.figures import Score, forest
from radlearn.report.page import (
    Gallery,
    Item,
    Number,
    Picture,
    Section,
    Table,
    interval,
    write_page,
)
from radlearn.report.pictures import encode

FRAME = (0, 158, 115)
"""The green around a right image."""


@dataclass(frozen=True)
class Answer:
    """One answer to a query.

    Attributes:
        name: the record's id, "" where it is of no use.
        picture: stored pixels, where the answer is an image.
        right: whether it is one of the right ones; None where nobody knows.
    """

    name: str
    score: float
    report: str = ""
    picture: Shaped[np.ndarray, "size size"] | None = None
    right: bool | None = None


@dataclass(frozen=True)
class Query:
    """A record as a query: its report, its image or both, and the best answers."""

    name: str
    report: str = ""
    picture: Shaped[np.ndarray, "size size"] | None = None
    answers: Sequence[Answer] = field(default=())


def retrieval_page(
    path: Path,
    results: Mapping[str, Any],
    images: Sequence[Query],
    reports: Sequence[Query],
    command: str,
) -> Path:
    """Write the page of a scored split and return its path.

    Args:
        results: as results.json holds them.
        images: queries by image, answered by reports.
        reports: queries by report, answered by images.

    Raises:
        InputError: the page cannot be written.
    """
    among = "; the right one is green, where it is among them"
    sections = [
        Section("Recall", _design(results), [_recall_table(results), _recall_plot(results)]),
        _labels(results),
        Section(
            "From image to report",
            "Images drawn by lot, each with the reports that fit it best.",
            [item for query in images for item in _by_image(query)],
        ),
        Section(
            "From report to image",
            f"Reports drawn by lot, each with the images that fit it best{among}.",
            [_by_report(query) for query in reports],
        ),
    ]
    told = {name: results[name] for name in ("seed", "licences")}
    told["stores"] = [results["store"]]
    told["fingerprints"] = {results["split"]: results["fingerprint"]}
    title = "Retrieval of reports and images"
    subtitle = f"Run {results['run']} on the {results['split']} records of {results['store']}."
    write_page(path, title, subtitle, facts(told), sections, _numbers(results), command)
    return path


def query_page(
    path: Path, query: Query, answers: Sequence[Answer], among: str, command: str
) -> Path:
    """Write the page of one query and return its path.

    Args:
        among: how many candidates of what kind there were.

    Raises:
        InputError: the page cannot be written.
    """
    asked = Query(query.name, query.report, query.picture, answers)
    items = [_by_report(asked)] if query.picture is None else _by_image(asked)
    section = Section("Best answers", f"The best {len(answers)} of {among}.", items)
    write_page(path, "Retrieval", query.report or query.name, {}, [section], (), command)
    return path


def _design(results: Mapping[str, Any]) -> str:
    how = (
        f"Images and reports are compared in a space learnt from {results['pairs']:,} training "
        "pairs on frozen features, by the angle between them."
        if results["score"] == "space"
        else "An image and a report are compared by how much likelier the report decoder finds the "
        "report with this image than with an average one."
    )
    text = (
        f"{how} A report counts as right where it says the same as the record's own, word for word "
        "but for case and signs; many say it in other words, so that recall is a lower bound. "
        "Intervals are over patients; the candidates stay the same."
    )
    if results["seen_in_pretraining"]:
        text += (
            f" {results['seen_in_pretraining']} of the {results['records']} records are of "
            "patients that the run was trained on, which flatters it."
        )
    elif results["seen_in_pretraining"] is None:
        text += (
            " The stores that the run was trained on are not at hand: whether these patients were "
            "in them was not checked."
        )
    return text


def _recall_table(results: Mapping[str, Any]) -> Table:
    columns = ["", *results["recall"], "by chance"]
    both = list(results["recall"].values())
    rows = [
        [
            f"Recall at {cut}",
            *(_cell(one["at"][cut]) for one in both),
            " / ".join(dict.fromkeys(f"{one['chance'][cut]:.3f}" for one in both)),
        ]
        for cut in both[0]["at"]
    ]
    chance = " / ".join(dict.fromkeys(str(one["chance_median"]) for one in both))
    median = [_cell(one["median"], 0) for one in both]
    rows.append(["Median place of the first right answer", *median, chance])
    counts = [f"{one['candidates']:,}" for one in both]
    rows.append(["Candidates", *counts, "–"])
    return Table("Recall, 95 % intervals", columns, rows)


def _recall_plot(results: Mapping[str, Any]) -> Item:
    scores = [
        Score(direction, f"recall at {cut}", one["value"], one["low"], one["high"])
        for direction, of in results["recall"].items()
        for cut, one in of["at"].items()
    ]
    return forest("Recall, 95 % intervals", scores)


def _labels(results: Mapping[str, Any]) -> Section:
    items = [
        Table(
            f"Precision by label, {direction}",
            ["label", "queries", *(f"at {cut}" for cut in rows[0]["at"]), "by chance"],
            [
                [
                    row["label"],
                    str(row["queries"]),
                    *(_cell(one) for one in row["at"].values()),
                    f"{row['chance']:.3f}",
                ]
                for row in rows
            ],
        )
        for direction, rows in results["labels"].items()
        if rows
    ]
    if not items:
        return Section("Labels")
    text = (
        "Of the best answers of other patients to a query with the label, the share that has the "
        "label too: this asks for the finding, not for the words."
    )
    return Section("Labels", text, items)


def _numbers(results: Mapping[str, Any]) -> list[Number]:
    return [
        Number(
            f"Recall at 10, {direction}",
            f"{of['at']['10']['value']:.3f}",
            f"by chance {of['chance']['10']:.3f}",
        )
        for direction, of in results["recall"].items()
    ] + [Number("Records", f"{results['records']:,}", f"{results['texts']:,} different reports")]


def _by_image(query: Query) -> list[Item]:
    assert query.picture is not None
    shown = Picture([("", encode(_grey(query.picture)))], f"Image {query.name}", query.report)
    known = any(answer.right is not None for answer in query.answers)
    rows = [
        [
            str(place),
            answer.report,
            f"{answer.score:+.3f}",
            *(["right" if answer.right else "–"] if known else [answer.name]),
        ]
        for place, answer in enumerate(query.answers, 1)
    ]
    columns = ["place", "report", "score", "its own" if known else "record"]
    return [
        Gallery(f"Image {query.name}", [shown], "Below it: its own report." if known else ""),
        Table("Reports that fit it best", columns, rows),
    ]


def _by_report(query: Query) -> Gallery:
    pictures = []
    for place, answer in enumerate(query.answers, 1):
        assert answer.picture is not None
        grey = _grey(answer.picture)
        image = encode(_framed(grey) if answer.right else grey)
        name = f"{place}, right" if answer.right else str(place)
        said = answer.report or "no report"
        pictures.append(
            Picture(
                [(name, image)], f"Answer {place}: {answer.name}", f"{answer.score:+.3f}: {said}"
            )
        )
    return Gallery(query.report, pictures, width=170)


def _grey(pixels: Shaped[np.ndarray, "size size"]) -> UInt8[np.ndarray, "size size"]:
    return pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)


def _framed(grey: UInt8[np.ndarray, "size size"]) -> UInt8[np.ndarray, "size size 3"]:
    colour = np.repeat(grey[..., None], 3, axis=2)
    width = max(1, round(len(grey) / 40))
    inside = np.zeros(grey.shape, bool)
    inside[width:-width, width:-width] = True
    colour[~inside] = FRAME
    return colour


def _cell(one: Mapping[str, Any], digits: int = 3) -> str:
    return interval(one["value"], one["low"], one["high"], digits=digits)
