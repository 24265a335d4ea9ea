"""Newton's directions: H p = -g with the true Hessian H, solved exactly or by truncated conjugate gradients.

Those conjugate gradients solve A x = b by themselves as well (`linear_cg`).

Newton's method looks for a zero of the gradient, so left alone it goes to any stationary point, a saddle or a maximum
as well; what these rules do where H is not positive definite keeps them going down.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.choice import choose
from vo3d.optim.directions import Direction, Memory
from vo3d.optim.objective import Iterate, Matrix, Objective, Vector

Product = Callable[[Vector], Vector]


def solve_absolute(H: Matrix, g: Vector) -> Vector:
    """-|H|^-1 g: every eigenvalue by its size, and at least sqrt(eps) of the largest (Greenstadt 1967)."""
    values, vectors = torch.linalg.eigh(H)
    sizes = values.abs()
    sizes = sizes.clamp(min=float(sizes.max()) * torch.finfo(H.dtype).eps ** 0.5)
    return -(vectors @ ((vectors.mT @ g) / sizes)) if float(sizes.max()) > 0 else -g


def solve_shifted(H: Matrix, g: Vector) -> Vector:
    """-(H + tau I)^-1 g with the first tau of a growing row that makes it positive definite.

    Source: Nocedal and Wright 2006, algorithm 3.3, with beta relative to the size of H.
    """
    identity = torch.eye(g.numel(), dtype=g.dtype, device=g.device)
    beta = 1e-3 * max(float(H.diagonal().abs().max()), torch.finfo(H.dtype).eps)
    tau = max(beta - float(H.diagonal().min()), beta)
    while (p := _cholesky(H + tau * identity, g)) is None:
        tau *= 2
    return p


def solve_none(H: Matrix, g: Vector) -> Vector:
    """-H^-1 g whatever H is: pure Newton, which may climb. Raises Vo3dError where H is singular."""
    solution, info = torch.linalg.solve_ex(H, -g)
    p: Vector = solution
    if int(info) or not bool(p.isfinite().all()):
        raise Vo3dError("pure Newton: the Hessian is singular: choose another remedy, such as 'absolute'")
    return p


REMEDIES: Mapping[str, Callable[[Matrix, Vector], Vector]] = {
    "absolute": solve_absolute,
    "shift": solve_shifted,
    "gradient": lambda H, g: -g,  # steepest descent for this step
    "none": solve_none,
}


def _cholesky(H: Matrix, g: Vector) -> Vector | None:
    """-H^-1 g; None where H is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(H)
    return -torch.cholesky_solve(g[:, None], factor)[:, 0] if not int(info) else None


class ExactNewton(Direction):
    """p = -H^-1 g by Cholesky's factors; where H is not positive definite, by the `remedy` of that name.

    Remedies: "absolute" (eigenvalues by their size), "shift" (H + tau I with a growing tau), "gradient" (-g), "none"
    (-H^-1 g all the same: pure Newton, with a fixed step). Costs n gradients for H and O(n^3) for the solution.
    Source: Nocedal and Wright 2006, sections 3.3 and 3.4.
    Raises Vo3dError for an unknown remedy, and for a Hessian that is not finite.
    """

    def __init__(self, remedy: str = "absolute") -> None:
        self.remedy = choose("remedy for an indefinite Hessian", remedy, REMEDIES)
        self.line_search = "fixed" if remedy == "none" else "backtracking"

    def direction(self, objective: Objective, at: Iterate, memory: Memory) -> Vector:
        """The Newton direction at `at`."""
        if at.x.dtype in {torch.float16, torch.bfloat16}:
            raise Vo3dError(f"Newton: the numbers are {at.x.dtype}: expected torch.float32 or float64, to factorise in")
        H = objective.hessian(at.x)
        if not bool(H.isfinite().all()):
            raise Vo3dError(
                f"Newton: the Hessian is not finite where f = {at.f:.6g}: use a method without one, as bfgs"
            )
        p = _cholesky(H, at.gradient)
        return self.remedy(H, at.gradient) if p is None else p


