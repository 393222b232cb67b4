"""The kinds of tasks by name."""

from typing import Any

from radlearn.finetuning.multi_label import MultiLabel
from radlearn.finetuning.task import Task

TASKS: dict[str, type[Task[Any]]] = {
    MultiLabel.name: MultiLabel,
}
