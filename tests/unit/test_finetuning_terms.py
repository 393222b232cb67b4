"""The masked loss of fine-tuning."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radlearn.finetuning.terms import (
    class_loss,
    classification_loss,
    level_loss,
    of_studies,
    outputs_of,
    value_loss,
)
from radlearn.records.transforms import Preprocessing

NAN = math.nan


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_all_labelled_is_the_plain_mean() -> None:
    logits, labels = random(5, 3), (random(5, 3) > 0).float()
    expected = F.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(classification_loss(logits, labels), expected)


def test_unlabelled_entries_count_for_nothing() -> None:
    logits = random(2, 2).requires_grad_()
    labels = torch.tensor([[1.0, NAN], [NAN, 0.0]])
    loss = classification_loss(logits, labels)
    expected = (F.softplus(-logits[0, 0]) + F.softplus(logits[1, 1])) / 2
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, ~labels.isnan())


def test_a_batch_without_labels_is_zero_with_a_gradient_of_zero() -> None:
    logits = random(2, 3).requires_grad_()
    loss = classification_loss(logits, torch.full((2, 3), NAN))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and torch.equal(logits.grad, torch.zeros(2, 3))


def test_pos_weight_weighs_the_positives_of_its_label() -> None:
    logits = torch.zeros(2, 2)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = classification_loss(logits, labels, pos_weight=(3.0, 1.0))
    assert loss.item() == pytest.approx(math.log(2) * (3 + 1 + 1 + 1) / 4)


def test_the_loss_is_float32_under_autocast() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    images = torch.full((3, 1, 4, 4), 200, dtype=torch.uint8)
    truth = torch.tensor([[1.0, NAN], [0.0, 1.0], [NAN, NAN]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = outputs_of(model, images, Preprocessing(size=4, mean=0.5, std=0.25))
        loss = classification_loss(outputs, truth)
    assert outputs.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert loss.requires_grad


def test_the_model_sees_normalised_images() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.mean((2, 3))

    image = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    outputs_of(Spy(), image, Preprocessing(size=4, mean=0.5, std=0.25))
    torch.testing.assert_close(seen[0], torch.full((2, 3, 4, 4), 2.0))


def test_smoothed_labels_are_less_certain() -> None:
    logits, labels = random(6, 2), (random(6, 2) > 0).float()
    found = classification_loss(logits, labels, smoothing=0.2)
    expected = F.binary_cross_entropy_with_logits(logits, labels * 0.8 + 0.1)
    torch.testing.assert_close(found, expected)


def test_a_wrong_label_pulls_less_on_the_robust_losses() -> None:
    def pull(logit: float, robust: bool) -> float:
        logits = torch.tensor([[logit]], requires_grad=True)
        classification_loss(logits, torch.tensor([[1.0]]), robust=robust).backward()
        assert logits.grad is not None
        return -float(logits.grad)

    assert pull(-6.0, robust=True) < 0.1 * pull(-6.0, robust=False)
    assert pull(0.0, robust=True) > 0.5 * pull(0.0, robust=False)
    logits = torch.tensor([[0.0, 6.0]])
    likely, unlikely = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    assert class_loss(logits, likely, robust=True) < 0.01
    assert class_loss(logits, unlikely, robust=True) < class_loss(logits, unlikely) / 3


def test_classes_as_torch_does_and_weighted_by_class() -> None:
    logits, truth = random(5, 3), torch.tensor([[0.0], [2.0], [1.0], [2.0], [NAN]])
    known = F.cross_entropy(logits[:4], truth[:4, 0].long(), label_smoothing=0.1)
    torch.testing.assert_close(class_loss(logits, truth, smoothing=0.1), known)
    each = F.cross_entropy(logits[:4], truth[:4, 0].long(), reduction="none")
    weighted = class_loss(logits, truth, (1.0, 2.0, 0.5))
    torch.testing.assert_close(weighted, (each * torch.tensor([1, 0.5, 2, 0.5])).mean())


def test_levels_are_a_yes_or_no_of_lying_above_each() -> None:
    logits, truth = random(3, 2), torch.tensor([[0.0], [2.0], [NAN]])
    above = torch.tensor([[0.0, 0.0], [1.0, 1.0], [NAN, NAN]])
    torch.testing.assert_close(level_loss(logits, truth), classification_loss(logits, above))
    plain, double = level_loss(logits, truth), level_loss(logits, truth, (2.0, 2.0, 2.0))
    torch.testing.assert_close(double, 2 * plain)


def test_a_number_far_off_pulls_no_more_than_one_a_deviation_off() -> None:
    outputs = torch.tensor([[0.0], [0.0], [0.0]], requires_grad=True)
    value_loss(outputs, torch.tensor([[1.0], [50.0], [NAN]])).backward()
    assert outputs.grad is not None
    torch.testing.assert_close(outputs.grad, torch.tensor([[-0.5], [-0.5], [0.0]]))


def test_a_study_answers_by_the_mean_of_its_pictures() -> None:
    outputs = torch.tensor([[1.0], [3.0], [10.0]])
    found = of_studies(outputs, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(found, torch.tensor([[2.0], [10.0]]))
