"""Published split lists: one line an image, its path and then 0/1 labels or none."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from radlearn.datasets.tables import text_lines
from radlearn.errors import InputError
from radlearn.records.record import SetAside, Split

LINE = re.compile(r"(?P<path>\S(?:.*?\S)?)(?P<labels>(?:\s+-?\d+(?:\.\d+)?)*)\s*")


class ListLine(NamedTuple):
    number: int
    path: str
    labels: tuple[str, ...]


class Place(NamedTuple):
    """Where a list puts a file: its split, and the words after the path."""

    split: Split
    list_name: str
    line: ListLine


def read_list(path: Path) -> Iterator[ListLine]:
    """Lines `path l1 ... lC`; a path may hold spaces, a line may end in one.

    Raises:
        InputError: the file cannot be read.
    """
    for number, line in enumerate(text_lines(path), start=1):
        if match := LINE.fullmatch(line.strip()):
            yield ListLine(number, match["path"], tuple(match["labels"].split()))


def read_places(lists: Mapping[Split, Path]) -> dict[str, Place]:
    """File name (without folders) to where the lists of one published split put it.

    Raises:
        InputError: a list is missing, or one file stands in two splits.
    """
    places: dict[str, Place] = {}
    for split, path in lists.items():
        if not path.is_file():
            raise InputError(f"the published split needs {path}, which is not there")
        for line in read_list(path):
            place = Place(split, path.name, line)
            name = line.path.replace("\\", "/").rsplit("/", 1)[-1]
            if places.setdefault(name, place).split != split:
                raise InputError(
                    f"{path} puts {name} in {split}, {places[name].list_name} elsewhere"
                )
    return places


def note_absent(
    places: Mapping[str, Place], met: Collection[str], set_aside: list[SetAside]
) -> None:
    """One line a list about the files that it names and the source does not have."""
    absent: dict[str, int] = {}
    for name, place in places.items():
        if name not in met:
            absent[place.list_name] = absent.get(place.list_name, 0) + 1
    for list_name, count in absent.items():
        set_aside.append(SetAside(list_name, f"names {count} files that the source does not have"))
