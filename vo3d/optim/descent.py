"""The loop that every second-order method shares: choose a direction, search along it, learn from the step.

`minimize` runs it on a function: a start and a method in; the minimum, and what it took to find it, out.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.choice import choose
from vo3d.optim.directions import Direction, Memory, NonlinearCG, SteepestDescent
from vo3d.optim.line_search import NOISE, Line, LineSearch, Trial, named_search
from vo3d.optim.newton import ExactNewton, NewtonCG
from vo3d.optim.objective import FunctionObjective, Iterate, Objective
from vo3d.optim.quasi_newton import LimitedMemory, QuasiNewton

METHODS: Mapping[str, Callable[[], Direction]] = {
    "gd": SteepestDescent,
    "cg": NonlinearCG,
    "bfgs": lambda: QuasiNewton("bfgs"),
    "dfp": lambda: QuasiNewton("dfp"),
    "sr1": lambda: QuasiNewton("sr1"),
    "lbfgs": LimitedMemory,
    "newton": ExactNewton,
    "newton-cg": NewtonCG,
}

REASONS = {
    "gradient": "the largest entry of the gradient is at most gtol",
    "change": "the value no longer changes by more than ftol of its size",
    "iterations": "max_iter iterations are spent",
    "line_search": "the line search found no acceptable step, not even along -g",
    "not_finite": "the value or the gradient at the start is not finite",
}


@dataclass(frozen=True)
class Stopping:
    """The conditions for an end: max|g| <= gtol, |f - f'| <= ftol max(|f|, |f'|), or after max_iter iterations.

    `ftol` None is 10 eps of the numbers' type: below it a change is rounding.
    Raises Vo3dError for tolerances below 0 and max_iter below 1.
    """

    gtol: float = 1e-5
    ftol: float | None = None
    max_iter: int = 1000

    def __post_init__(self) -> None:
        for name, value in (("gtol", self.gtol), ("ftol", self.ftol)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise Vo3dError(f"{name} is {value}: expected a number of at least 0")
        if self.max_iter < 1:
            raise Vo3dError(f"max_iter is {self.max_iter}: expected 1 or more")

    def reason(self, before: Iterate | None, at: Iterate, nit: int) -> str | None:
        """Tell why to stop at `at`, reached from `before` after `nit` iterations: a key of `REASONS`; None: go on."""
        if before is None and not at.finite:
            return "not_finite"
        if float(at.gradient.abs().max()) <= self.gtol:
            return "gradient"
        ftol = NOISE * torch.finfo(at.x.dtype).eps if self.ftol is None else self.ftol
        if before is not None and abs(before.f - at.f) <= ftol * max(abs(before.f), abs(at.f)):
            return "change"
        return "iterations" if nit == self.max_iter else None


@dataclass(frozen=True)
class Descent:
    """The end of a descent: the point, the number of iterations, and the reason, a key of `REASONS`."""

    at: Iterate
    nit: int
    status: str


def descend(
    objective: Objective,
    start: Iterate,
    rule: Direction,
    search: LineSearch,
    stopping: Stopping,
    *,
    lr: float = 1.0,
    memory: Memory | None = None,
    watch: Callable[[Iterate], None] = lambda _: None,
) -> Descent:
    """Go down from `start` until `stopping` says so; `memory` is changed in place, `watch` sees every new iterate.

    Every search first tries `lr` times the length that the rule suggests.
    """
    memory = {} if memory is None else memory
    before, at, nit = None, start, 0
    while not (reason := stopping.reason(before, at, nit)):
        trial = _advance(objective, at, rule, search, lr, memory)
        if trial is None:
            return Descent(at, nit, "line_search")
        before, at, nit = at, trial.point, nit + 1
        watch(at)
    return Descent(at, nit, reason)


def _advance(
    objective: Objective, at: Iterate, rule: Direction, search: LineSearch, lr: float, memory: Memory
) -> Trial | None:
    """Do one iteration; if the search fails, another one without what was remembered."""
    remembers = bool(memory)  # a rule may write into it while it chooses
    line = Line(objective, at, rule.direction(objective, at, memory), lambda trial: rule.accepts(line, trial))
    trial = search(line, lr * rule.first_step(line, memory))
    if trial is None and remembers:
        memory.clear()
        return _advance(objective, at, rule, search, lr, memory)
    if trial is not None:
        rule.remember(line, trial, memory)
    return trial


@dataclass(frozen=True)
class Minimum:
    """The result of `minimize`.

    `x` and `gradient` have the shape of the start. `nit` counts iterations, `nfev` values, `njev` gradients, `nhev`
    products with the Hessian (a whole Hessian is n of them). `status` is a word, "gradient" and "change" for success,
    and `message` the reason in full. `history`, where asked for, holds every iterate, the start first, and `values`
    the value at each.
    """

    x: Tensor
    f: float
    gradient: Tensor
    nit: int
    nfev: int
    njev: int
    nhev: int
    status: str
    message: str
    success: bool
    history: Float[Tensor, "k *shape"] | None = None
    values: Float[Tensor, " k"] | None = None


def minimize(
    f: Callable[[Tensor], Tensor],
    x0: Tensor,
    method: str | Direction = "bfgs",
    *,
    line_search: str | LineSearch | None = None,
    lr: float = 1.0,
    gtol: float = 1e-5,
    ftol: float | None = None,
    max_iter: int = 1000,
    history: bool = False,
) -> Minimum:
    """Find a local minimum of `f`, which torch can differentiate, from `x0` (any shape and device; float64 advised).

    Methods: "gd" (steepest descent), "cg" (non-linear conjugate gradients, PR+), "bfgs", "dfp", "sr1", "lbfgs" (ten
    pairs), "newton" (exact), "newton-cg" (truncated); or a `Direction` with settings of your choice. Line searches:
    "fixed", "backtracking", "strong_wolfe", "exact_quadratic", or a function of that kind; None takes the method's own.
    `lr` multiplies the first length that each search tries. Stops where max|g| <= gtol, where f changes by no more than
    ftol of its size (None: 10 eps), or after max_iter iterations.
    Raises Vo3dError for settings that cannot be, and for an `f` that gives no single differentiable number.
    """
    rule = choose("method", method, METHODS)() if isinstance(method, str) else method
    wanted = rule.line_search if line_search is None else line_search
    search = named_search(wanted, rule.c2) if isinstance(wanted, str) else wanted
    stopping = Stopping(gtol, ftol, max_iter)
    if not 0 < lr < math.inf:
        raise Vo3dError(f"lr is {lr}: expected a number above 0")
    if not x0.is_floating_point() or not x0.numel():
        raise Vo3dError(f"x0 is {tuple(x0.shape)} of {x0.dtype}: expected real numbers in floating point, one or more")
    objective = FunctionObjective(f, x0.shape)
    start = objective.evaluate(x0.detach().reshape(-1).clone())
    path = [start]
    watch: Callable[[Iterate], None] = path.append if history else lambda _: None
    end = descend(objective, start, rule, search, stopping, lr=lr, watch=watch)
    return Minimum(
        x=end.at.x.view(x0.shape),
        f=end.at.f,
        gradient=end.at.gradient.view(x0.shape),
        nit=end.nit,
        nfev=objective.nfev,
        njev=objective.njev,
        nhev=objective.nhev,
        status=end.status,
        message=REASONS[end.status],
        success=end.status in {"gradient", "change"},
        history=torch.stack([point.x.view(x0.shape) for point in path]) if history else None,
        values=torch.tensor([point.f for point in path], dtype=x0.dtype) if history else None,
    )
