"""Pairs of scans: found by name, never by position; what has no partner is listed."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from radlearn.datasets.pair_candidates import (
    Candidate,
    Scan,
    exam_folders,
    name_folders,
    named_folders,
    table_rows,
)
from radlearn.datasets.places import bare, inside, walk
from radlearn.errors import InputError, UnreadableError
from radlearn.files import shown
from radlearn.records.record import SetAside

SHOWN = 12


@dataclass(frozen=True)
class Exam:
    """The scans of a pair, a scan a channel; a side that is missing has none.

    Attributes:
        id: unique in the source.
        patient: as the source says it, never written anywhere but hashed.
    """

    id: str
    patient: str
    source: tuple[Scan, ...]
    target: tuple[Scan, ...]


@dataclass(frozen=True)
class Found:
    """Exams in the order of their ids.

    Attributes:
        set_aside: what has no partner, or is there twice.
        notes: what the user should know of how they were found.
    """

    exams: list[Exam]
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PairOptions:
    """What to look for.

    Attributes:
        source: names of the source's channels.
        target: likewise.
        patient_pattern: its first group, found in an exam's id, is the patient.
        transforms: where an exam's ITK files are; {name} and {exam} are filled in.
        unpaired: an exam with one side alone is taken in.
        table: CSV with the columns id, patient (may be missing) and one a name.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    patient_pattern: str | None = None
    transforms: str | None = None
    unpaired: bool = False
    table: Path | None = None


def find_pairs(folder: Path, options: PairOptions) -> Found:
    """Look for exams under `folder`.

    With a table, a row is an exam. Where the folder has a subfolder of each name (`FOLDER/A` and
    `FOLDER/B`; a name may also be a whole path), files of the same name in all of them are an
    exam. Else every folder is an exam that holds a scan of one of the names: a file by its name
    without the ending, whatever its case; a DICOM series by its folder's name, its exam being the
    folder around that, or by its SeriesDescription, its exam being the first folder below
    `folder` (and the study, where there are several).

    Raises:
        InputError: nothing of these names is there, or an option does not fit.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}; mri-pairs looks for a folder holding exams")
    names = (*options.source, *options.target)
    set_aside: list[SetAside] = []
    if options.table is not None:
        candidates = table_rows(folder, options.table, names, set_aside)
    elif folders := named_folders(folder, names):
        candidates = name_folders(folders, set_aside)
    else:
        candidates = exam_folders(folder, names, set_aside)
    return matched(folder, candidates, options, set_aside)


def matched(
    root: Path, candidates: dict[str, Candidate], options: PairOptions, set_aside: list[SetAside]
) -> Found:
    """Exams of the candidates that have one scan of every name; the others are set aside.

    Raises:
        InputError: none is left, or the pattern of patients or transforms fits nothing.
    """
    exams = []
    for own in sorted(candidates):
        candidate = candidates[own]
        twice = {n: scans for n, scans in candidate.scans.items() if len(scans) > 1}
        if twice:
            name, scans = next(iter(twice.items()))
            both = " and ".join(_below(root, scan.path) for scan in scans[:2])
            set_aside.append(SetAside(own, f"{name} is there {len(scans)} times: {both}"))
            continue
        missing = [n for n in (*options.source, *options.target) if not candidate.scans.get(n)]
        source = () if set(missing) & set(options.source) else options.source
        target = () if set(missing) & set(options.target) else options.target
        if missing and not (options.unpaired and (source or target)):
            set_aside.append(SetAside(own, f"no partner: it has no {', '.join(missing)}"))
            continue
        sides = [
            tuple(_with_transform(root, own, candidate, name, options) for name in side)
            for side in (source, target)
        ]
        exams.append(Exam(own, candidate.patient or own, sides[0], sides[1]))
    if not exams:
        raise InputError(_nothing(root, options, set_aside))
    if options.transforms and not any(
        scan.transform for e in exams for scan in e.source + e.target
    ):
        raise InputError(
            f"--transforms {options.transforms} fits no file in the exams of {root}, the first "
            f"being {exams[0].id}; {{name}} stands for the names given, {{exam}} for the exam"
        )
    exams, notes = _with_patients(exams, candidates, options)
    return Found(exams, set_aside, notes)


def _below(root: Path, path: Path) -> str:
    return shown(path.relative_to(root) if path.is_relative_to(root) else path)


def _with_transform(
    root: Path, own: str, candidate: Candidate, name: str, options: PairOptions
) -> Scan:
    scan = candidate.scans[name][0]
    if options.transforms is None:
        return scan
    said = options.transforms.replace("{name}", name).replace("{exam}", own)
    for place in (candidate.folder, root):
        try:
            return replace(scan, transform=inside(root, os.path.relpath(place / said, root)))
        except UnreadableError:
            continue
    return scan


def _with_patients(
    exams: Iterable[Exam], candidates: dict[str, Candidate], options: PairOptions
) -> tuple[list[Exam], list[str]]:
    if options.patient_pattern is None:
        unknown = sum(candidates[exam.id].patient is None for exam in exams)
        note = f"{unknown} exams count as a patient each; --patient-pattern says which are one"
        return list(exams), [note] if unknown > 1 else []
    try:
        pattern = re.compile(options.patient_pattern)
    except re.error as error:
        raise InputError(
            f"--patient-pattern {options.patient_pattern} is no regular expression: {error}"
        ) from None
    return list(_renamed(exams, pattern)), []


def _renamed(exams: Iterable[Exam], pattern: re.Pattern[str]) -> Iterator[Exam]:
    for exam in exams:
        match = pattern.search(exam.id)
        patient = match and (match[1] if pattern.groups else match[0])
        if not patient:
            raise InputError(
                f"--patient-pattern {pattern.pattern} does not fit the exam {exam.id}; its first "
                "group is to be the patient in every exam's name"
            )
        yield replace(exam, patient=patient)


def _nothing(root: Path, options: PairOptions, set_aside: Sequence[SetAside]) -> str:
    asked = f"--source {' '.join(options.source)} --target {' '.join(options.target)}"
    if set_aside:
        first = set_aside[0]
        return (
            f"no exam in {root} has all of {asked}; {len(set_aside)} set aside, the first "
            f"{first.path}: {first.reason}"
        )
    stems = sorted({bare(path.name) for path in walk(root, [])})
    there = ", ".join(stems[:SHOWN]) + (", ..." if len(stems) > SHOWN else "")
    return f"{root} has no scan named as {asked}; the names there are: {there or 'none'}"
