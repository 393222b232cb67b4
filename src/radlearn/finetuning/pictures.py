"""Tasks that answer once for every picture, or study, from pooled features and a head."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from radlearn.engine.folder import RunFolder
from radlearn.engine.log import console, read_metrics
from radlearn.engine.shares import Places, Told
from radlearn.evaluate import evaluate_run
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import replacing
from radlearn.finetuning.balance import chances
from radlearn.finetuning.batches import Augment, FinetuneBatches
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.examples import Examples, choose, examples
from radlearn.finetuning.features import FeatureBatches, pooled, start_head
from radlearn.finetuning.readings import Outputs, Reading
from radlearn.finetuning.targets import classes_of, full_name, places
from radlearn.finetuning.task import Learner, Setup, Task
from radlearn.finetuning.terms import of_studies, outputs_of
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.heads import has_plain_head, head_logits
from radlearn.models.inference import logits
from radlearn.records.batches import Batch
from radlearn.records.record import Split
from radlearn.records.store import Selection, Store, select
from radlearn.report.finetuning_targets import targets_page

Truth = Float32[np.ndarray, "_ columns"]  # of each split: as many as it has examples
MEASURED = ("classification", "regression")
"""Terms that are means over what is known of examples."""
Chosen = dict[Split, tuple[Examples, Truth]]
HEAD_RECORDS = 2048
"""Records that the start of a head is measured on; of more a run would begin hours later."""


def choose_known(
    stores: Sequence[Store],
    config: FinetuneConfig,
    values: Callable[[Split, Selection], Float32[np.ndarray, "records 1"]],
    what: str,
) -> Chosen:
    """The examples of each split of which something is known, and what.

    Args:
        values: of a split's records, NaN where nothing is known.
        what: they are, in words.
    """

    def keep(split: Split, found: Selection) -> Bool[np.ndarray, "records"]:
        known = ~np.isnan(values(split, found)[:, 0])
        if not known.all():
            console.print(f"{(~known).sum()} {split} records are left out, which have no {what}")
        return known

    chosen: Chosen = {}
    for split, found in choose(stores, config, {"image"}, keep).items():
        of = examples(found, config)
        chosen[split] = of, of.one_of(values(split, found), what)
    return chosen


def choose_classes(
    stores: Sequence[Store], config: FinetuneConfig, rising: bool
) -> tuple[Chosen, tuple[str, ...]]:
    """The examples of each split with the place of their class, and the classes of `--target`.

    Args:
        rising: whether the order of the classes counts.
    """
    assert config.target is not None
    column = full_name(stores, config.target)
    whole = select(stores, split=Split.TRAIN, view=config.view, needs={"image"})
    classes = classes_of(whole, column, config.classes, rising=rising)
    chosen = choose_known(stores, config, lambda _, found: places(found, column, classes), column)
    return chosen, classes


@dataclass(frozen=True, eq=False)
class PictureTask(Task[Outputs]):
    """One answer a picture; with `config.pool` one a study, the mean of its pictures' outputs.

    Attributes:
        examples: by split; `records` are theirs.
        truth: what is known of each example.
        reading: what the outputs mean.
        kept: features of a frozen backbone, by split, as far as they were asked for.
    """

    config: FinetuneConfig
    records: dict[Split, Selection]
    examples: dict[Split, Examples]
    truth: dict[Split, Truth]
    reading: Reading
    kept: dict[Split, Tensor] = field(default_factory=dict)

    @classmethod
    def made(cls, config: FinetuneConfig, chosen: Chosen, reading: Reading) -> Self:
        of = {split: found for split, (found, _) in chosen.items()}
        records = {split: found.records for split, found in of.items()}
        truth = {split: known for split, (_, known) in chosen.items()}
        return cls(config, records, of, truth, reading)

    @abstractmethod
    def loss(self, outputs: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """The terms of a batch, in float32.

        Args:
            outputs: (examples, outputs); `truth` (examples, columns).
        """

    @abstractmethod
    def class_weights(self) -> tuple[float, ...]:
        """What the loss of each class is multiplied by for --balance weights."""

    @abstractmethod
    def groups(self) -> Bool[np.ndarray, "examples groups"]:
        """Which training examples are of which group, to be drawn alike for --balance sampling."""

    @abstractmethod
    def head_bias(self) -> Float[Tensor, "outputs"]:
        """What the head answers at first: what is known without seeing a picture."""

    @abstractmethod
    def columns(self, answers: Outputs, split: Split) -> dict[str, np.ndarray]:
        """Truth and answers as columns of predictions.parquet."""

    @cached_property
    def weights(self) -> tuple[float, ...] | None:
        """`class_weights` where they were asked for."""
        return self.class_weights() if self.config.balance == "weights" else None

    @property
    def balanced(self) -> bool:
        return self.config.balance != "none"

    def facts(self) -> dict[str, Any]:
        return self.reading.facts() | {"pool": self.config.pool}

    def count(self, split: Split) -> int:
        return len(self.examples[split])

    def build(self, backbone: BackboneConfig, drop_path: float) -> nn.Module:
        return build_classifier(backbone, len(self.reading.names), drop_path)

    def start_head(self, model: nn.Module, setup: Setup) -> None:
        if setup.config.head_start != "records" or not has_plain_head(model):
            return
        if self._is_frozen(model, setup):
            features = self.features(model, Split.TRAIN, setup)
        else:
            seen = self.batches(Split.TRAIN, setup, "none")
            few = seen.examples.records.take(range(min(HEAD_RECORDS, len(seen.examples.records))))
            seen = replace(seen, examples=Examples(few))
            features = pooled(model, seen, setup.preprocessing, setup.here, setup.scoring_batch)
        start_head(model, features, self.head_bias())

    def features(
        self, model: nn.Module, split: Split, setup: Setup
    ) -> Float[Tensor, "records width"]:
        """Of a split's records by the frozen backbone of `model`; computed once."""
        if split not in self.kept:
            seen = self.batches(split, setup, "none")
            self.kept[split] = pooled(
                model, seen, setup.preprocessing, setup.here, setup.scoring_batch
            )
        return self.kept[split]

    def batches(self, split: Split, setup: Setup, augment: Augment) -> FinetuneBatches:
        """What makes batches of a split's examples."""
        config, drawn = setup.config, split is Split.TRAIN and setup.config.balance == "sampling"
        return FinetuneBatches(
            self.examples[split],
            self.truth[split],
            setup.preprocessing,
            config.batch,
            config.seed,
            augment,
            (config.crop, 1.0),
            chances(self.groups()) if drawn else None,
            setup.here.rank,
            setup.here.world,
        )

    def learner(self, model: nn.Module, setup: Setup) -> Learner[Outputs]:
        if self._is_frozen(model, setup):
            return _OfFeatures(self, model, setup)
        return _OfPictures(self, model, setup, _augment(setup.config))

    def _is_frozen(self, model: nn.Module, setup: Setup) -> bool:
        """Whether no step changes what the head is handed of a record."""
        plain = _augment(setup.config) == "none" and has_plain_head(model)
        return setup.config.tuner == "linear" and plain

    def terms(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss` of the outputs of a batch's pictures."""
        if "study" in batch:
            outputs = of_studies(outputs, batch["study"], len(batch["truth"]))
        return self.loss(outputs, batch["truth"])

    def told(self, batch: Batch) -> Told:
        """See `Learner.told`."""
        known = ~batch["truth"].isnan() & (batch["rows"] >= 0)[:, None]
        count = len(batch["truth"])
        pictures = np.ones(count, np.int64)
        if "study" in batch:
            pictures = torch.bincount(batch["study"], minlength=count).numpy()
        return Told(dict.fromkeys(MEASURED, int(known.sum())), (Places(pictures),))

    def answers(self, outputs: Outputs, split: Split) -> Float[np.ndarray, "examples outputs"]:
        """One a study where studies are pooled."""
        studies = self.examples[split].studies
        if studies is None:
            return outputs
        return np.stack([outputs[study].mean(axis=0) for study in studies])

    def write(self, run: Path, answers: Mapping[Split, Outputs]) -> None:
        tables = []
        for split, found in answers.items():
            of = self.examples[split]
            about: dict[str, Any] = {
                "split": [str(split)] * len(of),
                "id": of.first.ids,
                "patient": of.first.patients,
            }
            if of.studies is not None:
                about["pictures"] = [len(study) for study in of.studies]
            tables.append(pl.DataFrame(about | self.columns(found, split)))
        if tables:
            with replacing(run / "predictions.parquet") as temporary:
                pl.concat(tables).write_parquet(temporary)

    def page(self, run: RunFolder) -> None:
        """See `Task.page`; with the scores of the task where records were held apart."""
        evaluation = None
        if len(self.records) > 1:
            split: Literal["val", "test"] = "test" if Split.TEST in self.records else "val"
            evaluation = evaluate_run(run.path, EvaluateConfig((run.path,), split=split))
        targets_page(run.path, read_metrics(run.path), evaluation, run.config)


def _augment(config: FinetuneConfig) -> Augment:
    return config.augment or ("none" if config.tuner == "linear" else "plain")


class _OfPictures:
    """The whole model on pictures."""

    def __init__(self, task: PictureTask, model: nn.Module, setup: Setup, augment: Augment) -> None:
        self.task, self.model, self.setup = task, model, setup
        self.batches: Callable[[int], Batch] = task.batches(Split.TRAIN, setup, augment)
        self.told = task.told

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        outputs = outputs_of(self.model, batch["image"], self.setup.preprocessing)
        return self.task.terms(outputs, batch)

    def answers(self, split: Split) -> Outputs:
        seen = self.task.batches(split, self.setup, "none")
        found = logits(
            self.model,
            lambda positions: seen.images(positions, 0),
            len(seen.examples.records),
            self.setup.preprocessing,
            self.setup.here,
            self.setup.scoring_batch,
        )
        return self.task.answers(found, split)


class _OfFeatures:
    """The head of a frozen backbone on features that are computed once."""

    def __init__(self, task: PictureTask, model: nn.Module, setup: Setup) -> None:
        self.task, self.model, self.setup = task, model, setup
        self.features = {split: task.features(model, split, setup) for split in task.records}
        make = task.batches(Split.TRAIN, setup, "none")
        self.batches: Callable[[int], Batch] = FeatureBatches(make, self.features[Split.TRAIN])
        self.told = task.told

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return self.task.terms(head_logits(self.model, batch["features"]), batch)

    def answers(self, split: Split) -> Outputs:
        found = head_logits(self.model, self.features[split].to(self.setup.here.device))
        return self.task.answers(found.detach().float().cpu().numpy().astype(np.float64), split)
