"""How well a mask was drawn: Dice, IoU and the Hausdorff distance of one record and class.

Where the truth is empty there is nothing to overlap with. Drawn empty too, it is right: Dice and
IoU are 1. If only one of the two is empty, they are 0. The distance is defined where both hold
pixels, and NaN elsewhere. Pixels that nobody annotated count nowhere.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import binary_erosion, distance_transform_edt

from radlearn.records.record import NOT_ANNOTATED

PERCENTILE = 95


class MaskScore(NamedTuple):
    """The score of one class in one record.

    Attributes:
        hd95: in pixels; NaN where either mask is empty.
        hd95_mm: in millimetres; NaN also where the spacing is not known.
        truth, predicted: annotated pixels of the class in each mask.
    """

    dice: float
    iou: float
    hd95: float
    hd95_mm: float
    truth: int
    predicted: int


def overlap(both: float, truth: float, predicted: float) -> tuple[float, float]:
    """Dice and IoU of two sets of pixels from their sizes and that of what they share."""
    if truth + predicted == 0:
        return 1.0, 1.0
    return 2 * both / (truth + predicted), both / (truth + predicted - both)


def hausdorff95(
    truth: Bool[np.ndarray, "height width"],
    predicted: Bool[np.ndarray, "height width"],
    spacing: tuple[float, float] | None = None,
) -> float:
    """The larger of the two directed 95th percentiles of the distance from edge to edge.

    Edges are the pixels that have a neighbour (of four) outside the mask, or of the picture. NaN if
    a mask is empty.

    Args:
        spacing: between rows and between columns; None for pixels.
    """
    if not truth.any() or not predicted.any():
        return float("nan")
    box = tuple(
        slice(lines.argmax(), len(lines) - lines[::-1].argmax())
        for lines in ((truth | predicted).any(1), (truth | predicted).any(0))
    )
    edges = [mask[box] & ~binary_erosion(mask[box]) for mask in (truth, predicted)]
    away = [distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    there, back = away[1][edges[0]], away[0][edges[1]]
    return float(max(np.percentile(there, PERCENTILE), np.percentile(back, PERCENTILE)))


def mask_score(
    truth: UInt8[np.ndarray, "height width"],
    predicted: UInt8[np.ndarray, "height width"],
    number: int,
    spacing: tuple[float, float] | None = None,
) -> MaskScore:
    """Score class `number` of a predicted mask.

    Args:
        truth: 0 for background, k for class k, `NOT_ANNOTATED` where nobody annotated.
        spacing: millimetres between rows and between columns, None where it is not known.
    """
    known = truth != NOT_ANNOTATED
    right, drawn = truth == number, (predicted == number) & known
    both, of_truth, of_drawn = (int(one.sum()) for one in (right & drawn, right, drawn))
    pixels = hausdorff95(right, drawn)
    if spacing is None:
        millimetres = float("nan")
    elif spacing[0] == spacing[1]:
        millimetres = pixels * spacing[0]
    else:
        millimetres = hausdorff95(right, drawn, spacing)
    return MaskScore(*overlap(both, of_truth, of_drawn), pixels, millimetres, of_truth, of_drawn)


def mean_dice(counts: Float[np.ndarray, "records classes three"]) -> float:
    """Mean over records and classes.

    Args:
        counts: pixels in both masks, in the truth, and in the prediction.
    """
    both, truth, predicted = np.moveaxis(counts, -1, 0)
    size = truth + predicted
    return float(np.where(size > 0, 2 * both / np.maximum(size, 1), 1.0).mean())


def pixel_counts(
    truth: UInt8[np.ndarray, "height width"],
    predicted: UInt8[np.ndarray, "height width"],
    classes: int,
) -> Float[np.ndarray, "classes three"]:
    """For each class pixels in both masks, in the truth and in the prediction, annotated ones."""
    known = truth != NOT_ANNOTATED
    pairs = truth[known].astype(np.int64) * (classes + 1) + predicted[known]
    table = np.bincount(pairs, minlength=(classes + 1) ** 2).reshape(classes + 1, classes + 1)
    shared = np.diag(table)[1:]
    return np.stack([shared, table.sum(1)[1:], table.sum(0)[1:]], axis=1).astype(np.float64)
