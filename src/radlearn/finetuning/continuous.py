"""A number, such as an age."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from radlearn.errors import InputError
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.pictures import PictureTask, choose_known
from radlearn.finetuning.readings import Outputs, Value
from radlearn.finetuning.targets import full_name, numbers
from radlearn.finetuning.terms import value_loss
from radlearn.metrics.values import r_squared
from radlearn.records.record import Split
from radlearn.records.store import Store


@dataclass(frozen=True, eq=False)
class Continuous(PictureTask):
    """A number; the truth is in its own unit, or NaN."""

    name: ClassVar[str] = "continuous"
    metric: ClassVar[str] = "val_r2"
    reading: Value

    @classmethod
    def of(cls, stores: Sequence[Store], config: FinetuneConfig) -> Self:
        assert config.target is not None
        column = full_name(stores, config.target)
        chosen = choose_known(stores, config, lambda _, found: numbers(found, column), column)
        values = chosen[Split.TRAIN][1].astype(np.float64)
        mean, std = float(np.nanmean(values)), float(np.nanstd(values))
        if not std > 0:
            raise InputError(
                f"there is nothing to learn: {column} of all training records is {mean:g}"
            )
        return cls.made(config, chosen, Value(config.target, mean, std))

    @property
    def summary(self) -> str:
        return f"{self.reading.target} of {self.reading.mean:.4g} ± {self.reading.std:.3g}"

    def settings(self) -> dict[str, Any]:
        return {}

    def loss(self, outputs: Tensor, truth: Tensor) -> dict[str, Tensor]:
        return {"regression": value_loss(outputs, (truth - self.reading.mean) / self.reading.std)}

    def class_weights(self) -> tuple[float, ...]:
        raise AssertionError("a number has no classes; the config refuses --balance")

    def groups(self) -> Bool[np.ndarray, "examples groups"]:
        raise AssertionError("a number has no classes; the config refuses --balance")

    def head_bias(self) -> Tensor:
        """The mean, which the outputs are counted from."""
        return torch.zeros(1)

    def score(self, answers: Outputs, split: Split) -> float:
        predicted = self.reading.columns(answers)["predicted"]
        return r_squared(self.truth[split][:, 0].astype(np.float64), predicted)

    def columns(self, answers: Outputs, split: Split) -> dict[str, np.ndarray]:
        truth = self.truth[split][:, 0].astype(np.float64)
        return {"truth": truth} | self.reading.columns(answers)
