"""What every kind of task shares: its records, its model, what it answers, and how it is scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor, nn

from radlearn.engine.device import Compute
from radlearn.engine.folder import RunFolder
from radlearn.engine.shares import Told
from radlearn.finetuning.config import FinetuneConfig
from radlearn.models.backbone import BackboneConfig
from radlearn.records.batches import Batch
from radlearn.records.record import Split
from radlearn.records.store import Selection, Store
from radlearn.records.transforms import Preprocessing

Answers = TypeVar("Answers")
Given = TypeVar("Given", covariant=True)


@dataclass(frozen=True)
class Setup:
    """What a task is trained with, besides its records.

    Attributes:
        preprocessing: of the backbone.
        here: device and precision.
    """

    config: FinetuneConfig
    preprocessing: Preprocessing
    here: Compute

    @property
    def scoring_batch(self) -> int:
        """Images at a time where no gradient is kept."""
        return 2 * self.config.batch


@runtime_checkable
class Learner(Protocol[Given]):
    """A model on its way: what it sees at each step, what is minimised, what it answers."""

    @property
    def batches(self) -> Callable[[int], Batch]:
        """Batch k from k alone; picklable, and "ids" names its records."""

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """What the sum of is minimised, by name."""

    def told(self, batch: Batch) -> Told:
        """What one of several processes says of its part of a batch."""

    def answers(self, split: Split) -> Given:
        """What the model says of all of a split; called in evaluation mode without gradients."""


class Task(ABC, Generic[Answers]):
    """What is learned from which records. A kind of task is a class here and a line in `TASKS`.

    Attributes:
        name: on the command line and in a run's files.
        metric: of validation; the step where it is highest is kept.
        records: by split; a split without records is absent, training records are always there.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    records: dict[Split, Selection]

    @classmethod
    @abstractmethod
    def of(cls, stores: Sequence[Store], config: FinetuneConfig) -> Self:
        """Choose the records and what is to be learned of them.

        Raises:
            InputError: the stores do not hold what the task needs.
        """

    @property
    @abstractmethod
    def summary(self) -> str:
        """In a few words what is learned, such as "14 labels"."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What was decided here, in place of the flags of these names: {"labels": [...]}."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What `predict` has to know; kept with the trained weights."""

    @abstractmethod
    def build(self, backbone: BackboneConfig, drop_path: float) -> nn.Module:
        """A model with a new head, not yet with the backbone's weights."""

    def count(self, split: Split) -> int:
        """Examples of a split, which an epoch shows once."""
        return len(self.records[split])

    def backbone(self, model: nn.Module) -> nn.Module:
        """The timm model within a model of `build`."""
        return model

    def start_head(self, model: nn.Module, setup: Setup) -> None:
        """Start the head from the training records; `model` is on its device, nothing tuned."""

    @abstractmethod
    def learner(self, model: nn.Module, setup: Setup) -> Learner[Answers]:
        """Train `model`, to which a tuner is attached, in place."""

    def finish(self, model: nn.Module) -> None:
        """Make the trained model, in place, what is saved and loaded again."""

    @abstractmethod
    def score(self, answers: Answers, split: Split) -> float:
        """`metric`; NaN where it cannot be measured."""

    @abstractmethod
    def write(self, run: Path, answers: Mapping[Split, Answers]) -> None:
        """Keep what was answered of the splits that were held apart."""

    @abstractmethod
    def page(self, run: RunFolder) -> None:
        """Score the finished run and write its page."""
