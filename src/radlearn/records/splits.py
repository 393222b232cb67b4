"""Who is learnt from and who is held apart: by patient, seeded, the same on every machine."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from radlearn.errors import InputError
from radlearn.records.record import Split

SplitConflicts = Literal["error", "leave-out", "train"]


def rank(seed: int, purpose: str, patient: str) -> bytes:
    """Where a patient stands in a seeded order: a pure function of its arguments.

    It depends on the source's own patient id, never on the store's key, so that two stores made
    with different keys hold the same splits.
    """
    return hashlib.sha256(f"{seed}\0{purpose}\0{patient}".encode()).digest()


def fingerprint(ids: Iterable[str]) -> str:
    """SHA-256 of a set of record ids: the same list anywhere has the same fingerprint."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def drawn(patients: Collection[str], seed: int, val: float, test: float) -> dict[str, Split]:
    """Draw splits over patients: the first in a seeded order are test, the next val, then train.

    A share above 0 gets at least one patient where there are three or more.

    Args:
        patients: who may be held apart.
        val, test: shares of `patients`, in [0, 1).
    """
    ranked = sorted(patients, key=lambda patient: rank(seed, "split", patient))
    least = 1 if len(ranked) >= 3 else 0
    tests = max(round(test * len(ranked)), least if test > 0 else 0)
    vals = max(round(val * len(ranked)), least if val > 0 else 0)
    return {
        patient: Split.TEST if i < tests else Split.VAL if i < tests + vals else Split.TRAIN
        for i, patient in enumerate(ranked)
    }


def order(seed: int, patients: Sequence[str], ids: Sequence[str]) -> list[int]:
    """Each record's position in a seeded permutation that keeps a patient's records together."""
    ranks = {patient: rank(seed, "order", patient) for patient in set(patients)}
    ordered = sorted(range(len(ids)), key=lambda i: (ranks[patients[i]], ids[i]))
    positions = [0] * len(ids)
    for position, i in enumerate(ordered):
        positions[i] = position
    return positions


def one_split_a_patient(
    given: Sequence[tuple[str, Split | None]], examples: Sequence[str], conflicts: SplitConflicts
) -> dict[str, Split | None]:
    """The split in which a published list puts each patient.

    Args:
        given: the patient and the split of each record; None where the list is silent.
        examples: the records' ids, for the error.
        conflicts: what becomes of a patient whose records are in two splits: "error",
            "leave-out" (none of the records is in a split), "train" (all of them are).

    Raises:
        InputError: a patient is in two splits and `conflicts` is "error".
    """
    first: dict[str, tuple[Split, str]] = {}
    torn: dict[str, tuple[str, str]] = {}
    for (patient, split), example in zip(given, examples, strict=True):
        if split is None:
            continue
        seen, where = first.setdefault(patient, (split, example))
        if seen != split:
            torn.setdefault(patient, (f"{where} ({seen})", f"{example} ({split})"))
    if torn and conflicts == "error":
        one, other = next(iter(torn.values()))
        raise InputError(
            f"{len(torn)} patient{'s are' if len(torn) > 1 else ' is'} in two splits, "
            f"for example with {one} and {other}; choose --split-conflicts leave-out "
            "(none of their records is in a split) or train (all of them are for training)"
        )
    splits: dict[str, Split | None] = {patient: split for patient, (split, _) in first.items()}
    for patient in torn:
        splits[patient] = Split.TRAIN if conflicts == "train" else None
    return splits


def with_val(
    splits: Mapping[str, Split | None], may_hold_out: Collection[str], seed: int, val: float
) -> dict[str, Split | None]:
    """A published list that has no val gets one, drawn among its training patients."""
    if val == 0 or Split.VAL in splits.values():
        return dict(splits)
    train = [p for p, split in splits.items() if split is Split.TRAIN and p in may_hold_out]
    return {**splits, **drawn(train, seed, val, 0.0)}
