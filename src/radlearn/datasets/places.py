"""Where a source's files are; nothing that a table names is read outside of its folder."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from radlearn.errors import InputError, UnreadableError
from radlearn.files import shown as as_text
from radlearn.records.record import SetAside

OUTSIDE = "its name leads out of the folder"
MISSING = "the file is missing"
ENDING = re.compile(r"(\.nii)?\.[A-Za-z]\w{1,4}$")
RUBBISH = {"thumbs.db", "desktop.ini", "__macosx"}


def folder(source: Path, layout: str, holding: str) -> Path:
    """`source` as a folder.

    Raises:
        InputError: it is not one.
    """
    if not source.is_dir():
        what = "is not a folder" if source.exists() else "does not exist"
        raise InputError(f"{source} {what}; {layout} looks for a folder holding {holding}")
    return source


def one_of(root: Path, patterns: Iterable[str], layout: str, holding: str) -> Path:
    """The last by name of the files that the first fitting pattern finds.

    Raises:
        InputError: none fits.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if found := sorted(p for p in root.glob(pattern) if p.is_file()):
            return found[-1]
    raise InputError(
        f"{root} has no {' or '.join(patterns)}; {layout} looks for a folder holding {holding}"
    )


def inside(root: Path, name: str) -> Path:
    """The file `name` under `root`, links resolved.

    Args:
        root: the folder that must hold it.
        name: as a table gives it; backslashes count as slashes.

    Raises:
        UnreadableError: the name, or a link on its way, leads out of `root`, or no file is there.
    """
    try:
        base = os.path.realpath(root)
        lexical = os.path.normpath(Path(base, name.replace("\\", "/")))
        if not _is_below(lexical, base):
            raise UnreadableError(OUTSIDE)
        if not name or not Path(lexical).is_file():
            raise UnreadableError(MISSING)
        real = os.path.realpath(lexical)
    except (ValueError, OSError):
        raise UnreadableError("its name is not a file name") from None
    if not _is_below(real, base):
        raise UnreadableError(OUTSIDE)
    return root / os.path.relpath(real, base)


def located(
    roots: Iterable[Path], names: Iterable[str], set_aside: list[SetAside] | None, shown: str
) -> Path | None:
    """The first of `names` that is a file inside the first fitting of `roots`.

    Args:
        set_aside: where to note `shown` when there is none; None where that is nothing to note.
        shown: what the table calls the file.
    """
    reason = MISSING
    names = tuple(names)
    for root in roots:
        for name in names:
            try:
                return inside(root, name)
            except UnreadableError as error:
                reason = reason if str(error) == MISSING else str(error)
    if set_aside is not None:
        set_aside.append(SetAside(shown[:500], reason))
    return None


def bare(name: str) -> str:
    """`name` without its ending; the last number of a DICOM UID is none."""
    return ENDING.sub("", name)


def tails(name: str, least: int) -> list[str]:
    """`name`, then without its first folder, and so on while `least` parts are left.

    Tables written elsewhere carry prefixes (`CheXpert-v1.0-small/train/...`) that a folder
    unpacked here may not have.
    """
    parts = name.replace("\\", "/").split("/")
    return ["/".join(parts[i:]) for i in range(max(len(parts) - least, 0) + 1)]


def walk(root: Path, set_aside: list[SetAside]) -> Iterator[Path]:
    """Every file under `root` in the order of names, hidden ones and system rubbish left out.

    Links to folders, links to files outside, links that lead nowhere, and files whose names are not
    text are not followed but noted in `set_aside`.
    """
    base = os.path.realpath(root)
    for place, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not _is_rubbish(f))
        for name in folders:
            link = Path(place, name)
            if link.is_symlink():
                shown = as_text(link.relative_to(root))
                set_aside.append(SetAside(shown, "a link to a folder, not followed"))
        for name in sorted(f for f in files if not _is_rubbish(f)):
            path = Path(place, name)
            own = path.relative_to(root)
            if path.is_symlink() and not _is_below(os.path.realpath(path), base):
                set_aside.append(SetAside(as_text(own), OUTSIDE))
            elif path.is_symlink() and not path.exists():
                set_aside.append(SetAside(as_text(own), "a link that leads nowhere"))
            elif as_text(own) != str(own):
                set_aside.append(SetAside(as_text(own), "its name is not UTF-8: rename it"))
            else:
                yield path


def _is_below(path: str, base: str) -> bool:
    return path.startswith(base if base.endswith(os.sep) else base + os.sep)


def _is_rubbish(name: str) -> bool:
    return name.startswith(".") or name.lower() in RUBBISH
