"""Two small stores as the commands make them, file by file."""

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path

from radlearn.cli import main
from radlearn.records.phantom_heads import write_heads
from radlearn.records.phantoms import LABEL_NAMES, write_phantoms


@functools.cache
def stored() -> Mapping[str, bytes]:
    """Radiographs with labels and reports: file's name to its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        source, store = Path(folder) / "source", Path(folder) / "store"
        write_phantoms(source, 3, 32, 0)
        flags = ["--table", str(source / "records.csv"), "--label-columns", *LABEL_NAMES]
        command = ["prepare", "folder", str(source), str(store), "--size", "16", *flags]
        assert main([*command, "--workers", "0"]) == 0
        return _files(store)


@functools.cache
def stored_pairs() -> Mapping[str, bytes]:
    """Pairs of scans: file's name to its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        source, store = Path(folder) / "source", Path(folder) / "store"
        write_heads(source, 2, 16, 0)
        names = ["--source", "T1", "--target", "T2", "--size", "16"]
        assert main(["prepare", "mri-pairs", str(source), str(store), *names]) == 0
        return _files(store)


def _files(store: Path) -> Mapping[str, bytes]:
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
