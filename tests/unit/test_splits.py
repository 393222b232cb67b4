"""Splits: by patient, seeded, and published lists kept as they are."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radlearn.errors import InputError
from radlearn.records.groups import Groups
from radlearn.records.record import Split
from radlearn.records.splits import drawn, fingerprint, one_split_a_patient, order, with_val

PATIENTS = st.sets(st.text(min_size=1, max_size=6), min_size=1, max_size=60)


@given(PATIENTS, st.integers(0, 2**31), st.floats(0, 0.5), st.floats(0, 0.49))
def test_shares_of_patients_are_held_apart(
    patients: set[str], seed: int, val: float, test: float
) -> None:
    splits = drawn(patients, seed, val, test)
    assert splits.keys() == patients
    counts = {split: list(splits.values()).count(split) for split in Split}
    for split, share in ((Split.VAL, val), (Split.TEST, test)):
        assert abs(counts[split] - share * len(patients)) <= 1
    assert splits == drawn(sorted(patients), seed, val, test), "the order of asking does not matter"


def test_small_shares_of_few_patients_get_one_each() -> None:
    splits = drawn(["a", "b", "c"], seed=0, val=0.1, test=0.1)
    assert sorted(splits.values()) == [Split.TEST, Split.TRAIN, Split.VAL]
    assert set(drawn(["a", "b"], 0, 0.1, 0.1).values()) == {Split.TRAIN}


def test_another_seed_draws_another_split() -> None:
    patients = [f"P{i}" for i in range(50)]
    assert drawn(patients, 0, 0.1, 0.2) != drawn(patients, 1, 0.1, 0.2)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 99)), max_size=40, unique=True))
def test_order_is_a_permutation_that_keeps_patients_together(
    records: list[tuple[str, int]],
) -> None:
    patients = [patient for patient, _ in records]
    ids = [f"{patient}{number}" for patient, number in records]
    positions = order(3, patients, ids)
    assert sorted(positions) == list(range(len(records)))
    ordered = [patients[positions.index(place)] for place in range(len(records))]
    changes = sum(a != b for a, b in pairwise(ordered))
    assert changes == max(len(set(patients)) - 1, 0)
    shuffled = order(3, patients[::-1], ids[::-1])
    assert shuffled[::-1] == positions, "the source's own order does not matter"


def test_a_patient_in_two_splits_is_an_error_that_names_records_and_ways_out() -> None:
    given_splits = [("a", Split.TRAIN), ("b", Split.TRAIN), ("a", Split.TEST), ("c", None)]
    names = ["a1", "b1", "a2", "c1"]
    with pytest.raises(InputError, match=r"1 patient is in two splits.*a1 \(train\).*a2 \(test\)"):
        one_split_a_patient(given_splits, names, "error")
    left_out = one_split_a_patient(given_splits, names, "leave-out")
    assert left_out == {"a": None, "b": Split.TRAIN}
    assert one_split_a_patient(given_splits, names, "train")["a"] is Split.TRAIN


def test_a_published_list_without_val_gets_one_from_training_patients_that_may_be_held_out() -> (
    None
):
    published = {f"t{i}": Split.TRAIN for i in range(40)} | {"x": Split.TEST}
    allowed = {f"t{i}" for i in range(20)} | {"x"}
    splits = with_val(published, allowed, seed=0, val=0.25)
    moved = {patient for patient in published if splits[patient] is Split.VAL}
    assert len(moved) == 5 and moved <= allowed - {"x"}
    assert splits["x"] is Split.TEST
    assert with_val({**published, "y": Split.VAL}, allowed, 0, 0.25)["t1"] is Split.TRAIN


def test_a_fingerprint_is_of_the_set() -> None:
    assert fingerprint(["b", "a"]) == fingerprint(["a", "b"]) != fingerprint(["a", "c"])


@given(st.lists(st.lists(st.integers(0, 20), max_size=4), max_size=12))
def test_groups_are_the_connected_components(joins: list[list[int]]) -> None:
    groups: Groups[int] = Groups()
    for members in joins:
        groups.join(members)
    components: list[set[int]] = []
    for members in map(set, joins):
        touching = [c for c in components if c & members]
        components = [c for c in components if not c & members]
        components.append(members.union(*touching))
    expected = {frozenset(c) for c in components if len(c) > 1}
    assert {frozenset(group) for group in groups.groups()} == expected
    for a in range(21):
        for b in range(21):
            together = a == b or any({a, b} <= c for c in expected)
            assert groups.same(a, b) == together
