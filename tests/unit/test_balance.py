"""Rare classes: weights in the loss and chances to be drawn."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from radlearn.finetuning.balance import MOST, chances, class_weights, positive_weights

NAN = np.nan


def test_positives_and_negatives_weigh_alike_in_sum() -> None:
    truth = np.array([[1, 1], [0, 1], [0, NAN], [0, 0]], np.float32)
    assert positive_weights(truth) == (3.0, 0.5)


def test_a_label_of_one_class_and_a_very_rare_one_keep_sane_weights() -> None:
    truth = np.zeros((1000, 2), np.float32)
    truth[0, 1] = 1
    assert positive_weights(truth) == (1.0, MOST)


def test_every_class_weighs_alike_in_sum() -> None:
    truth = np.array([[0], [0], [0], [1], [NAN]], np.float32)
    weights = class_weights(truth, 3)
    assert np.isclose(3 * weights[0], 1 * weights[1])
    assert weights[2] == 1


def test_groups_are_drawn_alike() -> None:
    groups = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 0]], bool)
    assert np.allclose(chances(groups), [1 / 6, 1 / 6, 1 / 6, 1 / 2, 0])


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 4))
def test_chances_add_up_to_one(seed: int, examples: int, groups: int) -> None:
    member = np.random.default_rng(seed).random((examples, groups)) < 0.3
    member[0, 0] = True
    assert np.isclose(chances(member).sum(), 1)
