"""Losses that hosts share."""

import numpy as np
import pytest
import torch
from torch import Tensor

from radlearn.models.losses import l1_loss, mutual_information


def pictures(seed: int) -> Tensor:
    """Smooth images in [-1, 1], (2, 1, 48, 48)."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(-1, 1, (2, 1, 8, 8)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bilinear")


def test_information_needs_the_same_place_and_not_the_same_contrast() -> None:
    image = pictures(0)
    other = 1 - 2 * image.abs()  # another contrast of the same anatomy
    here = mutual_information(other, image)
    by_shift = [mutual_information(other.roll(shift, 3), image) for shift in (1, 3, 8)]
    assert here > by_shift[0] > by_shift[1] > by_shift[2]


def test_information_pulls_a_shifted_image_back() -> None:
    image = pictures(2)
    where = torch.arange(48, dtype=torch.float32)
    shift = torch.tensor(2.0, requires_grad=True)
    places = torch.stack(torch.meshgrid(where, where + shift, indexing="ij")[::-1], -1)
    moved = torch.nn.functional.grid_sample(
        -image,
        (2 * places / 47 - 1).expand(2, -1, -1, -1),
        padding_mode="border",
        align_corners=True,
    )
    mutual_information(moved, image).backward()
    assert shift.grad is not None
    assert shift.grad < 0


def test_information_is_of_all_channels_and_not_of_autocast() -> None:
    a, b = pictures(0), pictures(1)
    pairs = [mutual_information(a, a), mutual_information(a, b)]
    both = mutual_information(a, torch.cat([a, b], 1))
    torch.testing.assert_close(both, torch.stack(pairs).mean())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mutual_information(a, torch.cat([a, b], 1)), both)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_differences_are_taken_in_float32(kind: torch.dtype) -> None:
    ones = torch.ones(1, 1, 64, 64)
    assert l1_loss(ones.to(kind), ones.to(kind) - 0.5).dtype is torch.float32
