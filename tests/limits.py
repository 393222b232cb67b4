"""A disk that is full, as root feels it too, and memory that is bounded."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Every write of this process beyond `size` bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def memory_up_to(size: int) -> Iterator[None]:
    """What is done here takes at most `size` bytes more than there were, at any moment."""
    status = Path("/proc/self/status")

    def kilobytes(name: str) -> int:
        return int(status.read_text().partition(f"{name}:")[2].split()[0])

    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is what there is now
    before = kilobytes("VmRSS")
    yield
    assert (kilobytes("VmHWM") - before) * 2**10 < size


class Disk:
    """A file system of its own in memory, of a size that can be changed."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def mount(self, size: int, *options: str) -> None:
        given = ",".join((f"size={size}", *options))
        command = ["mount", "-t", "tmpfs", "-o", given, "tmpfs", str(self.place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def resize(self, size: int) -> None:
        self._again(f"size={size}")

    def read_only(self, yes: bool) -> None:
        self._again("ro" if yes else "rw")

    def _again(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.place)], check=True)


@contextmanager
def disk_of(size: int, place: Path) -> Iterator[Disk]:
    """A disk of `size` bytes at a new folder; skips the test where mounting is not allowed."""
    if shutil.which("mount") is None:
        pytest.skip("no file system can be mounted here: there is no mount")
    place.mkdir()
    disk = Disk(place)
    disk.mount(size)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
