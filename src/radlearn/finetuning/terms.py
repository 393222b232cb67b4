"""What fine-tuning minimises; all in float32, what is not labelled left out."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from radlearn.models.attention import choose_attention
from radlearn.records.transforms import Preprocessing, normalised

Q = 0.7
"""Of the robust loss: 0 is cross-entropy, 1 the mean absolute error (Zhang and Sabuncu 2018)."""


def outputs_of(
    model: nn.Module, images: Tensor, preprocessing: Preprocessing
) -> Float[Tensor, "batch outputs"]:
    """What the model says of grey images (B, 1, S, S) in [0, 255]."""
    seen = normalised(images, preprocessing)
    choose_attention(model, images.device)
    return model(seen)


def of_studies(
    outputs: Float[Tensor, "pictures outputs"], study: Int[Tensor, "pictures"], count: int
) -> Float[Tensor, "studies outputs"]:
    """The mean of the outputs of each study's pictures, in float32."""
    sums = outputs.new_zeros(count, outputs.shape[1], dtype=torch.float32)
    pictures = torch.bincount(study, minlength=count).clamp(min=1)[:, None]
    return sums.index_add(0, study, outputs.float()) / pictures


def mean_of_labelled(
    entries: Float[Tensor, "*entries"], labelled: Bool[Tensor, "*entries"]
) -> Float[Tensor, ""]:
    """The mean of the entries that are labelled; 0 where none is."""
    return torch.where(labelled, entries, 0.0).sum() / labelled.sum().clamp(min=1)


def classification_loss(
    logits: Float[Tensor, "batch labels"],
    labels: Float[Tensor, "batch labels"],
    pos_weight: tuple[float, ...] | None = None,
    smoothing: float = 0.0,
    robust: bool = False,
    weight: Float[Tensor, "batch 1"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy, averaged over the entries that are labelled.

    Args:
        logits: one per image and label.
        labels: 0, 1 or NaN for not labelled. Without any label the loss is 0.
        pos_weight: weight of each label's positive entries.
        smoothing: labels become smoothing / 2 and 1 - smoothing / 2.
        robust: (1 - p^q) / q of the probability p of what is labelled, in place of -log p.
        weight: of each image.
    """
    labelled = ~labels.isnan()
    logits = logits.float()
    truth = torch.where(labelled, labels, 0.0).float()
    positive = None if pos_weight is None else logits.new_tensor(pos_weight)
    if robust:
        entries = (1 - (F.logsigmoid(logits * (2 * truth - 1)) * Q).exp()) / Q
        if positive is not None:
            entries = entries * torch.where(truth == 1, positive, 1.0)
    else:
        if smoothing:
            truth = truth * (1 - smoothing) + smoothing / 2
        entries = F.binary_cross_entropy_with_logits(
            logits, truth, pos_weight=positive, reduction="none"
        )
    if weight is not None:
        entries = entries * weight
    return mean_of_labelled(entries, labelled)


def class_loss(
    logits: Float[Tensor, "batch classes"],
    truth: Float[Tensor, "batch 1"],
    weight: tuple[float, ...] | None = None,
    smoothing: float = 0.0,
    robust: bool = False,
) -> Float[Tensor, ""]:
    """Cross-entropy of classes that exclude each other, averaged over what is labelled.

    Args:
        truth: the class's place, or NaN.
        weight: of each class's records.
        smoothing: share of the truth that is spread evenly over all classes.
        robust: (1 - p^q) / q of the probability p of the class, in place of -log p.
    """
    logits, truth = logits.float(), truth[:, 0]
    labelled = ~truth.isnan()
    at = torch.where(labelled, truth, 0.0).long()
    if robust:
        entries = (1 - (-F.cross_entropy(logits, at, reduction="none") * Q).exp()) / Q
    else:
        entries = F.cross_entropy(logits, at, reduction="none", label_smoothing=smoothing)
    if weight is not None:
        entries = entries * logits.new_tensor(weight)[at]
    return mean_of_labelled(entries, labelled)


def level_loss(
    logits: Float[Tensor, "batch cuts"],
    truth: Float[Tensor, "batch 1"],
    weight: tuple[float, ...] | None = None,
    smoothing: float = 0.0,
    robust: bool = False,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of "above level k" for every level but the highest (Cao et al. 2020).

    Args:
        truth: the level, 0 to cuts, or NaN; `weight` is of each level's records.
    """
    cuts = torch.arange(logits.shape[1], device=logits.device)
    above = torch.where(truth.isnan(), truth, (truth > cuts).float())
    of = None if weight is None else logits.new_tensor(weight)[truth.nan_to_num().long()].float()
    return classification_loss(logits, above, None, smoothing, robust, of)


def value_loss(outputs: Float[Tensor, "batch 1"], truth: Float[Tensor, "batch 1"]) -> Tensor:
    """Huber's loss: squared up to one deviation of the training records, then linear."""
    labelled = ~truth.isnan()
    target = torch.where(labelled, truth, 0.0).float()
    entries = F.huber_loss(outputs.float(), target, reduction="none")
    return mean_of_labelled(entries, labelled)
