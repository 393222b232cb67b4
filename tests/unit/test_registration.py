"""Fields move images by known amounts, and R starts where nothing moves."""

import pytest
import torch

from radlearn.errors import InputError
from radlearn.models.registration import (
    Registration,
    RegistrationConfig,
    folding_share,
    jacobian,
    registration_config,
    smoothness,
    warp,
)

SHAPES = {2: (12, 17), 3: (6, 9, 8)}


def image(dims: int, channels: int = 2) -> torch.Tensor:
    torch.manual_seed(dims)
    return torch.rand(2, channels, *SHAPES[dims])


def uniform(dims: int, moved: list[float]) -> torch.Tensor:
    field = torch.tensor(moved).reshape(1, dims, *[1] * dims)
    return field.expand(2, dims, *SHAPES[dims])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_field_of_zeros_moves_nothing(dims: int) -> None:
    a = image(dims)
    torch.testing.assert_close(warp(a, uniform(dims, [0.0] * dims)), a)


def test_channel_0_moves_along_rows_and_channel_1_along_columns() -> None:
    a = image(2)
    moved = warp(a, uniform(2, [3.0, -2.0]))
    torch.testing.assert_close(moved[..., :-3, 2:], a[..., 3:, :-2])


def test_in_3_d_each_channel_moves_along_its_own_axis() -> None:
    a = image(3)
    moved = warp(a, uniform(3, [1.0, -2.0, 3.0]))
    torch.testing.assert_close(moved[..., :-1, 2:, :-3], a[..., 1:, :-2, 3:])


def test_outside_the_border_goes_on_and_between_pixels_is_linear() -> None:
    a = image(2)
    far = warp(a, uniform(2, [100.0, 0.0]))
    torch.testing.assert_close(far, a[..., -1:, :].expand_as(a))
    half = warp(a, uniform(2, [0.0, 0.5]))
    torch.testing.assert_close(half[..., :-1], (a[..., :-1] + a[..., 1:]) / 2)


def test_half_precision_fields_still_tell_neighbouring_pixels_apart() -> None:
    a = torch.arange(300.0).expand(1, 1, 4, 300)
    moved = warp(a.bfloat16(), torch.ones(1, 2, 4, 300, dtype=torch.bfloat16))
    assert moved.dtype == torch.float32
    torch.testing.assert_close(moved[..., :-1], a.bfloat16().float()[..., 1:])


def test_smoothness_adds_the_axes_up() -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    field = torch.stack([2 * rows, 3 * columns])[None]
    assert smoothness(field).item() == pytest.approx((4 + 0) / 2 + (0 + 9) / 2)
    assert smoothness(uniform(3, [1.0, 2.0, 3.0])).item() == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_the_jacobian_of_a_linear_field_is_its_determinant(dims: int) -> None:
    torch.manual_seed(5)
    matrix = 0.3 * torch.randn(dims, dims, dtype=torch.float64)
    places = torch.stack(
        torch.meshgrid(*(torch.arange(n).double() for n in SHAPES[dims]), indexing="ij")
    )
    field = torch.tensordot(matrix, places, 1)[None]
    expected = torch.linalg.det(matrix + torch.eye(dims))
    found = jacobian(field)
    assert found.shape[1:] == tuple(n - 1 for n in SHAPES[dims])
    torch.testing.assert_close(found, expected.expand_as(found))


def test_folding_is_counted() -> None:
    field = torch.zeros(2, 2, 9, 9)
    field[1, 0, 4:] = -1.5  # row 4 comes to lie above row 3
    share = folding_share(field)
    assert share.tolist() == [0, pytest.approx(1 / 8)]


@pytest.mark.parametrize("dims", [2, 3])
def test_r_starts_almost_at_the_identity_and_every_parameter_learns(dims: int) -> None:
    torch.manual_seed(0)
    net = Registration(registration_config("tiny", 2, dims, 17))
    moving, fixed = torch.rand(2, 1, 2, *[17, 20, 18][:dims])
    field = net(moving, fixed)
    assert field.shape == (1, dims, *[17, 20, 18][:dims])
    assert field.abs().max() < 0.01
    (warp(moving, field) - fixed).abs().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_r_learns_a_shift() -> None:
    torch.manual_seed(0)
    net = Registration(RegistrationConfig(widths=(8, 16), middle=16, blocks=1))
    moving = torch.nn.functional.avg_pool2d(torch.rand(4, 1, 36, 36), 5, 1)
    fixed = moving.roll(2, 2)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    errors = []
    for _ in range(60):
        error = (warp(moving, net(moving, fixed)) - fixed)[:, :, 4:].abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize(("side", "levels"), [(256, 7), (128, 6), (255, 6), (4, 1)])
def test_small_images_get_the_levels_that_fit(side: int, levels: int) -> None:
    config = registration_config("paper", 1, 2, side)
    assert len(config.widths) == levels
    assert config.smallest_side <= side


def test_images_too_small_are_refused_with_the_size_that_would_do() -> None:
    net = Registration(RegistrationConfig(widths=(4, 4, 4), middle=4))
    with pytest.raises(InputError, match=r"at least 16 pixels.*not 15 x 40"):
        net(torch.rand(1, 1, 15, 40), torch.rand(1, 1, 15, 40))
