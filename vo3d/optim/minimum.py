"""`minimize`: a function, a start and a method in; the minimum, and what it took to find it, out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.choice import choose
from vo3d.optim.descent import REASONS, Stopping, descend
from vo3d.optim.directions import Direction, NonlinearCG, SteepestDescent
from vo3d.optim.line_search import LineSearch, named_search
from vo3d.optim.newton import ExactNewton, NewtonCG
from vo3d.optim.objective import FunctionObjective, Iterate
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


@dataclass(frozen=True)
class Minimum:
    """What `minimize` found.

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
