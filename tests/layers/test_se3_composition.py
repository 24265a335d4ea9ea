"""The composition layer against the product of matrices, and its gradients where formulas divide by zero."""

import math

import pytest
import torch

from vo3d.geometry import se3
from vo3d.layers.se3_composition import compose_twists, seven_from_pose


def test_a_thousand_steps_in_float32_equal_the_product_of_matrices() -> None:
    torch.manual_seed(0)
    xi = torch.randn(2, 1000, 6, dtype=torch.float64) * 0.02  # walks that end within a few metres
    expected = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    rows = []
    for step in se3.exp(xi).unbind(1):
        expected = expected @ step
        rows.append(expected)

    found = compose_twists(xi.float())

    assert found.dtype == torch.float32
    assert (found.double() - torch.stack(rows, 1)).abs().max() < 1e-5


def test_steps_multiply_on_the_right_behind_the_start() -> None:
    torch.manual_seed(0)
    xi, start = torch.randn(3, 6, dtype=torch.float64), se3.exp(torch.randn(6, dtype=torch.float64))
    poses = compose_twists(xi, start)
    assert torch.allclose(poses[0], start @ se3.exp(xi[0]))
    assert torch.allclose(poses[2], start @ se3.exp(xi[0]) @ se3.exp(xi[1]) @ se3.exp(xi[2]))


def test_gradients_at_no_motion_are_right() -> None:
    xi = torch.zeros(1, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(compose_twists, (xi,))


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 1e-2, math.pi - 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_the_seven_numbers_are_finite(angle: float, dtype: torch.dtype) -> None:
    for axis in torch.eye(3, dtype=dtype):
        xi = torch.cat((torch.ones(3, dtype=dtype), angle * axis)).repeat(1, 1).requires_grad_()
        seven_from_pose(compose_twists(xi)).sum().backward()
        assert xi.grad is not None
        assert xi.grad.isfinite().all()
        assert xi.grad[:, 3:].abs().max() > 0.1  # of a rotation, which a branch at zero would lose


def test_a_constant_rate_is_a_rotation_by_rate_times_time() -> None:
    rate, steps = 0.1, 20
    xi = torch.tensor([0.0, 0.0, 0.0, 0.0, rate, 0.0], dtype=torch.float64).expand(steps, 6)
    pose = compose_twists(xi)[-1]
    assert torch.allclose(pose, se3.exp(steps * xi[0]), atol=1e-14)
