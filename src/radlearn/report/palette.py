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

METHODS = {
    "lora": Style("blue", "-", "o"),
    "full": Style("orange", "-", "s"),
    "linear": Style("green", "-", "^"),
    "mrm": Style("purple", "-", "D"),
    "mae": Style("gold", "-", "v"),
    "scratch": Style("slate", "--", "X"),
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
    """A style for each name: the method's own where the name is one or holds one and nobody else
    here has taken it, else one of the rest by the order of the names.
    """
    chosen: dict[str, Style] = {}
    for name in names:
        words = re.split(r"[\W_]+", name.lower())
        own = next((METHODS[word] for word in words if word in METHODS), None)
        if own is not None and own not in chosen.values():
            chosen[name] = own
    free = [style for style in OTHERS if style.colour not in {s.colour for s in chosen.values()}]
    free += [style for style in OTHERS if style not in free and style not in chosen.values()]
    for name in names:
        if name not in chosen:
            chosen[name] = free.pop(0) if free else OTHERS[zlib.crc32(name.encode()) % len(OTHERS)]
    return chosen
