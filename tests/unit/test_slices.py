"""Intervals over slices: what is drawn, what is paired, and whether the intervals hold."""

import time

import numpy as np
import pytest
from scipy.signal import lfilter

from radlearn.errors import InputError
from radlearn.metrics.slices import block_length, describe, difference_over, score_over


def wandering(count: int, n: int, phi: float, rng: np.random.Generator) -> np.ndarray:
    """Series whose neighbours resemble each other, with mean 0."""
    return lfilter([1], [1, -phi], rng.normal(size=(count, n + 50)), axis=1)[:, 50:]


def of(rows: np.ndarray) -> dict[str, np.ndarray]:
    """One seed for each patient."""
    return {f"p{at}": row[None] for at, row in enumerate(rows)}


def width(interval: dict[str, float]) -> float:
    return interval["high"] - interval["low"]


def test_a_score_is_the_mean_of_patients_of_means_of_slices() -> None:
    found = score_over({"a": np.array([[1.0, 3.0]]), "b": np.array([[5.0, 5.0, 5.0, 5.0]])})
    assert found["patients"]["a"]["value"] == 2.0
    assert found["patients"]["b"] | {"slices": 4, "value": 5.0} == found["patients"]["b"]
    assert found["overall"]["value"] == 3.5
    assert found["unit"] == "blocks"


def test_blocks_grow_with_the_likeness_of_neighbours() -> None:
    rng = np.random.default_rng(0)
    lengths = [block_length(list(wandering(4, 150, phi, rng))) for phi in (0.0, 0.5, 0.9)]
    assert lengths[0] < lengths[1] < lengths[2] <= 50
    assert block_length([np.ones(150)]) == 6  # the cube root
    assert block_length([np.ones(1)]) == 1


@pytest.mark.parametrize(("phi", "least"), [(0.0, 0.9), (0.7, 0.86)])
def test_intervals_of_few_patients_hold_the_truth(phi: float, least: float) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(150):
        found = score_over(of(wandering(4, 120, phi, rng)), 200, trial)["overall"]
        held += found["low"] <= 0 <= found["high"]
    assert least <= held / 150 <= 0.99


def test_intervals_of_alike_neighbours_are_wider_than_of_shuffled_ones() -> None:
    rng = np.random.default_rng(2)
    rows = wandering(4, 150, 0.9, rng)
    shuffled = rng.permuted(rows, axis=1)
    assert width(score_over(of(rows))["overall"]) > 2 * width(score_over(of(shuffled))["overall"])


def test_with_enough_patients_patients_are_drawn() -> None:
    """Eight that differ a lot between them and not inside: only drawing patients sees it."""
    rows = np.repeat(np.arange(8.0)[:, None], 20, axis=1)
    many, few = score_over(of(rows)), score_over(of(rows[:7]))
    assert (many["unit"], few["unit"]) == ("patients", "blocks")
    spread = np.arange(8).std() / np.sqrt(8)
    assert width(many["overall"]) == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert few["overall"]["degenerate"]
    assert many["patients"]["p3"]["degenerate"]  # a patient's own interval is over its blocks
    assert "other patients" in describe(few) and "other patients" not in describe(many)


def test_differences_are_paired_by_slice() -> None:
    """What both runs share, however large, does not widen the interval of their difference."""
    rng = np.random.default_rng(3)
    anatomy = 10 * wandering(4, 100, 0.9, rng)
    a = of(anatomy + rng.normal(0, 0.1, anatomy.shape))
    b = of(anatomy + rng.normal(0, 0.1, anatomy.shape) + 0.2)
    found = difference_over(a, b, 500)
    assert found["overall"]["value"] == pytest.approx(0.2, abs=0.05)
    assert width(found["overall"]) < 0.1 < width(score_over(a)["overall"])
    assert found["overall"]["p"] < 0.01
    back = difference_over(b, a, 500)
    assert back["overall"]["value"] == pytest.approx(-found["overall"]["value"])
    for one in found["patients"].values():
        assert one["value"] == pytest.approx(one["second"] - one["first"])


def test_no_difference_is_found_where_there_is_none() -> None:
    rng = np.random.default_rng(4)
    scores = of(rng.normal(size=(4, 60)))
    same = difference_over(scores, scores, 200)["overall"]
    assert (same["value"], same["low"], same["high"], same["p"]) == (0.0, 0.0, 0.0, 1.0)
    false = 0
    for trial in range(100):
        a, b = (of(wandering(4, 60, 0.5, rng)) for _ in range(2))
        false += difference_over(a, b, 200, trial)["overall"]["p"] < 0.05
    assert false <= 16


def test_seeds_widen_the_interval_of_what_differs_between_them() -> None:
    """Two runs that differ by a constant: one of two is drawn, so each resample is one of them."""
    offsets = np.array([-1.0, 1.0])
    scores = {name: np.repeat(offsets[:, None], 50, axis=1) for name in ("a", "b", "c")}
    found = score_over(scores, 4000)["overall"]
    assert (found["low"], found["high"]) == (-1.0, 1.0)


def test_seeds_of_folds_average_out_and_shared_seeds_do_not() -> None:
    rng = np.random.default_rng(5)
    seeds = rng.normal(size=(4, 5, 1)) + np.zeros((4, 5, 30))
    scores = {f"p{at}": rows for at, rows in enumerate(np.repeat(seeds[:1], 4, axis=0))}
    shared = score_over(scores, 2000)["overall"]
    apart = score_over(scores, 2000, folds={name: name for name in scores})["overall"]
    assert width(apart) == pytest.approx(width(shared) / 2, rel=0.15)


def test_what_was_drawn_is_said() -> None:
    rng = np.random.default_rng(6)
    two = {"a": rng.normal(size=(2, 40))}
    three = {"a": rng.normal(size=(3, 40))}
    assert "seeds (2 and 3)" in describe(difference_over(two, three, 10))
    text = describe(score_over({"a": two["a"][:1]}, 10))
    assert "the one patient; they do not cover other patients or other seeds." in text


def test_the_same_seed_gives_the_same_interval_whatever_the_order_of_patients() -> None:
    rng = np.random.default_rng(7)
    scores = of(rng.normal(size=(4, 40)))
    turned = dict(reversed(scores.items()))
    assert score_over(scores, 100, 3)["overall"] == score_over(turned, 100, 3)["overall"]
    assert score_over(scores, 100, 3)["overall"] != score_over(scores, 100, 4)["overall"]


def test_four_patients_and_five_seeds_take_well_under_a_second() -> None:
    rng = np.random.default_rng(8)
    a, b = ({f"p{at}": rng.normal(size=(5, 150)) for at in range(4)} for _ in range(2))
    start = time.perf_counter()
    difference_over(a, b, 2000)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({"x": np.ones((1, 3))}, {"y": np.ones((1, 3))}, "patient x was scored on one side alone"),
        ({"x": np.ones((1, 3))}, {"x": np.ones((1, 4))}, "3 slices on one side and 4"),
        ({"x": np.array([[np.nan]])}, {"x": np.ones((1, 1))}, "not finite"),
        ({}, {}, "0 patients"),
        (
            {"x": np.ones((1, 3)), "y": np.ones((2, 3))},
            {"x": np.ones((1, 3)), "y": np.ones((1, 3))},
            "scored by 2 seeds and others of its fold by 1",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        difference_over(a, b, 10)
