"""Functions of two variables on which optimisers are watched: Beale's, a saddle, a star's bowl, and the usual others.

Each takes points (`*b 2`, float64) and returns their values (`*b`); torch differentiates them. A `Landscape` adds where
a race begins, what part of the plane is drawn, and the points that are marked.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError

Point = tuple[float, float]
Interval = tuple[float, float]
Surface = Callable[[Float64[Tensor, "*b 2"]], Float64[Tensor, "*b"]]

VALLEY_SLOPE = 1 / 500  # of the long valley's floor; its walls are x^2 / 100


@dataclass(frozen=True)
class Landscape:
    """A function with the start of a race, the part of the plane that is drawn, its minima and one saddle, if any.

    `minima` is empty where the function has none. `start` and `domain` are choices, not part of the function.
    """

    name: str
    title: str
    function: Surface
    start: Point
    domain: tuple[Interval, Interval]  # of x, of y
    minima: tuple[Point, ...]
    saddle: Point | None


def beale(at: Float64[Tensor, "*b 2"]) -> Float64[Tensor, "*b"]:
    """Compute Beale's function: (1.5 - x + xy)^2 + (2.25 - x + xy^2)^2 + (2.625 - x + xy^3)^2.

    Its minimum is 0 at (3, 0.5), its saddle at (0, 1) (Moré, Garbow and Hillstrom 1981, function 5).
    """
    x, y = at.unbind(-1)
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def saddle(at: Float64[Tensor, "*b 2"]) -> Float64[Tensor, "*b"]:
    """Compute the plainest saddle, x^2 - y^2: without a minimum, its gradient 0 at (0, 0)."""
    x, y = at.unbind(-1)
    return x**2 - y**2


def rosenbrock(at: Float64[Tensor, "*b 2"]) -> Float64[Tensor, "*b"]:
    """Compute Rosenbrock's curved valley, 100 (y - x^2)^2 + (1 - x)^2: minimum 0 at (1, 1) (Rosenbrock 1960)."""
    x, y = at.unbind(-1)
    return 100 * (y - x**2) ** 2 + (1 - x) ** 2


def himmelblau(at: Float64[Tensor, "*b 2"]) -> Float64[Tensor, "*b"]:
    """Compute Himmelblau's function, (x^2 + y - 11)^2 + (x + y^2 - 7)^2: four minima of 0 (Himmelblau 1972)."""
    x, y = at.unbind(-1)
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def long_valley(at: Float64[Tensor, "*b 2"]) -> Float64[Tensor, "*b"]:
    """Compute a straight valley whose walls, x^2 / 100, are steeper than its floor, -y / 500, which falls for ever."""
    x, y = at.unbind(-1)
    return x**2 / 100 - VALLEY_SLOPE * y


LANDSCAPES: Mapping[str, Landscape] = {
    one.name: one
    for one in (
        Landscape(
            "beale", "Beale's function", beale, (1.0, 1.5), ((-4.5, 4.5), (-4.5, 4.5)), ((3.0, 0.5),), (0.0, 1.0)
        ),
        Landscape("saddle", "A saddle, x² - y²", saddle, (1.0, 1e-6), ((-1.5, 1.5), (-1.5, 1.5)), (), (0.0, 0.0)),
        Landscape(
            "rosenbrock",
            "Rosenbrock's function",
            rosenbrock,
            (-1.2, 1.0),
            ((-2.0, 2.0), (-1.0, 3.0)),
            ((1.0, 1.0),),
            None,
        ),
        Landscape(
            "himmelblau",
            "Himmelblau's function",
            himmelblau,
            (0.0, -1.0),
            ((-5.0, 5.0), (-5.0, 5.0)),
            (
                (3.0, 2.0),
                (-2.805118086952745, 3.131312518250573),
                (-3.779310253377747, -3.283185991286170),
                (3.584428340330492, -1.848126526964404),
            ),
            (0.08667750455539634, 2.884254701174776),
        ),
        Landscape("long_valley", "A long valley", long_valley, (4.0, 0.0), ((-6.0, 6.0), (-1.0, 11.0)), (), None),
    )
}


def star(seed: int = 0, condition: float = 20.0) -> Landscape:
    """Make a convex bowl around a target drawn from `seed`, the "star" that optimisers are to reach from (0, 0).

    The bowl is (p - t)^T A (p - t) / 2 with eigenvalues 1 / condition and 1 of A. The target t lies at a distance of 2
    to 3 and the axes of the bowl are turned, both at random, so that no coordinate is favoured.
    Raises Vo3dError when the condition number is less than 1.
    """
    if not 1 <= condition < math.inf:
        raise Vo3dError(f"a star with the condition number {condition}: expected 1 or more")
    draws = torch.rand(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    distance, bearing, turn = 2 + float(draws[0]), 2 * math.pi * float(draws[1]), math.pi * float(draws[2])
    target = (distance * math.cos(bearing), distance * math.sin(bearing))
    cos, sin = math.cos(turn), math.sin(turn)

    def bowl(at: Float64[Tensor, "*b 2"]) -> Float64[Tensor, "*b"]:
        x, y = (at - at.new_tensor(target)).unbind(-1)
        return ((cos * x + sin * y) ** 2 / condition + (cos * y - sin * x) ** 2) / 2

    half = 4.0  # the target and the start, with room for what overshoots
    return Landscape(
        "star",
        f"A star in a bowl of condition number {condition:g}",
        bowl,
        (0.0, 0.0),
        ((target[0] / 2 - half, target[0] / 2 + half), (target[1] / 2 - half, target[1] / 2 + half)),
        (target,),
        None,
    )
