"""What a finished run or store is made of, in checksums: damage is found and named."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from radlearn.errors import InputError
from radlearn.files import read_json, shown, write_json

NAME = "checksums.json"
BLOCK = 1 << 22


class Damage(NamedTuple):
    """A file that is not what it was, and how."""

    path: Path
    reason: str


def write_checksums(folder: Path, files: Iterable[Path]) -> None:
    """Write folder/checksums.json of these files and of all files in these folders."""
    found = sorted({file for given in files for file in _files(given)})
    sums = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": digest(file)}
        for file in found
    }
    write_json(folder / NAME, {"format": 1, "files": sums})


def _files(given: Path) -> Iterator[Path]:
    if given.is_dir():
        yield from (path for path in given.rglob("*") if path.is_file())
    elif given.is_file():
        yield given


def digest(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    sha = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()


def damage(folder: Path) -> Iterator[Damage | None]:
    """Each file of the folder's checksums: None where it is what it was.

    Raises:
        InputError: there are no checksums, or they are not of this format.
    """
    told = read_json(folder / NAME, "a folder with checksums")
    files = told.get("files") if isinstance(told, dict) else None
    if not isinstance(files, dict) or told.get("format") != 1:
        raise InputError(f"{folder / NAME} is no list of checksums; make the run or store again")
    for name, known in files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not isinstance(known, dict):
            raise InputError(f"{folder / NAME} names {name!r}, which is not inside {folder}")
        yield _judged(path, known)


def _judged(path: Path, known: dict[str, object]) -> Damage | None:
    try:
        size = path.stat().st_size
        if size != known.get("bytes"):
            return Damage(path, f"{size:,} bytes long, not {known.get('bytes'):,}")
        if digest(path) != known.get("sha256"):
            return Damage(path, "its bytes have changed")
    except FileNotFoundError:
        return Damage(path, "missing")
    except OSError as error:
        return Damage(path, f"cannot be read: {error.strerror}")
    return None


def marked(root: Path) -> list[Path]:
    """The folders with checksums at or under `root`, by name."""
    return sorted(found.parent for found in root.rglob(NAME))


def line(found: Damage) -> str:
    return f"{shown(found.path)}: {found.reason}"
