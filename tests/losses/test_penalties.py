"""Penalties of residuals against their formulas."""

import math

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.losses import absolute, charbonnier, huber, squared

PENALTIES = {
    "absolute": (absolute, abs),
    "squared": (squared, lambda r: r * r),
    "huber": (lambda r: huber(r, 0.7), lambda r: r * r / 2 if abs(r) <= 0.7 else 0.7 * (abs(r) - 0.35)),
    "charbonnier": (lambda r: charbonnier(r, 0.3), lambda r: math.sqrt(r * r + 0.09)),
}
every_penalty = pytest.mark.parametrize("name", PENALTIES)


def _residuals() -> torch.Tensor:
    """A 2-D grid from -3 to 3 that is never 0 nor at the border of huber's square part."""
    return torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(5, 12)


@every_penalty
def test_penalties_equal_their_formulas_and_keep_the_shape(name: str) -> None:
    function, formula = PENALTIES[name]
    r = _residuals()
    expected = torch.tensor([[formula(float(value)) for value in row] for row in r], dtype=torch.float64)
    torch.testing.assert_close(function(r), expected, rtol=1e-14, atol=0)


@every_penalty
def test_slopes_equal_finite_differences(name: str) -> None:
    function, formula = PENALTIES[name]
    r = _residuals().requires_grad_()
    function(r).sum().backward()
    step = 1e-5
    slope = [[(formula(v + step) - formula(v - step)) / (2 * step) for v in row] for row in r.tolist()]
    assert r.grad is not None
    torch.testing.assert_close(r.grad, torch.tensor(slope, dtype=torch.float64), rtol=0, atol=1e-8)


@every_penalty
def test_penalties_are_even_least_at_zero_and_have_no_slope_there(name: str) -> None:
    function, _ = PENALTIES[name]
    r = _residuals()
    assert torch.equal(function(r), function(-r))
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    least = function(zero)
    least.backward()
    assert zero.grad is not None
    assert zero.grad.item() == 0
    assert (function(r) > least).all()


def test_huber_is_half_the_square_inside_and_straight_outside() -> None:
    inside, outside = torch.linspace(-0.7, 0.7, 9).double(), torch.tensor([0.8, 5.0, -80.0]).double()
    torch.testing.assert_close(huber(inside, 0.7), 0.5 * squared(inside))
    slopes = torch.func.vmap(torch.func.grad(lambda r: huber(r, 0.7)))(outside)
    assert slopes.tolist() == [0.7, 0.7, -0.7]
    torch.testing.assert_close(huber(outside, 1e6), 0.5 * squared(outside))  # delta to infinity
    torch.testing.assert_close(huber(outside, 1e-9) / 1e-9, absolute(outside), rtol=0, atol=1e-9)  # and to 0


def test_huber_over_delta_is_the_smooth_l1_of_torch() -> None:
    r = _residuals()
    expected = torch.nn.functional.smooth_l1_loss(r, torch.zeros_like(r), beta=0.7, reduction="none")
    torch.testing.assert_close(huber(r, 0.7) / 0.7, expected)


def test_charbonnier_becomes_the_absolute_value() -> None:
    r = torch.tensor([-1e30, -5.0, 0.0, 1e-3, 7.0, 1e30])  # squares of float32 would be infinite
    for eps in (1e-3, 1e-6, 1e-9):
        error = (charbonnier(r, eps) - absolute(r)).abs()
        assert (error <= eps * (1 + 1e-6) + 1e-6 * r.abs()).all()
    assert charbonnier(torch.zeros(1), 0.25).item() == 0.25


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan])
def test_widths_must_be_positive(width: float) -> None:
    with pytest.raises(Vo3dError, match="huber with delta"):
        huber(torch.zeros(1), width)
    with pytest.raises(Vo3dError, match="charbonnier with eps"):
        charbonnier(torch.zeros(1), width)