class NewtonCG(Direction):
    """H p = -g by conjugate gradients on products with H, until |H p + g| <= min(0.5, sqrt |g|) |g|.

    Ends early at a direction of curvature 0 or less, with what it has, or -g if that is nothing: p always descends.
    Memory O(n). Source: Dembo and Steihaug 1983; Nocedal and Wright 2006, algorithm 7.1.
    Raises Vo3dError for a `max_inner` below 1.
    """

    line_search = "backtracking"

    def __init__(self, max_inner: int | None = None) -> None:
        if max_inner is not None and max_inner < 1:
            raise Vo3dError(f"Newton-CG: max_inner is {max_inner}: expected 1 product or more, or none for 2 n")
        self.max_inner = max_inner

    def direction(self, objective: Objective, at: Iterate, memory: Memory) -> Vector:
        """The truncated Newton direction at `at`."""
        length = float(at.gradient.norm())
        solution = conjugate_gradients(
            lambda v: objective.hessian_product(at.x, v),
            -at.gradient,
            None,
            min(0.5, math.sqrt(length)) * length,
            self.max_inner or 2 * at.x.numel(),
        )
        return solution.x if solution.nit else -at.gradient


@dataclass(frozen=True)
class LinearSolution:
    """The end of conjugate gradients; `converged` tells whether b - A x is small enough.

    `curvature` is p.Ap of the last direction p: not above 0 where A turned out not to be positive definite.
    """

    x: Vector
    nit: int
    converged: bool
    curvature: float


def linear_cg(
    A: Tensor | Product,
    b: Vector,
    x0: Float[Tensor, " m"] | None = None,
    *,
    tolerance: float = 1e-10,
    max_iter: int | None = None,
) -> LinearSolution:
    """Solve A x = b for a symmetric positive definite A, given as a matrix (n n) or as v -> A v.

    From r = b - A x and p = r: alpha = r.r / p.Ap, x' = x + alpha p, r' = r - alpha Ap, beta = r'.r' / r.r,
    p' = r' + beta p. Ends where |r| <= tolerance |b|, or after `max_iter` iterations (default: 2 n, as rounding may
    take more than the n of exact arithmetic).
    Raises Vo3dError for shapes and types that do not fit, a tolerance below 0, max_iter below 1, and for p.Ap <= 0: A
    is not positive definite.
    Source: Hestenes and Stiefel 1952.
    """
    if isinstance(A, Tensor) and A.shape != (b.numel(), b.numel()):
        raise Vo3dError(f"linear_cg: A is {tuple(A.shape)} and b is {tuple(b.shape)}: expected (n, n) and (n,)")
    if isinstance(A, Tensor) and A.dtype != b.dtype:
        raise Vo3dError(f"linear_cg: A is {A.dtype} and b is {b.dtype}: expected equal types")
    if x0 is not None and x0.shape != b.shape:
        raise Vo3dError(f"linear_cg: x0 is {tuple(x0.shape)} and b is {tuple(b.shape)}: expected equal shapes")
    if max_iter is not None and max_iter < 1:
        raise Vo3dError(f"linear_cg: max_iter is {max_iter}: expected 1 or more, or none for 2 n")
    if not tolerance >= 0:
        raise Vo3dError(f"linear_cg: the tolerance is {tolerance}: expected a number of at least 0")
    product: Product = (lambda v: A @ v) if isinstance(A, Tensor) else A
    most = 2 * b.numel() if max_iter is None else max_iter
    solution = conjugate_gradients(product, b, x0, float(b.norm()) * tolerance, most)
    if not solution.converged and not solution.curvature > 0:
        raise Vo3dError(
            f"linear_cg: p.Ap is {solution.curvature:.3g} in iteration {solution.nit + 1}: expected a positive "
            "definite A; for a saddle or a maximum use minimize with the method newton-cg"
        )
    return solution


@torch.no_grad()
def conjugate_gradients(product: Product, b: Vector, x0: Vector | None, target: float, max_iter: int) -> LinearSolution:
    """Iterate until |b - A x| <= `target`, `max_iter`, or a direction of curvature 0 or less, which is not taken."""
    x = torch.zeros_like(b) if x0 is None else x0.clone()
    r = b.clone() if x0 is None else b - product(x0)
    p = r
    square = float(r @ r)
    curvature = float("nan")
    for nit in range(max_iter):
        if square**0.5 <= target:
            return LinearSolution(x, nit, True, curvature)
        Ap = product(p)
        curvature = float(p @ Ap)
        if not curvature > 0:
            return LinearSolution(x, nit, False, curvature)
        alpha = square / curvature
        x = x + alpha * p
        r = r - alpha * Ap
        last, square = square, float(r @ r)
        p = r + (square / last) * p
    return LinearSolution(x, max_iter, square**0.5 <= target, curvature)
