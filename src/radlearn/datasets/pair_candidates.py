"""Where scans of an exam lie: a folder an exam, a folder a name, a table; DICOM by its headers."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from radlearn.datasets.places import bare, inside, walk
from radlearn.datasets.tables import EMPTY, open_table
from radlearn.errors import InputError, UnreadableError
from radlearn.files import shown
from radlearn.records.dicom_header import Header, is_dicom, open_dicom, read_header
from radlearn.records.guard import DEFAULT_LIMITS, Refusal, head, refusals
from radlearn.records.record import SetAside

HEAD = 4096
NO_SCANS = {".txt", ".csv", ".tsv", ".json", ".mat", ".md", ".tfm", ".html", ".pdf", ".xlsx"}


@dataclass(frozen=True)
class Scan:
    """One volume of an exam.

    Attributes:
        path: a file, or the folder of a DICOM series.
        files: of a DICOM series; none where `path` alone says it.
        transform: ITK file that maps points of the exam's common space to this scan's.
    """

    path: Path
    files: tuple[Path, ...] = ()
    transform: Path | None = None


@dataclass
class Candidate:
    """An exam before its scans are matched: what was found under each name."""

    folder: Path
    patient: str | None = None
    scans: dict[str, list[Scan]] = field(default_factory=lambda: defaultdict(list))


def exam_folders(
    root: Path, names: Sequence[str], set_aside: list[SetAside]
) -> dict[str, Candidate]:
    """A folder an exam: files by their names without endings (and without the folder's name before
    it), DICOM by folder or description.

    The patient is PatientID; without DICOM the first folder, where an exam lies in several.
    """
    wanted = {name.casefold(): name for name in names}
    candidates: dict[str, Candidate] = {}
    others: list[Path] = []
    for path in walk(root, set_aside):
        if path.suffix.lower() in NO_SCANS:
            continue
        name = _named(path, wanted)
        if name is None:
            others.append(path)
            continue
        own = _key(path.parent, root)
        candidate = candidates.setdefault(own, Candidate(path.parent, _first_folder(own)))
        candidate.scans[name].append(Scan(path))
    for series in _series(others, root, set_aside):
        by_folder = wanted.get(series.folder.name.casefold())
        if by_folder is not None and series.folder != root:
            own, place, name = _key(series.folder.parent, root), series.folder.parent, by_folder
        elif (described := wanted.get(series.description().casefold())) is not None:
            top = series.folder.relative_to(root).parts[:1]
            own = "/".join([*top, series.study]) if series.several or not top else top[0]
            place, name = root.joinpath(*top), described
        else:
            continue
        candidate = candidates.setdefault(own, Candidate(place, series.patient))
        candidate.scans[name].append(series.scan)
    return candidates


def _named(path: Path, wanted: dict[str, str]) -> str | None:
    """The name that a file has, by itself or after its exam's (BraTS: EXAM/EXAM_t1.nii.gz)."""
    own, exam = bare(path.name).casefold(), path.parent.name.casefold()
    return wanted.get(own) or wanted.get(own.removeprefix(exam).lstrip("_-. "))


def name_folders(folders: dict[str, Path], set_aside: list[SetAside]) -> dict[str, Candidate]:
    """A folder a name: the same path below each of them is an exam.

    Where a path has folders the first of them is the patient.
    """
    candidates: dict[str, Candidate] = {}
    for name, root in folders.items():
        others: list[Path] = []
        for path in walk(root, set_aside):
            if path.suffix.lower() in NO_SCANS:
                continue
            if _is_dicom(path):
                others.append(path)
                continue
            own = path.relative_to(root).with_name(bare(path.name)).as_posix()
            candidate = candidates.setdefault(own, Candidate(path.parent, _first_folder(own)))
            candidate.scans[name].append(Scan(path))
        for series in _series(others, root, set_aside):
            below = series.folder.relative_to(root)
            own = series.study if series.folder == root else below.as_posix()
            candidate = candidates.setdefault(own, Candidate(series.folder, series.patient))
            candidate.scans[name].append(series.scan)
    return candidates


