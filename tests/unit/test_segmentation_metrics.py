"""Dice, IoU and HD95 of masks, against other implementations and by hand."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score, jaccard_score

from radlearn.metrics.segmentation import (
    hausdorff95,
    mask_score,
    mean_dice,
    pixel_counts,
)
from radlearn.records.record import NOT_ANNOTATED

EMPTY = np.zeros((16, 20), np.uint8)


def blobs(seed: int, shape: tuple[int, int] = (40, 56)) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return noise > np.quantile(noise, 0.7)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.5, 0.5)])
def test_hd95_is_that_of_monai_and_of_all_pairs_of_edge_pixels(
    seed: int, spacing: tuple[float, float]
) -> None:
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    truth, drawn = blobs(seed), blobs(seed + 100)
    found = hausdorff95(truth, drawn, spacing)
    edges = [np.argwhere(m & ~binary_erosion(m)) * np.array(spacing) for m in (truth, drawn)]
    apart = cdist(*edges)
    by_hand = max(np.percentile(apart.min(1), 95), np.percentile(apart.min(0), 95))
    assert found == pytest.approx(by_hand, rel=1e-9)
    pair = [torch.from_numpy(m)[None, None] for m in (drawn, truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = compute_hausdorff_distance(
            *pair, include_background=True, percentile=95, spacing=spacing
        )
    assert found == pytest.approx(float(theirs), rel=1e-5)


def test_overlap_is_that_of_sklearn() -> None:
    truth, drawn = (blobs(seed).astype(np.uint8) for seed in (1, 101))
    found = mask_score(truth, drawn, 1)
    assert found.dice == pytest.approx(f1_score(truth.ravel(), drawn.ravel()))
    assert found.iou == pytest.approx(jaccard_score(truth.ravel(), drawn.ravel()))
    assert (found.truth, found.predicted) == (truth.sum(), drawn.sum())


def test_empty_masks() -> None:
    some = EMPTY.copy()
    some[3:6, 4:9] = 1
    right = mask_score(EMPTY, EMPTY, 1)
    assert (right.dice, right.iou) == (1, 1) and math.isnan(right.hd95)
    for truth, drawn in ((some, EMPTY), (EMPTY, some)):
        wrong = mask_score(truth, drawn, 1, (1.0, 1.0))
        assert (wrong.dice, wrong.iou) == (0, 0)
        assert math.isnan(wrong.hd95) and math.isnan(wrong.hd95_mm)


def test_millimetres_need_a_spacing_and_follow_it() -> None:
    truth, drawn = EMPTY.copy(), EMPTY.copy()
    truth[5, 2:10], drawn[8, 2:10] = 1, 1
    assert math.isnan(mask_score(truth, drawn, 1).hd95_mm)
    found = mask_score(truth, drawn, 1, (0.5, 0.5))
    assert (found.hd95, found.hd95_mm) == (3.0, 1.5)
    assert mask_score(truth, drawn, 1, (2.0, 0.5)).hd95_mm == 6.0


def test_pixels_that_nobody_annotated_are_neither_right_nor_wrong() -> None:
    truth, drawn = EMPTY.copy(), EMPTY.copy()
    truth[2:6, 2:6], drawn[2:6, 2:12] = 1, 1
    assert mask_score(truth, drawn, 1).dice < 1
    truth[:, 6:] = NOT_ANNOTATED
    assert mask_score(truth, drawn, 1)[:3] == (1, 1, 0)


def test_classes_are_scored_apart() -> None:
    truth, drawn = EMPTY.copy(), EMPTY.copy()
    truth[2:6], truth[8:12] = 1, 2
    drawn[2:6], drawn[8:10] = 1, 2
    assert mask_score(truth, drawn, 1).dice == 1
    assert mask_score(truth, drawn, 2).dice == pytest.approx(2 / 3)
    truth[0] = NOT_ANNOTATED
    counts = pixel_counts(truth, drawn, 3)
    assert counts.tolist() == [[80, 80, 80], [40, 80, 40], [0, 0, 0]]
    assert mean_dice(counts[None]) == pytest.approx((1 + 2 / 3 + 1) / 3)
