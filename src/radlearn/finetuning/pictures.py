"""Tasks that answer once for every picture, from the backbone's pooled features and a head."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from radlearn.files import replacing
from radlearn.finetuning.batches import FinetuneBatches
from radlearn.finetuning.features import (
    FeatureBatches,
    has_plain_head,
    head_logits,
    pooled,
    start_head,
)
from radlearn.finetuning.task import Learner, Setup, Task
from radlearn.finetuning.terms import outputs_of
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.inference import logits
from radlearn.records.batches import Batch
from radlearn.records.record import Split
from radlearn.records.store import Selection

Outputs = Float[np.ndarray, "records outputs"]


@dataclass(frozen=True, eq=False)
class PictureTask(Task[Outputs]):
    """One answer a picture.

    Attributes:
        truth: what is known of each record, NaN where nothing is.
    """

    records: dict[Split, Selection]
    truth: dict[Split, Float32[np.ndarray, "records columns"]]

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Outputs of the head."""

    @abstractmethod
    def loss(
        self, outputs: Float[Tensor, "batch outputs"], truth: Float[Tensor, "batch columns"]
    ) -> dict[str, Tensor]:
        """The terms of a batch, in float32."""

    @abstractmethod
    def columns(self, answers: Outputs, split: Split) -> dict[str, np.ndarray]:
        """Truth and answers as columns of predictions.parquet."""

    def build(self, backbone: BackboneConfig, drop_path: float) -> nn.Module:
        return build_classifier(backbone, self.outputs, drop_path)

    def start_head(self, model: nn.Module, setup: Setup) -> None:
        if setup.config.head_start == "records" and has_plain_head(model):
            seen = self.batches(Split.TRAIN, setup, augment=False)
            features = pooled(model, seen, setup.preprocessing, setup.here, setup.scoring_batch)
            start_head(model, features, torch.from_numpy(seen.truth))

    def batches(self, split: Split, setup: Setup, augment: bool) -> FinetuneBatches:
        """What makes batches of a split's records."""
        config = setup.config
        return FinetuneBatches(
            self.records[split],
            self.truth[split],
            setup.preprocessing,
            config.batch,
            config.seed,
            augment,
            (config.crop, 1.0),
            setup.here.rank,
            setup.here.world,
        )

    def learner(self, model: nn.Module, setup: Setup) -> Learner[Outputs]:
        config = setup.config
        augment = config.augment if config.augment is not None else config.tuner != "linear"
        frozen = config.tuner == "linear" and not augment and has_plain_head(model)
        return (_OfFeatures if frozen else _OfPictures)(self, model, setup, augment)

    def write(self, run: Path, answers: Mapping[Split, Outputs]) -> None:
        tables = []
        for split, found in answers.items():
            records = self.records[split]
            about: dict[str, Any] = {
                "split": [str(split)] * len(records),
                "id": records.ids,
                "patient": records.patients,
            }
            tables.append(pl.DataFrame(about | self.columns(found, split)))
        if tables:
            with replacing(run / "predictions.parquet") as temporary:
                pl.concat(tables).write_parquet(temporary)


class _OfPictures:
    """The whole model on pictures."""

    def __init__(self, task: PictureTask, model: nn.Module, setup: Setup, augment: bool) -> None:
        self.task, self.model, self.setup = task, model, setup
        self.batches: Callable[[int], Batch] = task.batches(Split.TRAIN, setup, augment)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        outputs = outputs_of(self.model, batch["image"], self.setup.preprocessing)
        return self.task.loss(outputs, batch["truth"])

    def answers(self, split: Split) -> Outputs:
        seen = self.task.batches(split, self.setup, augment=False)
        return logits(
            self.model,
            lambda positions: seen.of(positions, 0)["image"],
            len(seen.records),
            self.setup.preprocessing,
            self.setup.here,
            self.setup.scoring_batch,
        )


class _OfFeatures:
    """The head of a frozen backbone on features that are computed once."""

    def __init__(self, task: PictureTask, model: nn.Module, setup: Setup, augment: bool) -> None:
        self.task, self.model, self.setup = task, model, setup
        self.features = {
            split: pooled(
                model,
                task.batches(split, setup, augment=False),
                setup.preprocessing,
                setup.here,
                setup.scoring_batch,
            )
            for split in task.records
        }
        make = task.batches(Split.TRAIN, setup, augment)
        self.batches: Callable[[int], Batch] = FeatureBatches(make, self.features[Split.TRAIN])

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        return self.task.loss(head_logits(self.model, batch["features"]), batch["truth"])

    def answers(self, split: Split) -> Outputs:
        found = head_logits(self.model, self.features[split].to(self.setup.here.device))
        return found.detach().float().cpu().numpy().astype(np.float64)
