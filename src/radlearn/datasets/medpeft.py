"""Split lists of MRM (2023) and MED-PEFT (2024): `path l1 ... lC` a line, in files named train, val
and test."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radlearn.datasets import chexpert, nih, rsna
from radlearn.datasets.lists import read_list
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import located, tails
from radlearn.datasets.tables import split_of
from radlearn.errors import InputError
from radlearn.records.record import SetAside, Source, SourceRecord, Split, View

HOLDING = "split lists named *train*.txt, *val*.txt and *test*.txt"
LABELS_BY_COUNT = {14: nih.LABELS, 5: chexpert.COMPETITION, 1: (rsna.LABEL,)}
NAMES_BY_COUNT = {14: nih.NAME, 5: chexpert.NAME, 1: rsna.NAME}
OTHER = "split lists"
NIH_NAME = re.compile(r"(\d{8})_\d{3}\.\w+")


@dataclass
class Listed:
    """One image of the lists: its split, its labels as written, and the lists that name it."""

    split: Split
    labels: tuple[str, ...]
    lists: list[str]


def records(source: Path, options: LayoutOptions) -> Source:
    """The images that the lists name, their split kept; fractions of train (1, 10 %) are united.

    The extra column `lists` tells which lists name a record, so that a published 1 % can be
    chosen again. The data set and its label names follow from the number of labels: 14 NIH's, 5
    CheXpert's competition labels in MED-PEFT's order, 1 RSNA's Pneumonia; `options.label_columns`
    gives others. An image that trains and validates, as CheXpert's lists have some, trains.

    Args:
        source: the folder of the lists, or one list.
        options: `images` is where the images are, if not in `source`; `table` one list.

    Raises:
        InputError: no lists, lists of several data sets, or an image in test and another split.
    """
    lists = _lists(source, options)
    set_aside: list[SetAside] = []
    listed, count = _read(lists, set_aside)
    names = options.label_columns or LABELS_BY_COUNT.get(count, ())
    if len(names) != count or not listed:
        what = f"{count} labels a line" if listed else "no line with an image and labels"
        raise InputError(f"{next(iter(lists))} has {what}; name as many by label-columns")
    return Source(
        name=NAMES_BY_COUNT.get(count, OTHER) if not options.label_columns else OTHER,
        label_names=tuple(names),
        licence=options.licence or "that of the data set that the lists belong to",
        terms="The images come under the terms of their own data set (NIH ChestX-ray14, CheXpert "
        "or RSNA Pneumonia); the lists are those published with MED-PEFT.",
        records=_records(options.images or _root(source), listed, tuple(names), set_aside),
        set_aside=set_aside,
    )


def patient_of(path: str) -> str:
    """NIH's number, CheXpert's patientNNN, else the file's own name."""
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    if match := NIH_NAME.fullmatch(name):
        return match[1].lstrip("0") or match[1]
    return chexpert.patient_of(path) or name.rsplit(".", 1)[0]


def _root(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _lists(source: Path, options: LayoutOptions) -> dict[Path, Split]:
    only = options.table or (source if source.is_file() else None)
    if only is None and not source.is_dir():
        raise InputError(f"{source} does not exist; medpeft looks for {HOLDING}")
    found = {
        path: split
        for path in ([only] if only else sorted(source.glob("*.txt")))
        if (split := _split(path.stem))
    }
    if not found:
        raise InputError(
            f"{only or source}: no train, val or test in its name; medpeft looks for {HOLDING}"
        )
    return found


def _split(stem: str) -> Split | None:
    words = re.split(r"[^a-z]+", stem.lower())
    return next((split for split in map(split_of, words) if split), None)


def _read(lists: dict[Path, Split], set_aside: list[SetAside]) -> tuple[dict[str, Listed], int]:
    listed: dict[str, Listed] = {}
    count, counted = 0, Path()
    for path, split in lists.items():
        lines = list(read_list(path))
        here = max((len(line.labels) for line in lines), default=0)
        if count and here and here != count:
            raise InputError(
                f"{counted} has {count} labels a line and {path} has {here}: lists of several data "
                "sets; give a folder of one, or one list"
            )
        count, counted = here or count, path
        for line in lines:
            where = f"{path.name}:{line.number}"
            if len(line.labels) != here or not here:
                set_aside.append(SetAside(where, f"{len(line.labels)} labels instead of {here}"))
            elif not set(line.labels) <= {"0", "1"}:
                set_aside.append(SetAside(where, "a label that is not 0 or 1"))
            else:
                entry = listed.setdefault(line.path, Listed(split, line.labels, []))
                if entry.split != split:
                    if Split.TEST in (entry.split, split):
                        raise InputError(f"{path} has {line.path}, which {entry.lists[0]} has too")
                    entry.split = Split.TRAIN
                    reason = (
                        f"{line.path} is in {entry.lists[0]} too: it trains and validates nothing"
                    )
                    set_aside.append(SetAside(where, reason))
                entry.lists.append(path.stem)
    return listed, count


def _records(
    base: Path, listed: dict[str, Listed], names: tuple[str, ...], set_aside: list[SetAside]
) -> Iterator[SourceRecord]:
    roots = [base, *sorted(base.glob("images*")), *sorted(base.glob("images*/images"))]
    roots += chexpert.roots_of(base)[1:]
    for path, entry in listed.items():
        # CheXpert's files have the same name under every patient: keep the folders that tell
        least = chexpert.PARTS if chexpert.patient_of(path) else 1
        image = located(roots, tails(path, least), set_aside, path)
        if image is None:
            continue
        yield SourceRecord(
            id=path.rsplit(".", 1)[0],
            patient=patient_of(path),
            image=image,
            labels={n: float(v) for n, v in zip(names, entry.labels, strict=True)},
            view=_view(path),
            split=entry.split,
            extra={"lists": " ".join(entry.lists)},
        )


def _view(path: str) -> View:
    stem = path.rsplit(".", 1)[0]
    return next(
        (view for view in (View.FRONTAL, View.LATERAL) if stem.endswith(view)), View.UNKNOWN
    )
