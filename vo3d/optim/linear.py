"""Conjugate gradients for A x = b, alone and as the inner loop of Newton's method."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.objective import Vector

Product = Callable[[Vector], Vector]


@dataclass(frozen=True)
class LinearSolution:
    """What conjugate gradients reached: `residual` is b - A x, `converged` whether it is small enough.

    `curvature` is p.Ap of the last direction p: not above 0 where A turned out not to be positive definite.
    """

    x: Vector
    residual: Vector
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
            return LinearSolution(x, r, nit, True, curvature)
        Ap = product(p)
        curvature = float(p @ Ap)
        if not curvature > 0:
            return LinearSolution(x, r, nit, False, curvature)
        alpha = square / curvature
        x = x + alpha * p
        r = r - alpha * Ap
        last, square = square, float(r @ r)
        p = r + (square / last) * p
    return LinearSolution(x, r, max_iter, square**0.5 <= target, curvature)
