"""Ten functions on which minimisers are compared, each with its usual start; the least value of each is 0."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vo3d.optim.landscapes import beale, himmelblau, rosenbrock


def booth(x: Tensor) -> Tensor:
    """A quadratic of two variables; minimum at (1, 3)."""
    return (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2


def rosenbrock_chain(x: Tensor) -> Tensor:
    """Rosenbrock's valley through all coordinates."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def wood(x: Tensor) -> Tensor:
    """Moré, Garbow and Hillstrom 1981, function 14; a saddle's neighbourhood lies on the way."""
    a, b, c, d = x
    return (
        100 * (b - a**2) ** 2
        + (1 - a) ** 2
        + 90 * (d - c**2) ** 2
        + (1 - c) ** 2
        + 10 * (b + d - 2) ** 2
        + (b - d) ** 2 / 10
    )


def powell_singular(x: Tensor) -> Tensor:
    """Moré, Garbow and Hillstrom 1981, function 13; the Hessian is singular at the minimum."""
    a, b, c, d = x
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


def helical_valley(x: Tensor) -> Tensor:
    """Moré, Garbow and Hillstrom 1981, function 7."""
    a, b, c = x
    turns = torch.atan2(b, a) / (2 * torch.pi)
    return 100 * ((c - 10 * turns) ** 2 + ((a**2 + b**2).sqrt() - 1) ** 2) + c**2


def brown_almost_linear(x: Tensor) -> Tensor:
    """Moré, Garbow and Hillstrom 1981, function 27."""
    return ((x[:-1] + x.sum() - len(x) - 1) ** 2).sum() + (x.prod() - 1) ** 2


def broyden_tridiagonal(x: Tensor) -> Tensor:
    """Moré, Garbow and Hillstrom 1981, function 30."""
    edge = x.new_zeros(1)
    padded = torch.cat((edge, x, edge))
    return (((3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1) ** 2).sum()


Function = Callable[[Tensor], Tensor]
STANDARD: Mapping[str, tuple[Function, list[float]]] = {
    "booth": (booth, [0.0, 0.0]),
    "beale": (beale, [1.0, 1.5]),
    "rosenbrock": (rosenbrock, [-1.2, 1.0]),
    "himmelblau": (himmelblau, [0.0, -1.0]),
    "helical valley": (helical_valley, [-1.0, 0.0, 0.0]),
    "wood": (wood, [-3.0, -1.0, -3.0, -1.0]),
    "powell singular": (powell_singular, [3.0, -1.0, 0.0, 1.0]),
    "rosenbrock chain": (rosenbrock_chain, [0.0] * 10),
    "brown almost linear": (brown_almost_linear, [0.5] * 5),
    "broyden tridiagonal": (broyden_tridiagonal, [-1.0] * 20),
}
