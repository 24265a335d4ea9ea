"""The loop that every second-order method shares: choose a direction, search along it, learn from the step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import torch

from vo3d.errors import Vo3dError
from vo3d.optim.directions import Direction, Memory
from vo3d.optim.line_search import NOISE, Line, LineSearch, Trial
from vo3d.optim.objective import Iterate, Objective

REASONS = {
    "gradient": "the largest entry of the gradient is at most gtol",
    "change": "the value no longer changes by more than ftol of its size",
    "iterations": "max_iter iterations are spent",
    "line_search": "the line search found no acceptable step, not even along -g",
    "not_finite": "the value or the gradient at the start is not finite",
}


@dataclass(frozen=True)
class Stopping:
    """When to stop: max|g| <= gtol, |f - f'| <= ftol max(|f|, |f'|), or after max_iter iterations.

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
        """Why to stop at `at`, reached from `before` after `nit` iterations: a key of `REASONS`; None to go on."""
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
    """Where a descent ended, after how many iterations, and why: a key of `REASONS`."""

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
    before, at = None, start
    for nit in count():
        if reason := stopping.reason(before, at, nit):
            return Descent(at, nit, reason)
        trial = _advance(objective, at, rule, search, lr, memory)
        if trial is None:
            return Descent(at, nit, "line_search")
        before, at = at, trial.point
        watch(at)
    raise AssertionError("unreachable: count() does not end")


def _advance(
    objective: Objective, at: Iterate, rule: Direction, search: LineSearch, lr: float, memory: Memory
) -> Trial | None:
    """One iteration; where the search fails, another one without what was remembered."""
    remembers = bool(memory)  # a rule may write into it while it chooses
    line = Line(objective, at, rule.direction(objective, at, memory), lambda trial: rule.accepts(line, trial))
    trial = search(line, lr * rule.first_step(line, memory))
    if trial is None and remembers:
        memory.clear()
        return _advance(objective, at, rule, search, lr, memory)
    if trial is not None:
        rule.remember(line, trial, memory)
    return trial
