"""What fine-tuning minimises."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.models.attention import choose_attention
from radlearn.records.batches import Batch
from radlearn.records.transforms import Preprocessing, normalised


@dataclass(frozen=True)
class TermSettings:
    """What the terms need besides the model and the batch.

    Attributes:
        preprocessing: how grey values become the model's input.
        pos_weight: weight of each label's positive entries, None for 1.
    """

    preprocessing: Preprocessing
    pos_weight: tuple[float, ...] | None = None


def classification_loss(
    logits: Float[Tensor, "batch labels"],
    labels: Float[Tensor, "batch labels"],
    pos_weight: tuple[float, ...] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy, averaged over the entries that are labelled; in float32.

    Args:
        logits: one per image and label.
        labels: 0, 1 or NaN for not labelled. Without any label the loss is 0.
        pos_weight: weight of each label's positive entries.
    """
    labelled = ~labels.isnan()
    logits = logits.float()
    weight = None if pos_weight is None else logits.new_tensor(pos_weight)
    entries = F.binary_cross_entropy_with_logits(
        logits, torch.where(labelled, labels, 0.0).float(), pos_weight=weight, reduction="none"
    )
    return torch.where(labelled, entries, 0.0).sum() / labelled.sum().clamp(min=1)


def finetuning_terms(model: nn.Module, batch: Batch, settings: TermSettings) -> dict[str, Tensor]:
    """The terms of one batch: {"classification": ...}.

    Args:
        batch: "image" (B, 1, S, S), grey values in [0, 255]; "labels" (B, C), NaN = not labelled.
    """
    images = normalised(batch["image"], settings.preprocessing)
    choose_attention(model, images.device)
    logits = model(images)
    return {
        "classification": classification_loss(logits, batch["labels"], settings.pos_weight),
    }
