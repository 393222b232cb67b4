"""Which scans a finished translation run is asked about, and what their answers are called."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from radlearn.datasets.pair_candidates import Candidate, Scan, exam_folders
from radlearn.errors import InputError, UnreadableError
from radlearn.files import shown
from radlearn.records.dicom_series import dicom_files
from radlearn.records.guard import Refusal
from radlearn.records.record import SetAside

ENDINGS = (".nii.gz", ".nii", ".npy", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")


class Exam(NamedTuple):
    """One question.

    Attributes:
        name: what it is called where something is said of it.
        scans: one for each source.
        place: of its answer below the output's folder, without an ending.
    """

    name: str
    scans: tuple[Scan, ...]
    place: Path


def exams(
    inputs: Sequence[Path], sources: Sequence[str], targets: Sequence[str]
) -> tuple[list[Exam], list[SetAside]]:
    """The exams in files and folders.

    A folder is searched for exams as `radlearn prepare mri-pairs` does, by the names of sources
    and targets; those without a source are set aside. Where it has none of the names, and the run
    has one source, each series and each other file below it is a question of its own.

    Raises:
        InputError: nothing is at an input, or a folder holds nothing to be asked about.
    """
    found: list[Exam] = []
    refused: list[SetAside] = []
    for given in inputs:
        if not given.exists():
            raise InputError(f"nothing is at {given}; check the path")
        if not given.is_dir():
            if len(sources) > 1:
                reason = f"the run needs {' and '.join(sources)}: give the folder that holds them"
                refused.append(SetAside(shown(given), reason))
            else:
                found.append(Exam(shown(given), (Scan(given),), Path(stem(given))))
            continue
        candidates = exam_folders(given, (*sources, *targets), refused)
        if not candidates and len(sources) == 1:
            found += _loose(given)
        elif not candidates:
            raise InputError(f"the folder {given} has no scans named {' and '.join(sources)}")
        for own, candidate in candidates.items():
            name = shown(candidate.folder)
            try:
                scans = _scans(candidate, sources)
            except UnreadableError as error:
                refused.append(SetAside(name, str(error)))
                continue
            itself = len(candidates) == 1 and candidate.folder == given
            found.append(Exam(name, scans, Path(stem(given) if itself else own)))
    return found, refused


def exam_scans(given: Path, names: Sequence[str]) -> tuple[Scan, ...]:
    """The scans of one exam: a file or a series where one name is asked for, or a folder of them.

    Raises:
        InputError: nothing is there, a name is missing or stands for several, or the folder holds
            several exams.
    """
    if not given.exists():
        raise InputError(f"nothing is at {given}; check the path")
    candidates = exam_folders(given, names, []) if given.is_dir() else {}
    if len(candidates) > 1:
        raise InputError(f"{given} holds {len(candidates)} exams; give one of them")
    if candidates:
        try:
            return _scans(next(iter(candidates.values())), names)
        except UnreadableError as error:
            raise InputError(f"{given}: {error}") from None
    if len(names) == 1:
        return (Scan(given),)
    raise InputError(f"{given} is no folder with scans named {' and '.join(names)}; give that")


def stem(path: Path) -> str:
    """A file's name without the endings of scans; a folder's name."""
    name = path.resolve().name if path.name in ("", "..") else path.name
    if path.is_dir():
        return name
    ending = next((end for end in ENDINGS if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)] or name


def _scans(candidate: Candidate, names: Sequence[str]) -> tuple[Scan, ...]:
    scans = []
    for name in names:
        found = candidate.scans.get(name, [])
        if len(found) != 1:
            there = f"{name} is there {len(found)} times" if found else f"it has no {name}"
            raise UnreadableError(there)
        scans.append(found[0])
    return tuple(scans)


def _loose(given: Path) -> list[Exam]:
    """Every series and every other file below a folder."""
    found = []
    for folder in _folders(given):
        place = folder.relative_to(given)
        files = [path for path in _visible(folder) if path.is_file()]
        if _is_series(folder):
            own = place.with_name(stem(folder)) if folder != given else Path(stem(given))
            found.append(Exam(shown(folder), (Scan(folder),), own))
        else:
            found += [Exam(shown(file), (Scan(file),), place / stem(file)) for file in files]
    if not found:
        raise InputError(f"the folder {given} holds no files")
    return found


def _folders(given: Path) -> Iterator[Path]:
    """The folder and all below it, hidden ones left out, links to folders not followed."""
    yield given
    for path in _visible(given):
        if path.is_dir() and not path.is_symlink():
            yield from _folders(path)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_series(folder: Path) -> bool:
    try:
        return bool(dicom_files(folder))
    except (OSError, Refusal):
        return False
