"""Line searches: what they promise, where functions are not defined, and where rounding drowns the descent."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.landscapes import beale, rosenbrock
from vo3d.optim.line_search import Line, backtracking, exact_quadratic, fixed_step, named_search, strong_wolfe
from vo3d.optim.objective import FunctionObjective

ALONG = {  # functions of one variable from 0, downwards to the right
    "parabola": lambda t: (t - 3) ** 2,
    "far": lambda t: (t - 1e4) ** 2,
    "near": lambda t: (t - 1e-4) ** 2,
    "waves": lambda t: torch.cos(3 * t) - t / 5 + t**2 / 50,
    "kink": lambda t: (1 + (t - 2) ** 2).sqrt() + t / 10,
    "moré-thuente": lambda t: -t / (t**2 + 2),
    "pole": lambda t: t - torch.log((t + 1) * (5 - t)) * 3,  # nan from 5 on
}


def line_along(function, dtype: torch.dtype = torch.float64) -> Line:
    objective = FunctionObjective(lambda x: function(x).sum(), torch.Size([1]))
    start = objective.evaluate(torch.zeros(1, dtype=dtype))
    return Line(objective, start, torch.ones(1, dtype=dtype))


@pytest.mark.parametrize("name", ALONG)
@pytest.mark.parametrize("first", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("c2", [0.9, 0.1, 0.001])
def test_strong_wolfe_conditions_hold(name, first, c2) -> None:
    line = line_along(ALONG[name])
    found = strong_wolfe(line, first, c2=c2)
    assert found is not None
    assert found.f <= line.start.f + 1e-4 * found.step * line.slope
    assert abs(found.slope) <= c2 * abs(line.slope)
    assert line.objective.nfev <= 26


@pytest.mark.parametrize("name", ALONG)
def test_backtracking_halves_until_f_falls_enough(name) -> None:
    line = line_along(ALONG[name])
    found = backtracking(line, 64.0)
    assert found is not None
    assert found.f <= line.start.f + 1e-4 * found.step * line.slope
    halvings = math.log2(64 / found.step)
    assert halvings == line.objective.nfev - 2
    if halvings:
        assert not line.falls(line.at(2 * found.step), 1e-4)


def test_no_search_climbs() -> None:
    uphill = line_along(lambda t: t + t**2)
    assert backtracking(uphill, 1.0) is None
    assert strong_wolfe(uphill, 1.0) is None
    found = fixed_step(uphill, 0.5)  # goes where it is told
    assert found is not None
    assert found.f == 0.75


def test_searches_give_up_where_nothing_is_defined() -> None:
    hole = line_along(lambda t: -t + torch.where(t > 0, torch.nan, 0.0) * t)
    for search in (fixed_step, backtracking, strong_wolfe):
        assert search(hole, 1.0) is None
    endless = strong_wolfe(line_along(lambda t: -t), 1.0)
    assert endless is not None  # the best step within the evaluations, although none flattens
    assert endless.step > 1e9


def test_exact_search_finds_the_parabola() -> None:
    line = line_along(lambda t: 2 * (t - 3) ** 2)
    found = exact_quadratic(line, 1.0)
    assert found is not None
    assert found.step == pytest.approx(3, abs=1e-14)
    assert exact_quadratic(line_along(lambda t: -t - t**2), 1.0) is None


def test_what_the_method_asks_beyond_wolfe_is_sought() -> None:
    line = line_along(ALONG["waves"])
    asked = Line(line.objective, line.start, line.direction, lambda trial: abs(trial.slope) < 1e-6)
    loose, strict = strong_wolfe(line, 1.0), strong_wolfe(asked, 1.0)
    assert loose is not None
    assert strict is not None
    assert abs(strict.slope) < 1e-6 < abs(loose.slope)


@pytest.mark.parametrize("search", [strong_wolfe, partial(strong_wolfe, c2=0.1), backtracking])
def test_descent_below_rounding_is_accepted_in_float32(search) -> None:
    """Around a minimum of value 1000, f cannot tell points apart that are nearer than 0.008; slopes can."""
    line = line_along(lambda t: 1000 + (t - 1e-3) ** 2, torch.float32)
    assert float(line.at(1e-3).f) == line.start.f
    found = search(line, 0.01)
    assert found is not None
    assert abs(found.slope) < abs(line.slope)


def test_tiny_brackets_end() -> None:
    """A step that f contradicts at every length: the slope at the start points the wrong way."""

    class Liar(FunctionObjective):
        def _value_and_gradient(self, x: Tensor) -> tuple[float, Tensor]:
            f, g = super()._value_and_gradient(x)
            return f, -g

    objective = Liar(lambda x: x.sum(), torch.Size([1]))
    line = Line(objective, objective.evaluate(torch.zeros(1, dtype=torch.float64)), torch.ones(1, dtype=torch.float64))
    assert strong_wolfe(line, 1.0, max_evaluations=1000) is None
    assert objective.nfev < 400
    assert backtracking(line, 1.0) is None


@pytest.mark.parametrize("function", [beale, rosenbrock])
def test_nothing_is_differentiated_through(function) -> None:
    objective = FunctionObjective(function, torch.Size([2]))
    start = objective.evaluate(torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True).detach())
    found = strong_wolfe(Line(objective, start, -start.gradient), 1e-3)
    assert found is not None
    assert not found.point.x.requires_grad
    assert not found.point.gradient.requires_grad


def test_unknown_search_is_told() -> None:
    with pytest.raises(Vo3dError, match=r"line search 'strong-wolfe': expected one of .*; did you mean strong_wolfe\?"):
        named_search("strong-wolfe")
