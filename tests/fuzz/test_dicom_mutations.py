"""DICOM files with bytes changed: read or refused. A few here, all that there are when slow."""

from pathlib import Path

import numpy as np
import pytest

from fuzz.dicom_mutations import MUTATIONS, mutated, tallies
from fuzz.seeds import seeds


def test_mutations_are_a_function_of_the_seed() -> None:
    contents = bytes(range(256)) * 20
    made = [mutated(contents, np.random.default_rng(seed)) for seed in (*range(40), 0)]
    assert made[0] == made[-1]
    assert len(set(made)) == 40 and contents not in made


def test_made_files_and_their_mutations_are_read_or_refused(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number, contents in enumerate(seeds("dicom", tmp_path / "seeds")):
        (folder / f"{number}.dcm").write_bytes(contents)
    found = list(tallies(folder, tmp_path / "out", 25, np.inf))
    assert [tally.whole for tally in found] == ["read"] * len(found)
    assert [finding for tally in found for finding in tally.findings] == []
    assert sum(tally.read for tally in found) > 0 < sum(len(tally.refused) for tally in found)
    assert all(tally.read + sum(tally.refused.values()) == 25 for tally in found)
    # the same command has nothing left to do
    assert list(tallies(folder, tmp_path / "out", 25, 0)) == found


@pytest.mark.slow
def test_every_file_with_two_hundred_mutations_is_read_or_refused(
    radlearn_data: Path, tmp_path: Path
) -> None:
    """About half an hour of computing; `python -m fuzz.dicom_mutations` does it in parts."""
    found = list(tallies(radlearn_data / "dicom", tmp_path, MUTATIONS, np.inf))
    assert len(found) >= 145
    assert [finding for tally in found for finding in tally.findings] == []
    assert all(tally.read + sum(tally.refused.values()) == MUTATIONS for tally in found)
