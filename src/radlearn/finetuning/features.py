"""Features of a frozen backbone, computed once: all that a linear head's training needs."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.engine.device import Compute
from radlearn.finetuning.batches import FinetuneBatches
from radlearn.models.heads import classifier, standardise
from radlearn.models.heads import pooled as pooled_of
from radlearn.models.inference import in_batches
from radlearn.records.batches import Batch
from radlearn.records.transforms import Preprocessing, normalised


@dataclass(frozen=True)
class FeatureBatches:
    """Batch k in the order of `make`, the features of its records in place of their images."""

    make: FinetuneBatches
    features: Float[Tensor, "records width"]

    def __call__(self, step: int) -> Batch:
        shown, batch = self.make.asked(step)
        return {"features": self.features[torch.from_numpy(shown)]} | batch


def pooled(
    model: nn.Module,
    make: FinetuneBatches,
    preprocessing: Preprocessing,
    compute: Compute,
    batch: int,
) -> Float[Tensor, "records width"]:
    """What the backbone hands to its plain head, of every record, without augmentation."""

    def run(positions: np.ndarray) -> Tensor:
        images = make.images(positions, step=0).to(compute.device)
        with compute.autocast():
            seen = normalised(images, preprocessing)
            return pooled_of(model, model.forward_features(seen))  # type: ignore[operator]

    model.eval()
    with torch.no_grad():
        return in_batches(len(make.examples.records), batch, run, compute)


def start_head(
    model: nn.Module,
    features: Float[Tensor, "records width"],
    bias: Float[Tensor, "outputs"],
) -> None:
    """Start the head from the training records: it sees standardised features and knows shares.

    Features of a pretrained backbone differ little between images, compared with what they share,
    and most labels are rare; a head that knows neither spends its few steps on them. So the head's
    norm starts with mean 0 and deviation 1 over these records (a Swin has none), and the head
    answers with the bias before it has seen anything. The model stays the same plain timm model.

    Args:
        features: of `pooled`.
        bias: such as `log_odds` of the labels.
    """
    standardise(model, features)
    with torch.no_grad():
        classifier(model).bias.copy_(bias)


def log_odds(labels: Float[Tensor, "records outputs"]) -> Float[Tensor, "outputs"]:
    """Of each label's positives among its labelled records, half a record added to both sides.

    Args:
        labels: 0, 1 or NaN for not labelled.
    """
    positives, negatives = ((labels == value).sum(0) + 0.5 for value in (1, 0))
    return (positives / negatives).log()
