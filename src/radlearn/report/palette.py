"""One colour, dash and marker a method, the same everywhere, told apart by colour-blind eyes."""

import re
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How a method is drawn; `colour` is a key of LIGHT and DARK."""

    colour: str
    dash: str
    marker: str


# Okabe and Ito's colours, darkened on white and lightened on black to a contrast of 3 or more.
LIGHT = {
    "ink": "#1b1f24", "quiet": "#5b6472", "line": "#e2e5ea",
    "blue": "#0072b2", "orange": "#d55e00", "green": "#008f68",
    "purple": "#b25690", "gold": "#a67c00", "slate": "#66717f",
}  # fmt: skip
DARK = {
    "ink": "#e7eaee", "quiet": "#a0a9b5", "line": "#313741",
    "blue": "#58b4ea", "orange": "#ff8a4c", "green": "#34c99b",
    "purple": "#e590c2", "gold": "#e4b63f", "slate": "#98a3b0",
}  # fmt: skip

TUNERS = {
    "lora": Style("blue", "-", "o"),
    "full": Style("orange", "-", "s"),
    "linear": Style("green", "-", "^"),
}
STARTS = {
    "mrm": Style("purple", "-", "o"),
    "mae": Style("gold", "--", "D"),
    "scratch": Style("slate", ":", "X"),
}
TERMS = {
    "val": Style("orange", "-", ""),
    "loss": Style("blue", "-", ""),
    "image": Style("green", "-", ""),
    "report": Style("purple", "-", ""),
    "lr": Style("slate", "-", ""),
}
OTHERS = [
    Style(colour, dash, marker)
    for dash, marker in (("-", "o"), ("--", "s"), (":", "^"))
    for colour in ("blue", "orange", "green", "purple", "gold", "slate")
]


def styles(names: list[str]) -> dict[str, Style]:
    """A style for each name: its own where it names a method, else one of the rest, in order.

    A name with a tuner and a start ("mrm, lora") has the tuner's colour and the start's dash and
    marker. Of two names for one method the first has its style.
    """
    chosen: dict[str, Style] = {}
    for name in names:
        own = _own(re.split(r"[\W_]+", name.lower()))
        if own is not None and own not in chosen.values():
            chosen[name] = own
    free = [style for style in OTHERS if style.colour not in {s.colour for s in chosen.values()}]
    free += [style for style in OTHERS if style not in free and style not in chosen.values()]
    for name in names:
        if name not in chosen:
            chosen[name] = (
                free.pop(0)
                if free
                else OTHERS[zlib.crc32(name.encode("utf-8", "replace")) % len(OTHERS)]
            )
    return chosen


def _own(words: list[str]) -> Style | None:
    tuner, start, term = (
        next((known[word] for word in words if word in known), None)
        for known in (TUNERS, STARTS, TERMS)
    )
    if tuner is not None and start is not None:
        return Style(tuner.colour, start.dash, start.marker)
    return tuner or start or term
