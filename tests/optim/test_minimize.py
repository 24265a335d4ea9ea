"""`minimize` beside scipy on ten standard functions, on awkward input, and its errors."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import OptimizeResult
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor
from torch.nn.functional import grid_sample

from standard_functions import STANDARD
from vo3d.errors import Vo3dError
from vo3d.optim import minimize
from vo3d.optim.landscapes import beale, rosenbrock, saddle
from vo3d.optim.objective import FunctionObjective

GTOL = 1e-6
PEERS = {  # ours: scipy's
    "cg": "CG",
    "bfgs": "BFGS",
    "dfp": "BFGS",
    "sr1": "BFGS",
    "lbfgs": "L-BFGS-B",
    "newton": "trust-exact",
    "newton-cg": "Newton-CG",
}
METHODS = ("gd", *PEERS)


def start_of(name: str, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(STANDARD[name][1], dtype=dtype)


@cache
def scipy_minimum(name: str, peer: str) -> OptimizeResult:
    f = STANDARD[name][0]

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(x.copy()).requires_grad_()
        value = f(at)
        return float(value.detach()), torch.autograd.grad(value, at)[0].numpy()

    def hessian(x: np.ndarray) -> np.ndarray:
        return torch.autograd.functional.hessian(f, torch.from_numpy(x.copy())).numpy()

    # scipy's Newton-CG runs without end on Wood's function
    second = peer in {"trust-exact", "Newton-CG"}
    options = {"L-BFGS-B": {"gtol": GTOL, "ftol": 1e-16}, "Newton-CG": {"xtol": 1e-8, "maxiter": 150}}.get(
        peer, {"gtol": GTOL}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that rounding ended the search
        return scipy_minimize(
            value_and_gradient,
            start_of(name).numpy(),
            jac=True,
            hess=hessian if second else None,
            method=peer,
            options=options,
        )


@pytest.mark.parametrize("name", STANDARD)
def test_scipys_value_in_at_most_twice_its_iterations(name: str) -> None:
    for ours, peer in PEERS.items():
        found, theirs = minimize(STANDARD[name][0], start_of(name), ours, gtol=GTOL), scipy_minimum(name, peer)
        told = f"{name}: {ours} {found.nit} iterations to {found.f:.1e}, {peer} {theirs.nit} to {theirs.fun:.1e}"
        print(told)  # noqa: T201 - the table: pytest -s
        assert found.success, told
        assert float(found.gradient.abs().max()) <= GTOL, told
        assert found.f <= theirs.fun + 1e-8, told
        assert found.f <= 1e-8, told  # also where scipy ended early
        assert found.nit <= 2 * theirs.nit, told


def test_steepest_descent_goes_down_slowly() -> None:
    bowl = minimize(lambda x: (torch.tensor([1.0, 20.0]) * x**2).sum(), torch.tensor([3.0, 1.0]), "gd", history=True)
    assert bowl.success
    assert bowl.values is not None
    assert bool((bowl.values.diff() < 0).all())
    valley = minimize(rosenbrock, start_of("rosenbrock"), "gd", max_iter=100)
    assert (valley.status, valley.success, valley.nit) == ("iterations", False, 100)
    assert 0 < valley.f < 24.2 / 2


def test_fixed_steps_are_gradient_descent() -> None:
    found = minimize(
        beale, torch.tensor([1.0, 1.5], dtype=torch.float64), "gd", line_search="fixed", lr=0.005, max_iter=300
    )
    x = np.array([1.0, 1.5])
    for _ in range(300):
        a, b, c = (v - x[0] + x[0] * x[1] ** k for k, v in ((1, 1.5), (2, 2.25), (3, 2.625)))
        gx = 2 * (a * (x[1] - 1) + b * (x[1] ** 2 - 1) + c * (x[1] ** 3 - 1))
        gy = 2 * x[0] * (a + 2 * b * x[1] + 3 * c * x[1] ** 2)
        x = x - 0.005 * np.array([gx, gy])
    np.testing.assert_allclose(found.x, x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.x, (2.610, 0.384), rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_record_of_a_search(method: str) -> None:
    calls = []

    def f(x: Tensor) -> Tensor:  # any shape
        calls.append(x.shape)
        return ((x - torch.arange(6.0, dtype=x.dtype).view(2, 3)) ** 2).sum() + 7

    start = torch.ones(2, 3, dtype=torch.float64)
    found = minimize(f, start, method, history=True)
    assert set(calls) == {torch.Size([2, 3])}
    assert found.nfev == found.njev <= len(calls) <= found.nfev + found.nhev + 1
    assert (found.nhev > 0) == method.startswith("newton")
    assert found.success
    assert found.x.shape == found.gradient.shape == start.shape
    assert torch.equal(start, torch.ones(2, 3, dtype=torch.float64))
    assert found.history is not None
    assert found.values is not None
    assert found.history.shape == (found.nit + 1, 2, 3)
    assert torch.equal(found.history[0], start)
    assert torch.equal(found.history[-1], found.x)
    assert float(found.values[-1]) == found.f == pytest.approx(7, abs=1e-9)
    assert not found.x.requires_grad


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_float32_ends_near_the_minimum(method: str, offset: float) -> None:
    found = minimize(lambda x: (torch.tensor([1.0, 3.0]) * x**2).sum() + offset, torch.tensor([3.0, -2.0]), method)
    assert found.success, found.message
    assert found.nit < 60
    assert found.f - offset <= 1e-6 * max(1.0, 2 * offset)


@pytest.mark.parametrize("method", METHODS)
def test_searches_shrink_where_the_function_is_not_defined(method: str) -> None:
    found = minimize(lambda x: (x - x.log()).sum(), torch.tensor([3.0, 20.0], dtype=torch.float64), method)
    assert found.status == "gradient"
    torch.testing.assert_close(found.x, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-4)


def test_ends_that_are_no_success() -> None:
    undefined = minimize(lambda x: x.log().sum(), torch.tensor([-1.0]))
    assert (undefined.status, undefined.nit, undefined.success) == ("not_finite", 0, False)
    assert "not finite" in undefined.message
    wall = minimize(lambda x: torch.where(x < 1, torch.nan, x).sum(), torch.tensor([1.0]))
    assert (wall.status, wall.success) == ("line_search", False)
    assert float(wall.x) == 1
    endless = minimize(saddle, torch.tensor([1.0, 0.1], dtype=torch.float64), max_iter=3)
    assert (endless.status, endless.nit) == ("iterations", 3)
    for method in ("cg", "lbfgs", "bfgs", "dfp", "sr1"):  # no step flattens it, however often the search starts anew
        unbounded = minimize(lambda x: x.sum(), torch.tensor([1.0, 2.0]), method)
        assert (unbounded.status, unbounded.success) == ("line_search", False), method
    at_rest = minimize(lambda x: (x**4).sum(), torch.zeros(3), "newton")
    assert (at_rest.status, at_rest.nit, at_rest.success) == ("gradient", 0, True)
    flat = minimize(lambda x: 1e6 + x.exp().sum(), torch.zeros(1, dtype=torch.float64), ftol=1e-3)
    assert (flat.status, flat.success) == ("change", True)


def seen_from(shift: Tensor) -> Tensor:
    """An image, looked at with an offset, through grid_sample."""
    ys, xs = torch.meshgrid(*2 * [torch.linspace(-1, 1, 9, dtype=torch.float64)], indexing="ij")
    image = torch.sin(2 * xs) * torch.cos(ys) + xs
    grid = torch.stack((xs, ys), dim=-1) * 0.6 + shift
    return (grid_sample(image[None, None], grid[None], align_corners=True) ** 2).sum()


@pytest.mark.parametrize("f", [rosenbrock, lambda x: (x**3).prod(), lambda x: x[0] + x[1] ** 2, seen_from, torch.sum])
def test_hessian_products_equal_differences_of_gradients(f) -> None:
    objective = FunctionObjective(f, torch.Size([2]))
    x, v = torch.tensor([0.123, -0.077], dtype=torch.float64), torch.tensor([0.7, -1.1], dtype=torch.float64)
    ahead, behind = (objective.evaluate(x + side * 1e-6 * v).gradient for side in (1, -1))
    expected = (ahead - behind) / 2e-6
    product = objective.hessian_product(x, v)
    torch.testing.assert_close(product, expected, rtol=1e-6, atol=1e-7)
    hessian = objective.hessian(x)
    torch.testing.assert_close(hessian @ v, product, rtol=1e-12, atol=1e-12)
    assert torch.equal(hessian, hessian.mT)
    assert (objective.nfev, objective.njev, objective.nhev) == (2, 2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "bfg"}, r"method 'bfg': expected one of gd, cg, bfgs, .*; did you mean bfgs\?"),
        ({"line_search": "strong_wolf"}, r"line search 'strong_wolf': expected one of .*; did you mean strong_wolfe\?"),
        ({"gtol": -1e-5}, "gtol is -1e-05: expected a number of at least 0"),
        ({"ftol": float("nan")}, "ftol is nan: expected a number of at least 0"),
        ({"max_iter": 0}, "max_iter is 0: expected 1 or more"),
        ({"lr": 0.0}, "lr is 0.0: expected a number above 0"),
        ({"lr": float("inf")}, "lr is inf: expected a number above 0"),
        ({"x0": torch.ones(2, dtype=torch.int64)}, r"x0 is \(2,\) of torch.int64: expected real numbers"),
        ({"x0": torch.ones(0)}, r"x0 is \(0,\) of torch.float32: .* one or more"),
        ({"f": lambda x: x**2}, r"returned \(3,\): expected a tensor of one element"),
        ({"f": lambda x: float(x.detach().sum())}, "returned float: expected a tensor of one element"),
        ({"f": lambda x: x.detach().sum()}, "returned a value without a gradient: compute it from x by torch"),
    ],
)
def test_mistakes_are_told_in_one_line(settings, message: str) -> None:
    call = {"f": lambda x: (x**2).sum(), "x0": torch.ones(3)} | settings
    with pytest.raises(Vo3dError, match=message) as caught:
        minimize(**call)
    assert "\n" not in str(caught.value)
