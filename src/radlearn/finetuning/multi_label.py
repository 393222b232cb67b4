"""Labels that a picture may have any number of: a yes or no each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from radlearn.engine.folder import RunFolder
from radlearn.engine.log import console, read_metrics
from radlearn.errors import InputError
from radlearn.evaluate import evaluate_run
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.finetuning.balance import positive_weights
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.examples import choose, examples
from radlearn.finetuning.features import log_odds
from radlearn.finetuning.pictures import Chosen, PictureTask
from radlearn.finetuning.readings import Labels, Outputs
from radlearn.finetuning.terms import classification_loss
from radlearn.finetuning.tuned import save_thresholds
from radlearn.metrics.classification import mean_auroc
from radlearn.metrics.predictions import mistakes, read_predictions
from radlearn.records.record import Split
from radlearn.records.store import Need, Selection, Store, select
from radlearn.report.finetuning import Mistake, finetuning_page

NEEDS: frozenset[Need] = frozenset({"image", "labels"})
SHOWN_MISTAKES = 12


@dataclass(frozen=True, eq=False)
class MultiLabel(PictureTask):
    """A yes or no of every label; the truth is 0, 1 or NaN for not labelled."""

    name: ClassVar[str] = "multi-label"
    metric: ClassVar[str] = "val_auroc"
    reading: Labels

    @classmethod
    def of(cls, stores: Sequence[Store], config: FinetuneConfig) -> Self:
        whole = select(stores, split=Split.TRAIN, view=config.view, needs=NEEDS)
        labels = tuple(config.labels or _learnable(whole, stores, config))

        def keep(split: Split, found: Selection) -> Bool[np.ndarray, "records"]:
            if split is not Split.TRAIN:
                return np.ones(len(found), bool)
            return ~np.isnan(found.labels(labels, config.uncertain)).all(axis=1)

        chosen: Chosen = {}
        for split, found in choose(stores, config, NEEDS, keep).items():
            uncertain = config.uncertain if split is Split.TRAIN else "ignore"
            of = examples(found, config)
            chosen[split] = of, of.any_of(found.labels(labels, uncertain))
        _tell_of_one_class(chosen[Split.TRAIN][1], labels)
        return cls.made(config, chosen, Labels(labels))

    @property
    def summary(self) -> str:
        return f"{len(self.reading.names)} labels"

    def settings(self) -> dict[str, Any]:
        return {"labels": list(self.reading.names)}

    def loss(self, outputs: Tensor, truth: Tensor) -> dict[str, Tensor]:
        smoothing, robust = self.config.label_smoothing, self.config.robust
        loss = classification_loss(outputs, truth, self.weights, smoothing, robust)
        return {"classification": loss}

    def class_weights(self) -> tuple[float, ...]:
        return positive_weights(self.truth[Split.TRAIN])

    def groups(self) -> Bool[np.ndarray, "examples groups"]:
        truth = self.truth[Split.TRAIN]
        none = ~np.isnan(truth).all(axis=1) & ~(truth == 1).any(axis=1)
        return np.concatenate([truth == 1, none[:, None]], axis=1)

    def head_bias(self) -> Tensor:
        if self.balanced:
            return torch.zeros(len(self.reading.names))
        return log_odds(torch.from_numpy(self.truth[Split.TRAIN]))

    def score(self, answers: Outputs, split: Split) -> float:
        return mean_auroc(answers, self.truth[split])

    def columns(self, answers: Outputs, split: Split) -> dict[str, np.ndarray]:
        said, found = self.reading.columns(answers), {}
        for at, name in enumerate(self.reading.names):
            found[f"label:{name}"] = self.truth[split][:, at].astype(np.float64)
            found |= {f"{kind}:{name}": said[f"{kind}:{name}"] for kind in ("logit", "probability")}
        return found

    def page(self, run: RunFolder) -> None:
        evaluation, shown = None, []
        if len(self.records) > 1:
            split: Literal["val", "test"] = "test" if Split.TEST in self.records else "val"
            evaluation = evaluate_run(run.path, EvaluateConfig((run.path,), split=split))
            save_thresholds(run.model, evaluation)
            shown = worst_mistakes(run.path, self.records[Split(split)], split)
        finetuning_page(run.path, read_metrics(run.path), evaluation, shown, run.config)


def _tell_of_one_class(truth: np.ndarray, labels: Sequence[str]) -> None:
    both = (truth == 1).any(axis=0) & (truth == 0).any(axis=0)
    if lone := [name for name, there in zip(labels, both, strict=True) if not there]:
        console.print(
            f"of {', '.join(lone)} the training records have one class only: nothing can be "
            "learned of it",
            style="yellow",
            markup=False,
        )


def _learnable(
    records: Selection, stores: Sequence[Store], config: FinetuneConfig
) -> tuple[str, ...]:
    names = list(dict.fromkeys(name for store in stores for name in store.label_names))
    truth = records.labels(names, config.uncertain)
    both = (np.nansum(truth == 1, axis=0) > 0) & (np.nansum(truth == 0, axis=0) > 0)
    found = tuple(name for name, has_both in zip(names, both, strict=True) if has_both)
    if not found:
        raise InputError(
            f"no label of {', '.join(names) or 'the stores (they have none)'} has both classes "
            "among the training records; prepare a store with labels"
        )
    return found


def worst_mistakes(run: Path, records: Selection, split: str) -> list[Mistake]:
    """The most confident mistakes of a finished run on these records, with their pictures."""
    place = {name: at for at, name in enumerate(records.ids)}
    found = mistakes(read_predictions(run), SHOWN_MISTAKES, split)
    worst = sorted(
        (one for of_label in found.values() for one in of_label),
        key=lambda one: -abs(one["probability"] - one["truth"]),
    )
    shown = []
    for one in worst[:SHOWN_MISTAKES]:
        image = records.image(place[one["id"]])
        assert image is not None
        grey = image if image.dtype == np.uint8 else (image // 257).astype(np.uint8)
        shown.append(Mistake(grey, one["label"], one["truth"], one["probability"]))
    return shown
