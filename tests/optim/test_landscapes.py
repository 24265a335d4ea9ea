"""Landscapes: values worked out by hand, flat where they say so, and curved as they say."""

import math

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.landscapes import LANDSCAPES, Landscape, beale, himmelblau, long_valley, rosenbrock, saddle, star

ALL = [*LANDSCAPES.values(), star(), star(seed=7, condition=1.0)]
each = pytest.mark.parametrize("landscape", ALL, ids=lambda one: one.name)


def at(*point: float) -> Tensor:
    return torch.tensor(point, dtype=torch.float64)


def gradient(landscape: Landscape, point: Tensor) -> Tensor:
    return torch.func.grad(landscape.function)(point)


def curvatures(landscape: Landscape, point: Tensor) -> list[float]:
    hessian = torch.autograd.functional.hessian(landscape.function, point)
    values: list[float] = torch.linalg.eigvalsh(hessian).tolist()
    return values


@pytest.mark.parametrize(
    ("function", "point", "value"),
    [
        (beale, (1.0, 1.5), 41.25),
        (beale, (3.0, 4.0), 10.5**2 + 47.25**2 + 191.625**2),  # 39063.3
        (beale, (0.0, 1.0), 1.5**2 + 2.25**2 + 2.625**2),
        (saddle, (1.0, 2.0), -3.0),
        (rosenbrock, (-1.2, 1.0), 24.2),
        (himmelblau, (0.0, 0.0), 170.0),
        (himmelblau, (1.0, 2.0), 8.0**2 + 2.0**2),
        (long_valley, (3.0, 5.0), 0.08),
    ],
)
def test_values_by_hand(function: object, point: tuple[float, float], value: float) -> None:
    assert callable(function)
    assert float(function(at(*point))) == pytest.approx(value, rel=1e-14)


@each
def test_points_are_taken_in_any_batch_shape(landscape: Landscape) -> None:
    points = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = landscape.function(points)
    assert values.shape == (3, 4)
    one_by_one = torch.stack([landscape.function(point) for point in points.reshape(-1, 2)]).reshape(3, 4)
    assert torch.allclose(values, one_by_one, rtol=1e-14, atol=0)


@each
def test_minima_are_flat_and_lowest(landscape: Landscape) -> None:
    for minimum in landscape.minima:
        point = at(*minimum)
        assert float(landscape.function(point)) == pytest.approx(0, abs=1e-20)
        assert float(gradient(landscape, point).abs().max()) < 1e-10
        assert min(curvatures(landscape, point)) > 0
    # nothing in the picture lies lower, and a function without a minimum reaches its least value at the picture's edge
    (x0, x1), (y0, y1) = landscape.domain
    x, y = torch.linspace(x0, x1, 201, dtype=torch.float64), torch.linspace(y0, y1, 201, dtype=torch.float64)
    values = landscape.function(torch.cartesian_prod(x, y)).reshape(201, 201)
    inside = values[1:-1, 1:-1].min()
    assert (inside >= 0) if landscape.minima else (inside > values.min())


@each
def test_saddle_is_flat_and_curves_both_ways(landscape: Landscape) -> None:
    if landscape.saddle is None:
        assert landscape.name in {"rosenbrock", "long_valley", "star"}
        return
    point = at(*landscape.saddle)
    assert float(gradient(landscape, point).abs().max()) < 1e-10
    low, high = curvatures(landscape, point)
    assert low < -0.1 < 0.1 < high


@each
def test_start_and_marks_are_in_the_picture(landscape: Landscape) -> None:
    for x, y in (landscape.start, *landscape.minima, *([landscape.saddle] if landscape.saddle else [])):
        assert landscape.domain[0][0] < x < landscape.domain[0][1]
        assert landscape.domain[1][0] < y < landscape.domain[1][1]


def test_long_valley_falls_evenly() -> None:
    for y in (0.0, 3.0, 1e6):
        assert gradient(LANDSCAPES["long_valley"], at(0.0, y)).tolist() == [0.0, -0.002]


def test_star_has_the_condition_it_states_and_a_target_of_its_seed() -> None:
    low, high = curvatures(star(seed=3, condition=50.0), at(0.3, -2.0))
    assert high / low == pytest.approx(50)
    assert star(seed=3).minima == star(seed=3).minima != star(seed=4).minima
    assert all(2 <= math.hypot(*star(seed=seed).minima[0]) <= 3 for seed in range(20))
    with pytest.raises(Vo3dError, match=r"condition number 0\.5: expected 1 or more"):
        star(condition=0.5)