def table_rows(
    root: Path, table: Path, names: Sequence[str], set_aside: list[SetAside]
) -> dict[str, Candidate]:
    """A row an exam; a cell is a file, or the folder of a DICOM series, below `root`.

    Raises:
        InputError: no such table, or a column is missing.
    """
    rows = open_table(table, ("id", *names))
    candidates: dict[str, Candidate] = {}
    for number, row in enumerate(rows, 2):
        own = row["id"]
        if not own or own in candidates:
            reason = f"the id {own[:80]} was met before" if own else "it has no id"
            set_aside.append(SetAside(f"{table.name}, row {number}", reason))
            continue
        candidate = candidates[own] = Candidate(root, row.get("patient") or None)
        for name in names:
            if row[name].lower() in EMPTY:
                continue
            try:
                scans = _scans_at(root, row[name], set_aside)
            except UnreadableError as error:
                set_aside.append(SetAside(row[name][:500], f"{own[:80]}: {error}"))
                continue
            candidate.scans[name].extend(scans)
    return candidates


def _scans_at(root: Path, cell: str, set_aside: list[SetAside]) -> list[Scan]:
    base = Path(os.path.realpath(root))
    place = Path(os.path.realpath(root / cell.replace("\\", "/")))
    if not (place.is_dir() and place.is_relative_to(base)):
        return [Scan(inside(root, cell))]
    found = [one.scan for one in _series(walk(place, set_aside), place, set_aside)]
    if not found:
        raise UnreadableError("a folder without DICOM files")
    return found


@dataclass
class _Series:
    """DICOM files of one folder and one SeriesInstanceUID."""

    folder: Path
    files: list[Path]
    header: Header
    several: bool = False

    @property
    def study(self) -> str:
        """A name of the study that does not tell its number, which may lead to a person."""
        known = self.header.study or self.header.series or ""
        return "study-" + hashlib.sha256(known.encode()).hexdigest()[:8]

    @property
    def patient(self) -> str | None:
        return self.header.patient

    @property
    def scan(self) -> Scan:
        return Scan(self.folder, tuple(self.files))

    def description(self) -> str:
        """SeriesDescription of the first file that can be opened."""
        try:
            with refusals(self.files[0]):
                return str(open_dicom(self.files[0], DEFAULT_LIMITS).get("SeriesDescription", ""))
        except UnreadableError:
            return ""


def _series(paths: Iterable[Path], root: Path, set_aside: list[SetAside]) -> Iterator[_Series]:
    """Series by folder and SeriesInstanceUID; `several` where its first folder has more studies."""
    found: dict[tuple[Path, str], _Series] = {}
    studies: dict[tuple[str, ...], set[str | None]] = defaultdict(set)
    for path in paths:
        if not _is_dicom(path):
            continue
        try:
            header = read_header(path)
        except UnreadableError as error:
            set_aside.append(SetAside(shown(path.relative_to(root)), str(error)))
            continue
        if not header.frames:
            continue  # a DICOMDIR, a report
        series = found.setdefault(
            (path.parent, header.series or ""), _Series(path.parent, [], header)
        )
        series.files.append(path)
        studies[path.relative_to(root).parts[:-1][:1]].add(header.study)
    for series in found.values():
        series.several = len(studies[series.folder.relative_to(root).parts[:1]]) > 1
        yield series


def _is_dicom(path: Path) -> bool:
    try:
        return is_dicom(head(path, HEAD))
    except (OSError, Refusal):
        return False


def _first_folder(own: str) -> str | None:
    return own.split("/")[0] if "/" in own else None


def _key(folder: Path, root: Path) -> str:
    own = folder.relative_to(root).as_posix()
    return root.resolve().name if own == "." else own


def named_folders(root: Path, names: Sequence[str]) -> dict[str, Path] | None:
    """A folder of each name below `root` (or wherever a name that is a whole path leads).

    None where a name has none.

    Raises:
        InputError: some names are paths of folders and others are not there.
    """
    folders = {name: root / name for name in names}
    there = [name for name, folder in folders.items() if folder.is_dir()]
    if len(there) == len(names):
        return folders
    if lost := [name for name in names if os.sep in name and name not in there]:
        raise InputError(f"no folder {folders[lost[0]]}; --source and --target look for one a name")
    return None
