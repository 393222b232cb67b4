"""Focal and Dice loss against their formulas, and what nobody annotated."""

import pytest
import torch
from torch import Tensor

from radlearn.finetuning.segmentation_loss import focal_dice, one_hot
from radlearn.records.record import NOT_ANNOTATED


def case(outputs: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(outputs)
    masks = torch.randint(0, max(outputs, 2), (3, 8, 8), generator=rng).to(torch.uint8)
    return 2 * torch.randn(3, outputs, 8, 8, generator=rng), masks


def test_one_class_is_sigmoid_focal_and_dice() -> None:
    logits, masks = case(1)
    p, t = logits[:, 0].sigmoid(), masks.float()
    of_truth = torch.where(t == 1, p, 1 - p)
    focal = (-((1 - of_truth) ** 2) * of_truth.log()).mean()
    dice = 1 - (2 * (p * t).sum((1, 2)) + 1) / ((p**2).sum((1, 2)) + t.sum((1, 2)) + 1)
    found = focal_dice(logits, masks)
    torch.testing.assert_close(found, (focal, dice.mean()))


def test_several_classes_are_softmax_and_the_background_has_no_dice() -> None:
    logits, masks = case(3)
    p, t = logits.softmax(1), torch.nn.functional.one_hot(masks.long(), 3).movedim(-1, 1).float()
    of_truth = (p * t).sum(1)
    focal = (-((1 - of_truth) ** 2) * of_truth.log()).mean()
    dice = 1 - (2 * (p * t).sum((2, 3)) + 1) / ((p**2).sum((2, 3)) + t.sum((2, 3)) + 1)
    torch.testing.assert_close(focal_dice(logits, masks), (focal, dice[:, 1:].mean()))


@pytest.mark.parametrize("outputs", [1, 3])
def test_pixels_that_nobody_annotated_do_not_count(outputs: int) -> None:
    logits, masks = case(outputs)
    masks[:, :3] = NOT_ANNOTATED
    before = focal_dice(logits, masks)
    logits[:, :, :3] = 50.0
    torch.testing.assert_close(focal_dice(logits, masks), before)
    masks[:] = NOT_ANNOTATED
    assert [float(one) for one in focal_dice(logits, masks)] == [0.0, 0.0]


def test_an_empty_mask_left_empty_costs_nothing_and_one_drawn_costs() -> None:
    empty = torch.zeros(1, 8, 8, dtype=torch.uint8)
    assert max(focal_dice(torch.full((1, 1, 8, 8), -20.0), empty)) < 1e-4
    focal, dice = focal_dice(torch.full((1, 1, 8, 8), 20.0), empty)
    assert focal > 10 and dice > 0.95


def test_targets_of_one_class_and_of_several() -> None:
    masks = torch.tensor([[[0, 1, 2, NOT_ANNOTATED]]], dtype=torch.uint8)
    target, known = one_hot(masks, 1)
    assert target[0, 0, 0].tolist() == [0, 1, 0, 0] and known[0, 0, 0].tolist() == [1, 1, 1, 0]
    target, _ = one_hot(masks, 3)
    assert target[0, :, 0].T.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
