"""The page of a pretraining run: its curves, what it draws where it saw nothing, what it writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from radlearn.report.facts import command, facts, settings
from radlearn.report.figures import curves, titled
from radlearn.report.page import Number, Passages, Section, Word, write_page
from radlearn.report.pictures import reconstructions

OBJECTIVES = {
    "mrm": "Masked record modeling",
    "image": "Masked image modeling",
    "report": "Masked report modeling",
}
SPECIAL = {"[PAD]", "[CLS]", "[SEP]"}


@dataclass(frozen=True)
class Examples:
    """Records as the finished model sees them.

    Attributes:
        masked: what the encoder was given, hidden patches in one grey, in the size of `true`.
        rebuilt: hidden patches as drawn by the model, visible ones as they are.
        true: the images.
        reports: their words, from `report_words`.
        held_out: whether the model was not trained on them, which the page then says.
    """

    masked: UInt8[np.ndarray, "n h w"] | None = None
    rebuilt: UInt8[np.ndarray, "n h w"] | None = None
    true: UInt8[np.ndarray, "n h w"] | None = None
    reports: Sequence[Sequence[Word]] = ()
    held_out: bool = False


def report_words(
    pieces: Sequence[str], masked: Sequence[bool], predicted: Sequence[str]
) -> tuple[Word, ...]:
    """Join WordPieces to words; a word counts as masked when any of its pieces is.

    Args:
        pieces: the report's true pieces, `##` before those that go on a word.
        masked: whether each was hidden from the model.
        predicted: the likeliest piece at each position.
    """
    words: list[tuple[str, bool, str]] = []
    for piece, hidden, guess in zip(pieces, masked, predicted, strict=True):
        if piece in SPECIAL:
            continue
        if piece.startswith("##") and words:
            text, before, guessed = words.pop()
            joined = guessed + (guess.removeprefix("##") if hidden else piece[2:])
            words.append((text + piece[2:], before or hidden, joined))
        else:
            words.append((piece, hidden, guess if hidden else piece))
    return tuple(Word(text, guess if hidden else None) for text, hidden, guess in words)


def pretraining_page(
    run: Path,
    metrics: Sequence[Mapping[str, Any]],
    examples: Examples,
    config: Mapping[str, Any],
) -> Path:
    """Write run/report.html and return its path.

    Args:
        run: the run's folder.
        metrics: the rows of metrics.jsonl.
        examples: what to look at; images or reports may be missing.
        config: of the run.

    Raises:
        InputError: the page cannot be written.
    """
    path = run / "report.html"
    names = sorted({name for row in metrics for name in row if name != "step"})
    rates = [name for name in names if name.startswith("lr")]
    held = [name for name in names if name.startswith("val_")]
    terms = [name for name in names if name not in {*rates, *held}]
    terms.sort(key=lambda name: (name != "loss", name))
    panels = [
        *(curves(titled(name), metrics, [name]) for name in terms),
        *(curves(titled(name), metrics, [name]) for name in held),
        curves("Learning rate", metrics, rates),
    ]
    sections = [
        Section("Curves", "", [panel for panel in panels if panel]),
        _images(examples),
        _reports(examples),
        settings(config),
    ]
    write_page(
        path,
        OBJECTIVES.get(str(config.get("objective")), "Pretraining"),
        f"Run {run.name}: what the backbone learned by filling in what was hidden from it.",
        facts(config),
        sections,
        _numbers(metrics, terms, examples.reports),
        command(config, run),
    )
    return path


def _images(examples: Examples) -> Section:
    masked, rebuilt, true = examples.masked, examples.rebuilt, examples.true
    if masked is None or rebuilt is None or true is None or not len(true):
        return Section("Images")
    text = (
        f"{_whose('Images', examples)} The model sees the masked one and draws the rest; "
        "a patch is drawn in the true patch's mean and contrast, which the loss leaves free."
    )
    return Section("Images", text.strip(), [reconstructions(masked, rebuilt, true)])


def _whose(what: str, examples: Examples) -> str:
    return f"{what} of patients that the model was not trained on." if examples.held_out else ""


def _reports(examples: Examples) -> Section:
    if not examples.reports:
        return Section("Reports")
    text = (
        f"{_whose('Reports', examples)} Marked words were hidden: green where the model's "
        "likeliest word is right, else its word struck out before the true one."
    )
    return Section("Reports", text.strip(), [Passages("Words filled in", examples.reports)])


def _numbers(
    metrics: Sequence[Mapping[str, Any]],
    terms: Sequence[str],
    reports: Sequence[Sequence[Word]],
) -> list[Number]:
    numbers = []
    if metrics:
        numbers.append(Number("Steps", f"{max(row['step'] for row in metrics):,}"))
    for name in terms:
        values = [row[name] for row in metrics if row.get(name) is not None]
        tail = values[-max(1, len(values) // 20) :]
        if tail:
            detail = f"last {len(tail)} logged, from {values[0]:.3f}"
            numbers.append(Number(titled(name), f"{np.mean(tail):.3f}", detail))
    hidden = [word for report in reports for word in report if word.predicted is not None]
    if hidden:
        right = sum(word.text == word.predicted for word in hidden)
        numbers.append(
            Number(
                "Hidden words right",
                f"{right / len(hidden):.0%}",
                f"{right} of {len(hidden)} shown",
            )
        )
    return numbers
