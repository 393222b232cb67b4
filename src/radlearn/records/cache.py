"""A folder of files by their contents, with a limit: what was fetched once is not fetched again."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from filelock import FileLock, Timeout

from radlearn.errors import InputError
from radlearn.files import replacing

LIMIT = "RADLEARN_CACHE_GB"
DEFAULT_GB = 50.0
ABANDONED = 3600.0
"""Seconds since the last byte of a file that was never completed: nobody is writing it."""

Out = TypeVar("Out")


class Contents(NamedTuple):
    """What a file is made of: the name under which it is kept."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Cache:
    """Files by their SHA-256; processes may share it.

    A file is there whole or not at all. It is fetched, read and thrown out under a lock, so that
    two processes never fetch it at once and none throws out what another is about to open. One
    that is mapped stays readable when it is thrown out; its space is free once nobody maps it.

    Attributes:
        folder: of this user alone: what is kept are patients' images.
        limit: bytes; the files that were read longest ago go when it is passed.
    """

    folder: Path
    limit: float

    def read(
        self, wanted: Contents, fetch: Callable[[Path], None], read: Callable[[Path], Out]
    ) -> Out:
        """What `read` makes of a file, after `fetch` has written it where it is not there.

        Raises:
            InputError: the folder cannot be written to, or has no room for it.
        """
        path = self.folder / wanted.sha256
        with self._refusals():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self._lock(path)
            lock.acquire()
        try:
            with self._refusals():
                new = not path.exists() or path.stat().st_size != wanted.bytes
                if new:
                    self._room(wanted)
                    with replacing(path) as temporary:
                        fetch(temporary)
                os.utime(path)
            found = read(path)
        finally:
            lock.release()
        if new:
            self._shrink(path)
        return found

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot keep files in {self.folder}: {error.strerror or error}; set "
                "XDG_CACHE_HOME to a folder that can be written to"
            ) from error

    def _room(self, wanted: Contents) -> None:
        free = shutil.disk_usage(self.folder).free
        if wanted.bytes > free:
            raise InputError(
                f"{self.folder} has room for {free:,} bytes and {wanted.bytes:,} are to be "
                "fetched: free some space or set XDG_CACHE_HOME to another disk"
            )

    def _shrink(self, keep: Path) -> None:
        """Throw out what was read longest ago, until the limit is kept or all else is in use."""
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process throws out too
                state = path.stat()
                if path.is_file():
                    found.append((state.st_mtime, state.st_size, path))
        total, now = sum(size for _, size, _ in found), time.time()
        for at, size, path in sorted(found):
            abandoned = path.suffix == ".part" and now - at > ABANDONED
            if path == keep or (total <= self.limit and not abandoned):
                continue
            if path.suffix == ".part" and not abandoned:
                continue
            with suppress(Timeout, OSError), self._lock(path).acquire(timeout=0):
                path.unlink()
                total -= size

    def _lock(self, path: Path) -> FileLock:
        """The lock of a file; there are 256, so that a cache does not fill with locks."""
        locks = self.folder / "locks"
        locks.mkdir(exist_ok=True)
        return FileLock(locks / f"{path.name.lstrip('.')[:2]}.lock")


def user_cache() -> Cache:
    """$XDG_CACHE_HOME/radlearn, with room for RADLEARN_CACHE_GB.

    Raises:
        InputError: the limit is no number above 0.
    """
    told = os.environ.get(LIMIT, "")
    try:
        limit = float(told) if told else DEFAULT_GB
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise InputError(f"{LIMIT}={told}: give a number of gigabytes above 0, such as 50")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Cache(Path(home) / "radlearn" / "stores", limit * 1e9)
