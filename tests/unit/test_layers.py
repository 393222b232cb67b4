"""Layers: gradients do not depend on how tensors lie in memory."""

import pytest
import torch

from radlearn.models.layers import ResidualBlock


@pytest.mark.parametrize("batch", [1, 2])
def test_a_residual_block_has_one_gradient_in_every_memory_format(batch: int) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4, 2).double()
    x, wanted = torch.randn(2, batch, 4, 12, 12, dtype=torch.float64)
    gradients = []
    for form in (torch.contiguous_format, torch.channels_last):
        block.to(memory_format=form).zero_grad()
        here = x.clone(memory_format=form).requires_grad_(True)
        (block(here) * wanted.contiguous(memory_format=form)).sum().backward()
        gradients.append([here.grad, *(p.grad.clone() for p in block.parameters())])
    for plain, last in zip(*gradients, strict=True):
        torch.testing.assert_close(last, plain, rtol=1e-10, atol=1e-10)
