"""Line searches, along a direction: each takes a line and the first length to try, and returns a trial or None.

None says that no length was acceptable. Values that are not finite count as too high, so every search but the fixed
step shrinks until it is back where the function is defined. Nothing here is differentiated through.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch

from vo3d.optim.choice import choose
from vo3d.optim.objective import Iterate, Objective, Vector

NOISE = 10.0  # values nearer than this many eps * |f| are equal: rounding, not descent, tells them apart


@dataclass(frozen=True)
class Trial:
    """A point on a line: `step` along it, what was found there, and the slope of f along the line (g . p)."""

    step: float
    point: Iterate
    slope: float

    @property
    def f(self) -> float:
        """The value there."""
        return self.point.f

    @property
    def finite(self) -> bool:
        """Tell whether value and slope are numbers."""
        return math.isfinite(self.f) and math.isfinite(self.slope)


@dataclass(frozen=True)
class Line:
    """From `start` along `direction`. `accepts` is what the method asks of a step beyond the search's own tests."""

    objective: Objective
    start: Iterate
    direction: Vector
    accepts: Callable[[Trial], bool] = lambda _: True

    @cached_property
    def origin(self) -> Trial:
        """The start as the trial of length 0."""
        return Trial(0.0, self.start, float(self.start.gradient @ self.direction))

    @property
    def slope(self) -> float:
        """Of f along the line at its start; below 0 where the direction descends."""
        return self.origin.slope

    def at(self, step: float) -> Trial:
        """Evaluate the point at `step`."""
        point = self.objective.evaluate(self.start.x + step * self.direction)
        return Trial(step, point, float(point.gradient @ self.direction))

    @cached_property
    def noise(self) -> float:
        """The difference of two values that says nothing: 10 eps |f|, which matters in float32 near a minimum."""
        return NOISE * torch.finfo(self.start.x.dtype).eps * abs(self.start.f)

    def falls(self, trial: Trial, c1: float) -> bool:
        """Tell whether f fell enough: f(t) <= f(0) + c1 t f'(0) (Armijo 1966); within the noise, whether |f'| fell."""
        flatter = abs(trial.f - self.start.f) <= self.noise and abs(trial.slope) < abs(self.slope)
        return trial.finite and (flatter or self.start.f > trial.f <= self.start.f + c1 * trial.step * self.slope)


LineSearch = Callable[[Line, float], Trial | None]


def fixed_step(line: Line, first_step: float) -> Trial | None:
    """Go `first_step`, up or down; None only where the value is not finite."""
    trial = line.at(first_step)
    return trial if trial.finite else None


def exact_quadratic(line: Line, first_step: float) -> Trial | None:
    """Go to the minimum of the parabola along the line, t = -g.p / p.Hp: the exact search where f is quadratic."""
    curvature = float(line.direction @ line.objective.hessian_product(line.start.x, line.direction))
    return fixed_step(line, -line.slope / curvature) if curvature > 0 else None


def backtracking(
    line: Line, first_step: float, c1: float = 1e-4, factor: float = 0.5, max_evaluations: int = 40
) -> Trial | None:
    """Shorten the step by `factor` until f falls enough: f(t) <= f(0) + c1 t f'(0) (Armijo 1966)."""
    if not line.slope < 0:
        return None
    for shortened in range(max_evaluations):
        trial = line.at(first_step * factor**shortened)
        if line.falls(trial, c1) and line.accepts(trial):
            return trial
    return None


def strong_wolfe(
    line: Line, first_step: float, c1: float = 1e-4, c2: float = 0.9, max_evaluations: int = 25
) -> Trial | None:
    """Find a step where f falls enough and has flattened: Armijo's condition and |f'(t)| <= c2 |f'(0)|.

    `low` is the best step so far that falls enough; with `high` it brackets an acceptable step. Until there is a
    bracket the steps grow, then it is narrowed, each time by the minimum of the cubic through both ends (Nocedal and
    Wright 2006, algorithms 3.5 and 3.6). When `max_evaluations` are spent, the best step so far is returned, if any.
    """
    if not (line.slope < 0 < first_step):
        return None
    low, high = line.origin, None
    step = first_step
    for _ in range(max_evaluations):
        trial = line.at(step)
        before = low
        if not line.falls(trial, c1) or trial.f > low.f + line.noise:
            high = trial
        elif abs(trial.slope) <= c2 * abs(line.slope) and line.accepts(trial):
            return trial
        else:
            towards = 1.0 if high is None else high.step - low.step
            if trial.slope * towards >= 0:
                high = low
            low = trial
        step = _beyond(before, low) if high is None else _between(low, high)
        if high is not None and step in {low.step, high.step}:
            break  # no number is left between them
    return low if low.step > 0 else None


def _beyond(before: Trial, last: Trial) -> float:
    """A longer step: to the cubic's minimum, but by 1.1 to 4 times the last advance."""
    advance = last.step - before.step
    least, most = last.step + 1.1 * advance, last.step + 4 * advance
    step = _cubic_minimum(before, last)
    return min(max(step, least), most) if step > last.step else most


def _between(low: Trial, high: Trial) -> float:
    """A step inside the bracket: the cubic's minimum, a tenth of the bracket away from its ends at least."""
    width = high.step - low.step  # below 0 where `high` lies before `low`
    if not high.finite:
        return low.step + 0.1 * width
    share = (_cubic_minimum(low, high) - low.step) / width
    return low.step + min(max(share, 0.1), 0.9) * width if math.isfinite(share) else low.step + 0.5 * width


def _cubic_minimum(a: Trial, b: Trial) -> float:
    """Find the step at which the cubic with both trials' values and slopes is least; nan without a minimum.

    t = b - (b - a) (f'_b + d2 - d1) / (f'_b - f'_a + 2 d2), d1 = f'_a + f'_b - 3 (f_a - f_b) / (a - b),
    d2 = sign(b - a) sqrt(d1^2 - f'_a f'_b) (Nocedal and Wright 2006, equation 3.59).
    """
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    divisor = b.slope - a.slope + 2 * d2
    return b.step - (b.step - a.step) * (b.slope + d2 - d1) / divisor if divisor else math.nan


def named_search(name: str, c2: float = 0.9) -> LineSearch:
    """Give the search called `name`; `c2` is the flattening that strong_wolfe asks for.

    Raises Vo3dError for a name that is none.
    """
    searches: Mapping[str, LineSearch] = {
        "fixed": fixed_step,
        "backtracking": backtracking,
        "strong_wolfe": partial(strong_wolfe, c2=c2),
        "exact_quadratic": exact_quadratic,
    }
    return choose("line search", name, searches)
