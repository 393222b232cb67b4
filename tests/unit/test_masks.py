"""Masks from run-lengths and from mask images."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from radlearn.errors import UnreadableError
from radlearn.records.guard import Limits
from radlearn.records.masks import decode_runs, read_mask
from radlearn.records.record import MaskFiles, RunLengths


def encoded(mask: np.ndarray) -> str:
    """Run-lengths as SIIM writes them: down the columns, a start counts from the last end."""
    runs, gap, length = [], 0, 0
    for value in mask.T.ravel():
        if value:
            length += 1
            continue
        if length:
            runs += [gap, length]
            gap, length = 0, 0
        gap += 1
    return " ".join(map(str, [*runs, gap, length] if length else runs))


def test_runs_go_down_the_columns_from_the_end_of_the_run_before() -> None:
    mask = decode_runs(RunLengths(("1 2 3 1",), height=4, width=3))
    assert mask.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]


@settings(max_examples=100, deadline=None)
@given(npst.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_decoding_undoes_encoding(mask: np.ndarray) -> None:
    runs = RunLengths((encoded(mask),), *mask.shape)
    np.testing.assert_array_equal(decode_runs(runs), mask)


def test_several_encodings_are_united_and_none_is_empty() -> None:
    one, two = np.zeros((2, 5, 4), bool)
    one[1:3, 1], two[2:5, 1:3] = True, True
    united = decode_runs(RunLengths((encoded(one), encoded(two)), 5, 4))
    np.testing.assert_array_equal(united, one | two)
    assert decode_runs(RunLengths((), 5, 4)).tolist() == [[0] * 4] * 5


@pytest.mark.parametrize("runs", ["1", "1 x", "0 21", "3 -1", "9" * 30 + " 1", "20 1", "1.5 2"])
def test_runs_that_cannot_be_are_refused(runs: str) -> None:
    with pytest.raises(UnreadableError, match="run-length"):
        decode_runs(RunLengths((runs,), 5, 4))


def test_a_mask_beyond_the_limits_is_refused_before_it_is_made() -> None:
    with pytest.raises(UnreadableError, match="100000 x 100000"):
        read_mask(RunLengths((), 100_000, 100_000), Limits(pixels=1000))


def test_the_files_of_a_mask_are_united(tmp_path: Path) -> None:
    left, right = np.zeros((2, 6, 8), np.uint8)
    left[:, :2], right[:, 5:] = 1, 255
    for name, values in (("left", left), ("right", right)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    mask = read_mask(MaskFiles((tmp_path / "left.png", tmp_path / "right.png")))
    np.testing.assert_array_equal(mask, (left + right) > 0)
    assert mask.dtype == np.uint8
    Image.fromarray(left[:3]).save(tmp_path / "right.png")
    with pytest.raises(UnreadableError, match="differ in size"):
        read_mask(MaskFiles((tmp_path / "left.png", tmp_path / "right.png")))
