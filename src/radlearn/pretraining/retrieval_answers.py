"""Records as candidates and as queries: what says the same is one, and what was found for each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int64

from radlearn.files import replacing
from radlearn.metrics.retrieval import first_right
from radlearn.pretraining.retrieval_reader import Picture
from radlearn.records.store import Selection
from radlearn.report.retrieval import Answer, Query

DIRECTIONS = ("image to text", "text to image")
LISTED = 10
"""Best answers of each query that are written down."""


@dataclass(frozen=True)
class Gallery:
    """Records, and what their reports say; reports of the same words are one.

    Attributes:
        texts: as they were first met.
        which: the text of each record.
    """

    records: Selection
    texts: list[str]
    which: Int64[np.ndarray, " records"]

    @classmethod
    def of(cls, records: Selection) -> "Gallery":
        """Of records that all have a report."""
        numbers: dict[str, int] = {}
        texts: list[str] = []
        which = []
        for position in range(len(records)):
            report = records.report(position) or ""
            number = numbers.setdefault(said(report), len(texts))
            if number == len(texts):
                texts.append(report)
            which.append(number)
        return cls(records, texts, np.array(which, np.int64))


def said(report: str) -> str:
    """The words of a report: two that differ in case, spaces or signs say the same."""
    letters = "".join(c if c.isalnum() else " " for c in report.lower())
    return " ".join(letters.split())


def write_answers(path: Path, gallery: Gallery, scores: np.ndarray, right: np.ndarray) -> None:
    """A row a query: where its first right answer came, and the ids of its best answers."""
    ids, which = gallery.records.ids, gallery.which
    first = {int(text): ids[int(at)] for text, at in zip(*np.unique(which, True), strict=True)}
    tables = []
    for direction, one, good in (
        (DIRECTIONS[0], scores, right),
        (DIRECTIONS[1], scores.T[which], right.T[which]),
    ):
        best = np.argsort(-one, axis=1, kind="stable")[:, :LISTED].tolist()
        named = (lambda at: first[at]) if direction == DIRECTIONS[0] else (lambda at: ids[at])
        tables.append(
            pl.DataFrame(
                {
                    "direction": [direction] * len(ids),
                    "id": ids,
                    "patient": gallery.records.patients,
                    "place": first_right(one, good).astype(np.int64),
                    "best": [[named(at) for at in row] for row in best],
                }
            )
        )
    with replacing(path) as temporary:
        pl.concat(tables).write_parquet(temporary)


def image_query(
    gallery: Gallery, scores: np.ndarray, right: np.ndarray, at: int, top: int
) -> Query:
    """An image with the reports that were found for it."""
    best = np.argsort(-scores[at], kind="stable")[:top]
    answers = [
        Answer("", float(scores[at, i]), gallery.texts[i], right=bool(right[at, i])) for i in best
    ]
    records = gallery.records
    return Query(records.ids[at], records.report(at) or "", picture(records, at), answers)


def text_query(gallery: Gallery, scores: np.ndarray, right: np.ndarray, at: int, top: int) -> Query:
    """A report with the images that were found for it."""
    text = int(gallery.which[at])
    best = np.argsort(-scores[:, text], kind="stable")[:top]
    answers = [
        image_answer(gallery.records, int(i), float(scores[i, text]), bool(right[i, text]))
        for i in best
    ]
    return Query(gallery.records.ids[at], gallery.texts[text], None, answers)


def image_answer(records: Selection, at: int, score: float, right: bool | None = None) -> Answer:
    """A record's image as an answer, with its report if it has one."""
    report = records.report(at) or ""
    return Answer(records.ids[at], score, report, picture(records, at), right)


def picture(records: Selection, at: int) -> Picture:
    """The stored pixels of a record that has some."""
    pixels = records.image(at)
    assert pixels is not None
    return pixels
