"""One class of a rising scale, such as a severity: one score, and a threshold between classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from radlearn.finetuning.balance import class_weights
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.features import log_odds
from radlearn.finetuning.pictures import PictureTask, choose_classes
from radlearn.finetuning.readings import Levels, Outputs
from radlearn.finetuning.single_label import named
from radlearn.finetuning.terms import level_loss
from radlearn.metrics.classification import mean_auroc
from radlearn.models.backbone import BackboneConfig
from radlearn.models.heads import classifier
from radlearn.records.record import Split
from radlearn.records.store import Store


class LevelHead(nn.Linear):
    """Logits of "above level k": one score of the features, and a bias a level that falls with k.

    This is CORAL (Cao, Mirjalili and Raschka, 2020), whose biases fall at its optimum; here they
    do all the way, as the least of those up to k. `plain` is the same as a linear layer.
    """

    def __init__(self, features: int, cuts: int) -> None:
        super().__init__(features, 1)
        self.bias = nn.Parameter(torch.zeros(cuts))
        nn.init.trunc_normal_(self.weight, std=2e-5)

    def forward(self, input: Float[Tensor, "batch features"]) -> Float[Tensor, "batch cuts"]:
        return F.linear(input, self.weight) + self.bias.cummin(0).values

    def plain(self) -> nn.Linear:
        cuts = len(self.bias)
        linear = nn.Linear(self.in_features, cuts, device=self.weight.device)
        with torch.no_grad():
            linear.weight.copy_(self.weight.expand(cuts, -1))
            linear.bias.copy_(self.bias.cummin(0).values)
        return linear


@dataclass(frozen=True, eq=False)
class Ordinal(PictureTask):
    """A class of a rising scale; the truth is its place from 0 on, or NaN."""

    name: ClassVar[str] = "ordinal"
    metric: ClassVar[str] = "val_auroc"
    reading: Levels

    @classmethod
    def of(cls, stores: Sequence[Store], config: FinetuneConfig) -> Self:
        chosen, classes = choose_classes(stores, config, rising=True)
        return cls.made(config, chosen, Levels(classes))

    @property
    def summary(self) -> str:
        return f"a scale of {len(self.reading.classes)} classes"

    def settings(self) -> dict[str, Any]:
        return {"classes": list(self.reading.classes)}

    def build(self, backbone: BackboneConfig, drop_path: float) -> nn.Module:
        model = super().build(backbone, drop_path)
        layer = classifier(model)
        model.set_submodule(_name(model, layer), LevelHead(layer.in_features, layer.out_features))
        return model

    def finish(self, model: nn.Module) -> None:
        layer = classifier(model)
        assert isinstance(layer, LevelHead)
        model.set_submodule(_name(model, layer), layer.plain())

    def loss(self, outputs: Tensor, truth: Tensor) -> dict[str, Tensor]:
        smoothing, robust = self.config.label_smoothing, self.config.robust
        return {"classification": level_loss(outputs, truth, self.weights, smoothing, robust)}

    def class_weights(self) -> tuple[float, ...]:
        return class_weights(self.truth[Split.TRAIN], len(self.reading.classes))

    def groups(self) -> Bool[np.ndarray, "examples groups"]:
        return self.truth[Split.TRAIN] == np.arange(len(self.reading.classes))

    def head_bias(self) -> Tensor:
        if self.balanced:
            classes = torch.arange(1, len(self.reading.classes))
            return ((len(self.reading.classes) - classes) / classes).log()
        return log_odds(torch.from_numpy(self._above(Split.TRAIN)))

    def score(self, answers: Outputs, split: Split) -> float:
        """The mean over the classes but the highest of the AUROC of lying above it."""
        return mean_auroc(answers, self._above(split))

    def columns(self, answers: Outputs, split: Split) -> dict[str, np.ndarray]:
        truth = named(self.truth[split][:, 0], self.reading.classes)
        return {"class": truth} | self.reading.columns(answers)

    def _above(self, split: Split) -> Float32[np.ndarray, "examples cuts"]:
        truth = self.truth[split]
        found = (truth > np.arange(len(self.reading.names))).astype(np.float32)
        return np.where(np.isnan(truth), np.float32(np.nan), found)


def _name(model: nn.Module, layer: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is layer)
