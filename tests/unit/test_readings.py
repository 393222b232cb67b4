"""What outputs mean: probabilities that add up, one called class, numbers in their own unit."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax

from radlearn.finetuning.readings import Labels, Levels, OneOf, Reading, Value

outputs = arrays(np.float64, (4, 3), elements=st.floats(-30, 30))
EXAMPLES = [
    Labels(("A", "B", "C")),
    OneOf(("A", "B", "C")),
    Levels(("none", "mild", "worse", "worst")),
    Value("age", 50.0, 20.0),
]


@pytest.mark.parametrize("reading", EXAMPLES, ids=lambda reading: type(reading).__name__)
def test_a_reading_comes_back_from_its_facts(reading: Reading) -> None:
    facts = json.loads(json.dumps(reading.facts()))
    assert type(reading).of(facts) == reading
    assert facts["labels"] == list(reading.names)


@given(outputs)
def test_one_of_several_ranks_and_calls_as_softmax_does(given_outputs: np.ndarray) -> None:
    said = OneOf(("A", "B", "C")).columns(given_outputs)
    probability = np.stack([said[f"probability:{name}"] for name in "ABC"], axis=1)
    assert np.allclose(probability, softmax(given_outputs, axis=1))
    assert np.allclose(expit(said["logit:B"]), probability[:, 1], atol=1e-12)
    assert said["called"].tolist() == ["ABC"[at] for at in given_outputs.argmax(axis=1)]


@given(outputs)
def test_levels_add_up_whatever_the_outputs(given_outputs: np.ndarray) -> None:
    levels = Levels(("none", "mild", "worse", "worst"))
    probability = levels.probability(given_outputs)
    assert (probability >= 0).all()
    assert np.allclose(probability.sum(axis=1), 1)


def test_the_called_level_is_the_median() -> None:
    levels = Levels(("none", "mild", "worse", "worst"))
    given_outputs = np.array([[-3.0, -4.0, -5.0], [4.0, 1.0, -1.0], [4.0, 3.0, 2.0]])
    assert levels.cells(given_outputs, {})["called"] == ["none", "worse", "worst"]


def test_labels_are_called_from_their_threshold() -> None:
    cells = Labels(("A", "B")).cells(np.array([[0.0, 0.0]]), {"A": 0.4})
    assert cells == {"A": [0.5], "A called": [True], "B": [0.5], "B called": [None]}


def test_a_number_is_in_its_own_unit() -> None:
    assert Value("age", 50.0, 20.0).cells(np.array([[-1.0], [0.5]]), {}) == {"age": [30.0, 60.0]}
