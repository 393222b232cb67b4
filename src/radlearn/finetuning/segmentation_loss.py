"""What segmentation minimises: focal loss and Dice, on the head and, for less, on its auxiliary."""

import torch
from jaxtyping import Float, UInt8
from monai.losses.dice import DiceLoss
from monai.losses.focal_loss import sigmoid_focal_loss, softmax_focal_loss
from torch import Tensor

from radlearn.models.attention import choose_attention
from radlearn.models.segmenter import Segmenter
from radlearn.records.batches import Batch
from radlearn.records.record import NOT_ANNOTATED
from radlearn.records.transforms import Preprocessing, normalised

FOCAL, DICE, AUXILIARY = 2.0, 1.0, 0.4
"""Weights of MRM on SIIM (Zhou et al., 2023)."""
GAMMA = 2.0


def one_hot(
    masks: UInt8[Tensor, "batch height width"], outputs: int
) -> tuple[Float[Tensor, "batch outputs height width"], Float[Tensor, "batch 1 height width"]]:
    """Targets and which pixels are annotated; with one output the target is class 1 alone.

    Args:
        masks: 0 for background, k for class k, `NOT_ANNOTATED`.
        outputs: of a `Segmenter`.
    """
    known = (masks != NOT_ANNOTATED)[:, None].float()
    classes = torch.arange(1 if outputs == 1 else 0, max(outputs, 2), device=masks.device)
    return (masks[:, None] == classes[:, None, None]).float(), known


def focal_dice(
    logits: Float[Tensor, "batch outputs height width"],
    masks: UInt8[Tensor, "batch height width"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Focal loss (Lin et al., 2017; gamma 2) over annotated pixels, and Dice loss.

    The Dice loss of an image and class is 1 - (2 sum pt + 1) / (sum p^2 + sum t^2 + 1), the
    background left out (Milletari et al., 2016, with one pixel added so that an empty mask, left
    empty, costs nothing); it is averaged over images and classes. In float32.

    Args:
        logits: one output: sigmoid; more: softmax, the background first.
    """
    logits = logits.float()
    target, known = one_hot(masks, logits.shape[1])
    several = logits.shape[1] > 1
    focal = softmax_focal_loss if several else sigmoid_focal_loss
    by_pixel = focal(logits, target, GAMMA).sum(1, keepdim=True)
    probability = logits.softmax(1) if several else logits.sigmoid()
    dice = DiceLoss(include_background=not several, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0)
    return (
        (by_pixel * known).sum() / known.sum().clamp(min=1),
        dice(probability * known, target * known),
    )


def segmentation_terms(
    model: Segmenter, batch: Batch, preprocessing: Preprocessing
) -> dict[str, Tensor]:
    """The terms of one batch, weighted: focal and Dice, of the head and of the auxiliary one.

    Args:
        batch: "image" (B, 1, S, S), grey values in [0, 255]; "mask" (B, S, S) uint8.
    """
    images = normalised(batch["image"], preprocessing)
    choose_attention(model, images.device)
    logits, auxiliary = model.with_auxiliary(images)
    focal, dice = focal_dice(logits, batch["mask"])
    focal_below, dice_below = focal_dice(auxiliary, batch["mask"])
    return {
        "focal": FOCAL * focal,
        "dice": DICE * dice,
        "auxiliary_focal": AUXILIARY * FOCAL * focal_below,
        "auxiliary_dice": AUXILIARY * DICE * dice_below,
    }
