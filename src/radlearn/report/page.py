"""What a page is made of, and how it becomes one HTML file that needs nothing else."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jinja2
from markupsafe import Markup, escape

from radlearn import files


@dataclass(frozen=True)
class Image:
    """An encoded picture, image/svg+xml, image/png or image/jpeg, and its size in CSS pixels."""

    data: bytes
    mime: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class Figure:
    """A plot; neighbours of a section stand side by side as far as their widths allow.

    `alt` says in words what the plot shows, for those who do not see it.
    """

    kind: ClassVar[str] = "figure"
    title: str
    image: Image
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Cells are text; an interval is written `0.812 (0.790 to 0.833)` and set off by the page.

    The first column names the row. `folded` tables are closed until someone opens them.
    """

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False

    def is_numeric(self, column: int) -> bool:
        """Whether every filled cell of the column starts like a number, so that it aligns right."""
        cells = [row[column] for row in self.rows if row[column] not in ("", "–")]
        return column > 0 and bool(cells) and all(re.match(r"[<+−-]?\d", cell) for cell in cells)


@dataclass(frozen=True)
class Picture:
    """Images that belong together, side by side, each with its name below ("" for none)."""

    panels: Sequence[tuple[str, Image]]
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid; `width` is the least width of one in CSS pixels."""

    kind: ClassVar[str] = "gallery"
    title: str
    pictures: Sequence[Picture]
    caption: str = ""
    width: int = 220


@dataclass(frozen=True)
class Word:
    """A word of a report; `predicted` is None where the model could see it."""

    text: str
    predicted: str | None = None


@dataclass(frozen=True)
class Passages:
    """Reports with the words that were masked, and what the model wrote in their places."""

    kind: ClassVar[str] = "passages"
    title: str
    passages: Sequence[Sequence[Word]]
    caption: str = ""


@dataclass(frozen=True)
class Links:
    """Other pages of the same disk: (name, relative URL already quoted, what it is)."""

    kind: ClassVar[str] = "links"
    title: str
    links: Sequence[tuple[str, str, str]]


Item = Figure | Table | Gallery | Passages | Links


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two, and what they are about."""

    title: str
    text: str = ""
    items: Sequence[Item] = ()


@dataclass(frozen=True)
class Number:
    """One of the few numbers that a reader came for; `detail` is its interval or its unit."""

    name: str
    value: str
    detail: str = ""


def interval(
    score: float | None,
    low: float | None,
    high: float | None,
    *,
    signed: bool = False,
    digits: int = 3,
) -> str:
    """`0.812 (0.790 to 0.833)`; the score alone without bounds; an en dash when there is none."""
    form = f"{{:{'+' if signed else ''}.{digits}f}}"
    if score is None or score != score:
        return "–"
    if low is None or high is None or low != low or high != high:
        return form.format(score)
    return f"{form} ({form} to {form})".format(score, low, high)


def write_page(
    path: Path,
    title: str,
    subtitle: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    numbers: Sequence[Number] = (),
    command: str = "",
) -> None:
    """Write the page whole or not at all.

    Every text is escaped, so labels and ids may hold anything.

    Args:
        path: the HTML file.
        title: what the page is about, a few words.
        subtitle: one line below it.
        facts: where the numbers come from: version, seed, data, licences, fingerprints.
        sections: the page, in order; those without text and items are left out.
        numbers: shown large at the top.
        command: the command that makes the run again.

    Raises:
        InputError: the file cannot be written.
    """
    shown = [section for section in sections if section.text or section.items]
    kinds = {item.kind for section in shown for item in section.items}
    text = (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            facts=facts,
            sections=shown,
            numbers=numbers,
            command=command,
            shows_records=bool(kinds & {"gallery", "passages"}),
        )
    )
    # a file name that is not UTF-8 arrives as lone surrogates, which cannot be written
    files.write_text(path, text.encode("utf-8", "replace").decode("utf-8"))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    return environment


def _cell(text: str) -> Markup:
    """The bounds of an interval step back behind its score."""
    found = re.fullmatch(r"(\S+) (\(\S+ to \S+\))", text)
    if found is None:
        return escape(text)
    return Markup('{} <span class="bounds">{}</span>').format(*found.groups())
