"""Readers against damaged files: seeded mutations here, coverage-guided ones by fuzz.fuzz.

Every finding of the way is a file of fuzz/findings, named after its target.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fuzz.seeds import seeds
from fuzz.targets import TARGETS
from radlearn.records.transforms import generator

HERE = Path(__file__).parent
FINDINGS = sorted(path for path in (HERE / "findings").glob("*") if path.is_file())
MUTATIONS = 60
SLOWEST = 10.0  # seconds
MOST_MEMORY = 2 * 2**20  # kB that reading may add


def mutated(contents: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes flipped, and now and then a piece cut out, doubled or cut off."""
    changed = bytearray(contents)
    for _ in range(int(rng.integers(1, 9))):
        changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
    first, last = sorted(rng.integers(len(changed), size=2))
    kind = rng.integers(8)
    if kind == 0:
        del changed[first:last]
    elif kind == 1:
        changed[first:first] = changed[first:last]
    elif kind == 2:
        del changed[last:]
    return bytes(changed)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, seed in enumerate(seeds(name, tmp_path / "seeds")):
        TARGETS[name](seed, tmp_path)
        for turn in range(MUTATIONS):
            began = time.monotonic()
            TARGETS[name](mutated(seed, generator(0xF022, number, turn)), tmp_path)
            assert time.monotonic() - began < SLOWEST
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_what_fuzzing_found_stays_mended(path: Path, tmp_path: Path) -> None:
    TARGETS[path.name.split("-")[0]](path.read_bytes(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_minute_of_guided_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "fuzz.fuzz", name, "--seconds", "60", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
