"""Penalties: what a residual costs."""

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError


def squared(residual: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Compute r^2: the penalty of Gauss, of which the mean is the best constant; its slope 2 r grows with the error."""
    return residual.square()


def absolute(residual: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Compute |r| (L1): the penalty of Laplace, of which the median is the best constant; its slope is r's sign."""
    return residual.abs()


def huber(residual: Float[Tensor, "*n"], delta: float = 1.0) -> Float[Tensor, "*n"]:
    """Compute r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2): square near 0, straight far out, slope delta.

    Divided by delta it is the smooth L1 penalty, with slope 1 far out: r^2 / (2 delta), else |r| - delta / 2.

    Source: Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 1964; Girshick, "Fast
    R-CNN", ICCV 2015, equation 3 (smooth L1, delta 1).

    Raises:
        Vo3dError: delta is not positive.
    """
    if not delta > 0:
        raise Vo3dError(f"huber with delta {delta}: expected a positive number, in the unit of the residual")
    size = residual.abs()
    return torch.where(size <= delta, 0.5 * residual.square(), delta * (size - 0.5 * delta))


def charbonnier(residual: Float[Tensor, "*n"], eps: float = 1e-3) -> Float[Tensor, "*n"]:
    """Compute sqrt(r^2 + eps^2): |r| with its corner rounded off over a width of eps, in the unit of r; eps at r = 0.

    Source: Charbonnier, Blanc-Feraud, Aubert and Barlaud, "Two deterministic half-quadratic regularization algorithms
    for computed imaging", ICIP 1994.

    Raises:
        Vo3dError: eps is not positive.
    """
    if not eps > 0:
        raise Vo3dError(f"charbonnier with eps {eps}: expected a positive number, in the unit of the residual")
    return torch.hypot(residual, residual.new_full((), eps))
