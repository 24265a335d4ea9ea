"""Pose losses, one value for every pose."""

import math

import pytest
import torch

from vo3d.losses import squared_euler_error, squared_translation_error, wrap_angle


def test_translation_error_is_the_squared_norm() -> None:
    estimate = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)

    assert squared_translation_error(estimate, target).tolist() == [13.0, 0.0]


def test_euler_error_is_the_squared_norm_of_small_differences(generator: torch.Generator) -> None:
    target = torch.rand(4, 7, 3, generator=generator, dtype=torch.float64)
    difference = 0.1 * torch.randn(4, 7, 3, generator=generator, dtype=torch.float64)

    error = squared_euler_error(target + difference, target)

    assert error.shape == (4, 7)
    torch.testing.assert_close(error, difference.norm(dim=-1) ** 2)


@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 2])
def test_euler_error_does_not_see_whole_turns(turns: int, generator: torch.Generator) -> None:
    estimate, target = torch.rand(2, 10, 3, generator=generator, dtype=torch.float64)

    turned = squared_euler_error(estimate + turns * 2 * math.pi, target)

    torch.testing.assert_close(turned, squared_euler_error(estimate, target))


def test_headings_on_either_side_of_south_are_close() -> None:
    estimate = torch.tensor([math.pi - 0.01, 0.0, 0.0], dtype=torch.float64)
    target = torch.tensor([-math.pi + 0.01, 0.0, 0.0], dtype=torch.float64)

    assert squared_euler_error(estimate, target).item() == pytest.approx(0.02**2, rel=1e-9)


def test_wrapped_angles_equal_the_angle_of_their_sine_and_cosine(generator: torch.Generator) -> None:
    angle = 20 * torch.randn(1000, generator=generator, dtype=torch.float64)

    torch.testing.assert_close(wrap_angle(angle), torch.atan2(angle.sin(), angle.cos()), rtol=0, atol=1e-12)


def test_gradients_point_the_short_way_round() -> None:
    estimate = torch.tensor([3.1, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([-3.1, 0.0, 0.0], dtype=torch.float64)

    squared_euler_error(estimate, target).backward()

    assert estimate.grad is not None
    assert estimate.grad[0].item() == pytest.approx(2 * (6.2 - 2 * math.pi))  # descent raises the angle past pi


def test_gradients_are_right_away_from_the_half_turn(generator: torch.Generator) -> None:
    estimate, target = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    estimate.requires_grad_()

    assert torch.autograd.gradcheck(lambda e: squared_euler_error(e, target), (estimate,))
    assert torch.autograd.gradcheck(lambda e: squared_translation_error(e, target), (estimate,))
