"""Which records of the stores a task learns from, and which it is chosen and scored by."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.targets import full_name
from radlearn.records.record import Split
from radlearn.records.store import Need, Selection, Store, select

Keep = Callable[[Split, Selection], Bool[np.ndarray, "records"]]
Studies = tuple[Int64[np.ndarray, "_"], ...]


@dataclass(frozen=True, eq=False)
class Examples:
    """What is answered for: every record, or the records of a study together.

    Attributes:
        records: all of them.
        studies: positions of the records of each study; None where each record stands alone.
    """

    records: Selection
    studies: Studies | None = None

    def __len__(self) -> int:
        return len(self.records) if self.studies is None else len(self.studies)

    @property
    def first(self) -> Selection:
        """A record an example, by whose id and patient it goes."""
        if self.studies is None:
            return self.records
        return self.records.take([int(study[0]) for study in self.studies])

    def any_of(
        self, values: Float32[np.ndarray, "records columns"]
    ) -> Float32[np.ndarray, "examples columns"]:
        """The largest value of an example: a label is positive where one of its records says so."""
        return self._joined(values, np.max)

    def one_of(
        self, values: Float32[np.ndarray, "records columns"], what: str
    ) -> Float32[np.ndarray, "examples columns"]:
        """The value that the records of an example agree on; NaN where they do not.

        Args:
            what: the values are, for the line that says how many studies do not agree.
        """

        def agreed(known: np.ndarray) -> float:
            return known[0] if (known == known[0]).all() else np.nan

        found = self._joined(values, agreed)
        if self.studies is not None:
            known = ~np.isnan(self._joined(values, lambda some: some[0]))
            if lost := int((known & np.isnan(found)).any(axis=1).sum()):
                console.print(f"{lost} studies count for nothing: their records differ in {what}")
        return found

    def _joined(
        self, values: np.ndarray, join: Callable[[np.ndarray], float]
    ) -> Float32[np.ndarray, "examples columns"]:
        """One value an example and column: `join` of those that are known."""
        if self.studies is None:
            return values
        found = np.full((len(self.studies), values.shape[1]), np.nan, np.float32)
        for at, study in enumerate(self.studies):
            for column in range(values.shape[1]):
                known = values[study, column]
                known = known[~np.isnan(known)]
                if len(known):
                    found[at, column] = join(known)
        return found


def choose(
    stores: Sequence[Store], config: FinetuneConfig, needs: Set[Need], keep: Keep
) -> dict[Split, Selection]:
    """The records of each split; one without records is absent, and that is said.

    With `config.pool` a study is kept whole where one of its records is, and the share of the
    training records is one of the studies.

    Args:
        needs: what a record must have.
        keep: which of those that have it the task has a use for.

    Raises:
        InputError: no training record is left, or a patient is in two splits.
    """
    train = _kept(stores, config, needs, keep, Split.TRAIN)
    if not len(train):
        raise InputError("no training record has what is to be learned; see radlearn prepare")
    records = {Split.TRAIN: _share(train, config)}
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


def examples(records: Selection, config: FinetuneConfig) -> Examples:
    """The records one by one, or by study where `config.pool` says so."""
    return Examples(records, None if config.pool is None else studies(records, config.pool))


def studies(records: Selection, column: str) -> Studies:
    """Positions of the records of each study, in the order in which the studies first appear.

    A study belongs to one patient, whatever its id; a record without one is a study of its own.

    Raises:
        InputError: no store has the column.
    """
    groups: dict[tuple[str, object], list[int]] = {}
    values = records.column(full_name(records.stores, column))
    for at, (patient, value) in enumerate(zip(records.patients, values, strict=True)):
        key = (patient, ("record", at) if value in (None, "") else value)
        groups.setdefault(key, []).append(at)
    return tuple(np.array(group, np.int64) for group in groups.values())


def _kept(
    stores: Sequence[Store], config: FinetuneConfig, needs: Set[Need], keep: Keep, split: Split
) -> Selection:
    found = select(stores, split=split, view=config.view, needs=needs)
    kept = keep(split, found)
    if config.pool is not None:
        for study in studies(found, config.pool):
            kept[study] = kept[study].any()
    return found.take(np.flatnonzero(kept))


def _share(train: Selection, config: FinetuneConfig) -> Selection:
    if config.pool is None:
        return train.take(range(max(round(config.fraction * len(train)), 1)))
    groups = studies(train, config.pool)
    return train.take(np.concatenate(groups[: max(round(config.fraction * len(groups)), 1)]))


def _for(split: Split) -> str:
    return "held apart to choose the best step" if split is Split.VAL else "scored"
