"""Recall, chance and agreement of labels, against counting by hand."""

from itertools import permutations

import numpy as np
import pytest

from radlearn.metrics.retrieval import agreement, by_chance, first_right, recall
from radlearn.metrics.statistics import bootstrap_patients


def test_the_first_right_candidate_counts() -> None:
    scores = np.array([[0.9, 0.5, 0.7], [0.1, 0.2, 0.3]])
    right = np.array([[False, True, True], [True, False, False]])
    assert first_right(scores, right).tolist() == [2, 3]


def test_a_score_that_says_nothing_earns_nothing() -> None:
    right = np.eye(4, dtype=bool)
    assert first_right(np.zeros((4, 4)), right).tolist() == [4, 4, 4, 4]


@pytest.mark.parametrize("right", [1, 2, 4])
def test_chance_is_what_all_orders_give(right: int) -> None:
    orders = list(permutations(range(5)))
    for place in range(1, 6):
        hits = sum(min(order[:place]) < right for order in orders)
        told = by_chance(np.array([right]), 5)[0, place - 1]
        assert told == pytest.approx(hits / len(orders))


def test_recall_and_the_median_place() -> None:
    scores = -np.abs(np.arange(20)[:, None] - np.arange(20)[None, :]).astype(float)
    right = np.eye(20, dtype=bool)
    right[:4] = np.eye(20, dtype=bool)[19]  # four queries whose answer is the far end
    found = recall(scores, right, bootstrap_patients(list(range(20)), 200, 0))
    assert found.at[1].value == pytest.approx(16 / 20)
    assert found.at[10].value == pytest.approx(16 / 20)
    assert found.at[1].low < 16 / 20 < found.at[1].high
    assert found.median.value == 1
    assert found.chance == {1: pytest.approx(1 / 20), 5: pytest.approx(0.25), 10: 0.5}
    assert found.chance_median == 10


def test_random_scores_recall_what_chance_says() -> None:
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 40, 400)
    right = texts[:, None] == np.arange(40)
    found = recall(rng.random(right.shape), right, bootstrap_patients(list(range(400)), 100, 0))
    for cut, chance in found.chance.items():
        assert found.at[cut].low - 0.02 < chance < found.at[cut].high + 0.02


def test_one_patients_queries_stay_together() -> None:
    """Forty queries of two patients, one always right and one never: the interval is all."""
    right = np.eye(40, dtype=bool)
    scores = np.where(np.arange(40)[:, None] < 20, 1.0 * right, -1.0 * right)
    patients = ["a"] * 20 + ["b"] * 20
    found = recall(scores, right, bootstrap_patients(patients, 200, 0))
    assert (found.at[1].low, found.at[1].high) == (0.0, 1.0)


def test_more_answers_than_candidates_are_all_of_them() -> None:
    found = recall(np.zeros((3, 3)), np.eye(3, dtype=bool), bootstrap_patients([0, 1, 2], 20, 0))
    assert found.chance[10] == 1.0 and found.at[10].value == 1.0


def test_agreement_looks_at_other_patients_and_known_labels_alone() -> None:
    labels = np.array([[1.0], [1.0], [0.0], [np.nan], [1.0]])
    patients = ["a", "a", "b", "c", "d"]
    scores = np.zeros((5, 5))
    scores[:, 1] = 9  # the same patient's for query 0, another's for 4
    scores[:, 3] = 8  # not labelled
    scores[:, 2] = 7
    (found,) = agreement(scores, labels, ["x"], bootstrap_patients(patients, 50, 0), cuts=(1, 2))
    assert found.queries == 3
    assert found.at[1].value == pytest.approx((0 + 0 + 1) / 3)  # 0 and 1 meet 2; 4 meets 1
    assert found.at[2].value == pytest.approx(1 / 2)  # 2 and 4, 2 and 4, 1 and 2
    assert found.chance == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3)


def test_a_label_that_nobody_has_is_left_out() -> None:
    patients = bootstrap_patients([0, 1], 10, 0)
    assert agreement(np.zeros((2, 2)), np.zeros((2, 1)), ["x"], patients) == []
    assert agreement(np.zeros((2, 2)), np.array([[1.0], [np.nan]]), ["x"], patients) == []
