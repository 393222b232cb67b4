"""What fine-tuning minimises."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.models.attention import choose_attention
from radlearn.records.transforms import Preprocessing, normalised


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


def outputs_of(
    model: nn.Module, images: Tensor, preprocessing: Preprocessing
) -> Float[Tensor, "batch outputs"]:
    """What the model says of grey images (B, 1, S, S) in [0, 255]."""
    seen = normalised(images, preprocessing)
    choose_attention(model, images.device)
    return model(seen)
