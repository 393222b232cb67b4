"""Whole files or none: everything is written to a temporary name, synced and renamed."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from radlearn.errors import InputError

PROBE = 2**20  # bytes that a disk should still take after a write that failed
URL = re.compile(r"([a-z][a-z0-9+.-]+):/+([^/].*)")  # a drive of Windows is one letter
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving without an error it becomes `path`.

    Raises:
        InputError: the folder cannot be written to or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # safetensors makes files that nobody else in a group can read
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        # NumPy has no number for a disk that is full
        full = error if error.errno is not None else _refused(temporary) or error
        raise _unwritable(path, full) from error
    except InputError:
        raise
    except Exception as error:
        # torch, safetensors and polars each have their own word for a disk that is full
        if (why := _refused(temporary)) is None:
            raise
        raise _unwritable(path, why) from error
    finally:
        with suppress(OSError):  # what went wrong has been said
            temporary.unlink()


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
    )


def _refused(path: Path) -> OSError | None:
    """Why no more bytes go into a file, None where they do."""
    try:
        with path.open("ab") as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk once its folder is; not every system lets a folder be synced."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def writable(folder: Path) -> None:
    """Make a folder where there is none, and see that it can be written to, before long work.

    Raises:
        InputError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to the folder {folder}: {error.strerror or error}; choose another one"
        ) from error


def is_remote(path: Path) -> bool:
    """Whether a place is in object storage.

    It is a `Path` too, `Path("s3://bucket/store")`: that it has lost a slash does not matter, since
    no folder of ours begins like that.
    """
    return URL.fullmatch(path.as_posix()) is not None


def spelled(path: Path) -> str:
    """A place as people write it: both slashes of a URL."""
    found = URL.fullmatch(path.as_posix())
    return f"{found[1]}://{found[2]}" if found else str(path)


def resolved(path: Path) -> Path:
    """`path.resolve()`; what is in object storage is nowhere else."""
    return path if is_remote(path) else path.resolve()


def shown(path: Path) -> str:
    """A path as text that every table and terminal takes, whatever bytes its name is made of."""
    return os.fsencode(spelled(path)).decode("utf-8", errors="replace")


def listed(path: str) -> str:
    """A path as a cell of a table that people open: the same file, and never a formula."""
    return f"./{path}" if path.startswith(FORMULA) else path


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read JSON that should be there.

    Args:
        path: the file.
        what: what the file is, for the error: "a store", "a finished run".

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent} is not {what}: it has no {path.name}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read {path} of {what}: {error}") from error
