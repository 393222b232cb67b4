"""The kinds of tasks by name."""

from typing import Any

from radlearn.finetuning.continuous import Continuous
from radlearn.finetuning.multi_label import MultiLabel
from radlearn.finetuning.ordinal import Ordinal
from radlearn.finetuning.segmentation import Segmentation
from radlearn.finetuning.single_label import SingleLabel
from radlearn.finetuning.task import Task

TASKS: dict[str, type[Task[Any]]] = {
    MultiLabel.name: MultiLabel,
    SingleLabel.name: SingleLabel,
    Ordinal.name: Ordinal,
    Continuous.name: Continuous,
    Segmentation.name: Segmentation,
}
