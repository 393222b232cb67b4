"""Which volumes a finished translation run is asked about, and what their answers are called."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from radlearn.errors import InputError, UnreadableError
from radlearn.files import shown
from radlearn.records.dicom_header import is_dicom
from radlearn.records.guard import Refusal, head
from radlearn.records.record import SetAside

HEAD = 256  # bytes that tell DICOM apart
ENDINGS = (".nii.gz", ".nii", ".npy", ".png", ".tif", ".tiff", ".dcm")


class Exam(NamedTuple):
    """One question.

    Attributes:
        name: what it is called where something is said of it.
        paths: a file or a series for each name that was asked for.
        place: of its answer below the output's folder, without an ending.
    """

    name: str
    paths: tuple[Path, ...]
    place: Path


def exams(inputs: Sequence[Path], names: Sequence[str]) -> tuple[list[Exam], list[SetAside]]:
    """The exams in files and folders.

    A folder is an exam where it holds a file, or a folder of one DICOM series, by each of the names
    (T1.nii.gz, sub-01_t1.nii.gz, T1/). Below a folder that holds such exams nothing else is asked
    about; folders of scans without the names are set aside. Where there is none and one name was
    asked for, every series and every other file is a question of its own.

    Raises:
        InputError: nothing is at an input, or a folder holds no files.
    """
    found: list[Exam] = []
    refused: list[SetAside] = []
    for given in inputs:
        if not given.exists():
            raise InputError(f"nothing is at {given}; check the path")
        if given.is_dir() and not is_series(given):
            some, others = _below(given, names)
            found += some
            refused += others
        elif len(names) > 1:
            needed = " and ".join(names)
            refused.append(SetAside(shown(given), f"the run needs {needed}: give their folder"))
        else:
            found.append(Exam(shown(given), (given,), Path(stem(given))))
    return found, refused


def exam_files(given: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The files of one exam: the file or series itself where one name is asked for, or by names.

    Raises:
        UnreadableError: a name is missing, or stands for several.
    """
    if not given.exists():
        raise UnreadableError(f"nothing is at {given}; check the path")
    if len(names) == 1 and (given.is_file() or is_series(given)):
        return (given,)
    if given.is_file():
        raise UnreadableError(f"{' and '.join(names)} are needed: give the folder that holds them")
    return _by_name(_visible(given), names)


def is_series(folder: Path) -> bool:
    """Whether a folder's own files begin with a DICOM file."""
    files = [path for path in _visible(folder) if path.is_file()] if folder.is_dir() else []
    return any(_begins_as_dicom(path) for path in files[:3])


def stem(path: Path) -> str:
    """A file's name without the endings of volumes; a folder's name."""
    name = path.resolve().name if path.name in ("", "..") else path.name
    if path.is_dir():
        return name
    lower = name.lower()
    ending = next((end for end in ENDINGS if lower.endswith(end) and lower != end), "")
    return name[: len(name) - len(ending)] if ending else name


def _below(given: Path, names: Sequence[str]) -> tuple[list[Exam], list[SetAside]]:
    found: list[Exam] = []
    without: list[tuple[Path, str]] = []
    for folder in _folders(given):
        try:
            paths = _by_name(_visible(folder), names)
        except UnreadableError as error:
            without.append((folder, str(error)))
        else:
            place = folder.relative_to(given).with_name(stem(folder)) if folder != given else None
            found.append(Exam(shown(folder), paths, place or Path(stem(given))))
    asked = {exam.paths[0].parent for exam in found}
    outside = [
        (folder, reason)
        for folder, reason in without
        if not any(done in (folder, *folder.parents) for done in asked)
    ]
    if found or len(names) > 1:
        scans = [one for one in outside if is_series(one[0]) or any(map(_is_scan, _files(one[0])))]
        if not (found or scans):
            raise InputError(f"the folder {given} holds no {' and '.join(names)}")
        return found, [SetAside(shown(folder), reason) for folder, reason in scans]
    for folder, _ in outside:
        place = folder.relative_to(given)
        if is_series(folder):
            found.append(Exam(shown(folder), (folder,), place.with_name(stem(folder))))
        else:
            found += [Exam(shown(file), (file,), place / stem(file)) for file in _files(folder)]
    if not found:
        raise InputError(f"the folder {given} holds no files")
    return found, []


def _by_name(entries: Sequence[Path], names: Sequence[str]) -> tuple[Path, ...]:
    paths = []
    scans = [path for path in entries if path.is_file() or is_series(path)]
    for name in names:
        exact = [path for path in scans if stem(path).lower() == name.lower()]
        found = exact or [path for path in scans if name.lower() in _words(stem(path))]
        if not found:
            raise UnreadableError(f"it holds no {name}")
        if len(found) > 1:
            several = ", ".join(shown(Path(path.name)) for path in found)
            raise UnreadableError(f"several of its files could be {name}: {several}")
        paths.append(found[0])
    return tuple(paths)


def _words(name: str) -> list[str]:
    return re.split(r"[^0-9a-z]+", name.lower())


def _folders(given: Path) -> Iterator[Path]:
    """The folder and all below it, hidden ones left out, links to folders not followed."""
    yield given
    for path in _visible(given):
        if path.is_dir() and not path.is_symlink():
            yield from _folders(path)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_file()]


def _is_scan(path: Path) -> bool:
    return path.name.lower().endswith(ENDINGS)


def _begins_as_dicom(path: Path) -> bool:
    try:
        return is_dicom(head(path, HEAD))
    except (OSError, Refusal):
        return False
