"""Which records of the stores a task learns from, and which it is chosen and scored by."""

from collections.abc import Callable, Sequence, Set

import numpy as np
from jaxtyping import Bool

from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.finetuning.config import FinetuneConfig
from radlearn.records.record import Split
from radlearn.records.store import Need, Selection, Store, select

Keep = Callable[[Split, Selection], Bool[np.ndarray, "records"]]


def choose(
    stores: Sequence[Store], config: FinetuneConfig, needs: Set[Need], keep: Keep
) -> dict[Split, Selection]:
    """The records of each split; one without records is absent, and that is said.

    Args:
        needs: what a record must have.
        keep: which of those that have it the task has a use for.

    Raises:
        InputError: no training record is left, or a patient is in two splits.
    """
    train = _kept(stores, config, needs, keep, Split.TRAIN)
    if not len(train):
        raise InputError("no training record has what is to be learned; see radlearn prepare")
    records = {Split.TRAIN: train.take(range(max(round(config.fraction * len(train)), 1)))}
    for split in (Split.VAL, Split.TEST):
        try:
            found = _kept(stores, config, needs, keep, split)
        except InputError:
            found = train.take([])
        if len(found):
            records[split] = found
        else:
            console.print(f"no {split} records: nothing is {_for(split)}")
    for split in records.keys() - {Split.TRAIN}:
        if shared := records[split].shared_with(train):
            raise InputError(
                f"{len(shared)} {split} records, such as {shared[0]}, are of patients that are "
                "trained on; prepare one of the stores again with --link to the other"
            )
    return records


def _kept(
    stores: Sequence[Store], config: FinetuneConfig, needs: Set[Need], keep: Keep, split: Split
) -> Selection:
    found = select(stores, split=split, view=config.view, needs=needs)
    return found.take(np.flatnonzero(keep(split, found)))


def _for(split: Split) -> str:
    return "held apart to choose the best step" if split is Split.VAL else "scored"
