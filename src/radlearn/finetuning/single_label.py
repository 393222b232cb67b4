"""One class of several that exclude each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from radlearn.errors import InputError
from radlearn.finetuning.balance import class_weights
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.pictures import PictureTask, choose_classes, choose_known
from radlearn.finetuning.readings import OneOf, Outputs
from radlearn.finetuning.terms import class_loss
from radlearn.metrics.classification import mean_auroc
from radlearn.records.record import Split
from radlearn.records.store import Selection, Store, select


@dataclass(frozen=True, eq=False)
class SingleLabel(PictureTask):
    """One class of several; the truth is the class's place, or NaN."""

    name: ClassVar[str] = "single-label"
    metric: ClassVar[str] = "val_auroc"
    reading: OneOf

    @classmethod
    def of(cls, stores: Sequence[Store], config: FinetuneConfig) -> Self:
        if config.target is None:
            labels = config.labels or _label_names(stores, config)
            if len(labels) < 2:
                raise InputError(
                    f"there is nothing to tell apart: {labels[0]} is one class; name two by "
                    "--labels, or learn it by --task multi-label"
                )
            chosen = choose_known(
                stores,
                config,
                lambda split, found: _exclusive(split, found, labels, config),
                ", ".join(labels),
            )
            counts = (chosen[Split.TRAIN][1] == np.arange(len(labels))).sum(axis=0)
            if empty := [name for name, n in zip(labels, counts, strict=True) if not n]:
                raise InputError(
                    f"no training record is {empty[0]}; name the classes that there are by --labels"
                )
            return cls.made(config, chosen, OneOf(labels))
        chosen, classes = choose_classes(stores, config, rising=False)
        return cls.made(config, chosen, OneOf(classes))

    @property
    def summary(self) -> str:
        return f"{len(self.reading.names)} classes"

    def settings(self) -> dict[str, Any]:
        names = list(self.reading.names)
        return {"labels": names} if self.config.target is None else {"classes": names}

    def loss(self, outputs: Tensor, truth: Tensor) -> dict[str, Tensor]:
        smoothing, robust = self.config.label_smoothing, self.config.robust
        return {"classification": class_loss(outputs, truth, self.weights, smoothing, robust)}

    def class_weights(self) -> tuple[float, ...]:
        return class_weights(self.truth[Split.TRAIN], len(self.reading.names))

    def groups(self) -> Bool[np.ndarray, "examples groups"]:
        return self._is_class(Split.TRAIN) == 1

    def head_bias(self) -> Tensor:
        """Logarithms of the classes' shares, which softmax turns into these."""
        if self.balanced:
            return torch.zeros(len(self.reading.names))
        counts = torch.from_numpy(self.groups().sum(axis=0)) + 0.5
        return (counts / counts.mean()).log().float()

    def score(self, answers: Outputs, split: Split) -> float:
        """The mean over classes of the AUROC of a class against all others."""
        said = self.reading.columns(answers)
        logits = np.stack([said[f"logit:{name}"] for name in self.reading.names], axis=1)
        return mean_auroc(logits, self._is_class(split))

    def columns(self, answers: Outputs, split: Split) -> dict[str, np.ndarray]:
        truth = self.truth[split][:, 0]
        found: dict[str, np.ndarray] = {"class": named(truth, self.reading.names)}
        is_class = self._is_class(split)
        for at, name in enumerate(self.reading.names):
            found[f"label:{name}"] = is_class[:, at].astype(np.float64)
        return found | self.reading.columns(answers)

    def _is_class(self, split: Split) -> Float32[np.ndarray, "examples classes"]:
        truth = self.truth[split]
        found = (truth == np.arange(len(self.reading.names))).astype(np.float32)
        return np.where(np.isnan(truth), np.float32(np.nan), found)


def named(truth: Float32[np.ndarray, "examples"], classes: Sequence[str]) -> np.ndarray:
    """Classes by their names, None where the truth is not known."""
    return np.array([None if np.isnan(at) else classes[int(at)] for at in truth], object)


def _label_names(stores: Sequence[Store], config: FinetuneConfig) -> tuple[str, ...]:
    """All labels that a training record has."""
    names = tuple(dict.fromkeys(name for store in stores for name in store.label_names))
    whole = select(stores, split=Split.TRAIN, view=config.view, needs={"image"})
    there = (whole.labels(names, config.uncertain) == 1).any(axis=0)
    found = tuple(name for name, some in zip(names, there, strict=True) if some)
    if len(found) < 2:
        raise InputError(
            f"there is nothing to tell apart: of the labels {', '.join(names) or '(none)'} the "
            f"training records have {', '.join(found) or 'none'}; learn a column by --target, or a "
            "label by --task multi-label"
        )
    return found


def _exclusive(
    split: Split, records: Selection, labels: Sequence[str], config: FinetuneConfig
) -> Float32[np.ndarray, "records 1"]:
    """The place of the one label that is positive; NaN where none is.

    Raises:
        InputError: records have two.
    """
    uncertain = config.uncertain if split is Split.TRAIN else "ignore"
    positive = records.labels(labels, uncertain) == 1
    several = (positive.sum(axis=1) > 1).nonzero()[0]
    if len(several):
        both = [name for name, there in zip(labels, positive[several[0]], strict=True) if there]
        raise InputError(
            f"{len(several)} of {len(records)} records have more than one of these labels, such as "
            f"{records.ids[several[0]]} ({', '.join(both)}); choose labels that exclude each other "
            "by --labels, or learn them by --task multi-label"
        )
    place = np.where(positive.any(axis=1), positive.argmax(axis=1), np.nan)
    return place.astype(np.float32)[:, None]
