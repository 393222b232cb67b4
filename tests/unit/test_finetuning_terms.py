"""The masked loss of fine-tuning."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radlearn.finetuning.terms import classification_loss, outputs_of
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
