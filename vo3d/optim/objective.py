"""Objectives of the second-order methods: value and gradient over one flat vector, and products with the Hessian.

Two sources: a function that torch differentiates as often as needed (`FunctionObjective`), and the closure of a
training step, which gives gradients and no graph (`ClosureObjective`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError

Vector = Float[Tensor, " n"]
Matrix = Float[Tensor, "n n"]


@dataclass(frozen=True)
class Iterate:
    """A point that was evaluated: where it is, its value, and its gradient."""

    x: Vector
    f: float
    gradient: Vector

    @property
    def finite(self) -> bool:
        """Tell whether value and gradient are numbers."""
        return math.isfinite(self.f) and bool(self.gradient.isfinite().all())


class Objective(ABC):
    """A function of one flat vector, and how often it was asked: `nfev` values, `njev` gradients, `nhev` products.

    A whole Hessian counts as n products.
    """

    def __init__(self) -> None:
        self.nfev = self.njev = self.nhev = 0

    def evaluate(self, x: Vector) -> Iterate:
        """Compute value and gradient at `x` (n)."""
        self.nfev += 1
        self.njev += 1
        f, gradient = self._value_and_gradient(x)
        return Iterate(x, f, gradient)

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        """Multiply the Hessian at `x` by `v`."""
        self.nhev += 1
        return self._products(x, v[None])[0]

    def hessian(self, x: Vector) -> Matrix:
        """Compute the Hessian at `x`, symmetric."""
        self.nhev += x.numel()
        hessian = self._products(x, torch.eye(x.numel(), dtype=x.dtype, device=x.device))
        return (hessian + hessian.mT) / 2

    @abstractmethod
    def _value_and_gradient(self, x: Vector) -> tuple[float, Vector]: ...

    @abstractmethod
    def _products(self, x: Vector, vectors: Float[Tensor, "k n"]) -> Float[Tensor, "k n"]:
        """Multiply the Hessian at `x` by each row of `vectors`."""


class FunctionObjective(Objective):
    """A differentiable function of a tensor of any shape and device; its value is a tensor of one element.

    Hessian products are the gradient of g.v (double backward), which works through every operator that torch can
    differentiate twice, grid_sample too.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], shape: torch.Size) -> None:
        super().__init__()
        self.f = f
        self.shape = shape

    def _differentiate(self, x: Vector, again: bool) -> tuple[Vector, Tensor, Vector]:
        """Give a leaf at x, the value and the gradient there; with `again` that can be differentiated, too."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value = self.f(x.view(self.shape))
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise Vo3dError(f"the function to minimise returned {found}: expected a tensor of one element")
        if not value.requires_grad:
            raise Vo3dError("the function to minimise returned a value without a gradient: compute it from x by torch")
        (gradient,) = torch.autograd.grad(value, x, create_graph=again)
        return x, value, gradient

    def _value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        _, value, gradient = self._differentiate(x, again=False)
        return float(value.detach()), gradient

    def _products(self, x: Vector, vectors: Float[Tensor, "k n"]) -> Float[Tensor, "k n"]:
        x, _, gradient = self._differentiate(x, again=True)
        if not gradient.requires_grad:  # the function is linear
            return torch.zeros_like(vectors)
        products = [torch.autograd.grad(gradient, x, v, retain_graph=True, materialize_grads=True)[0] for v in vectors]
        return torch.stack(products)


class ClosureObjective(Objective):
    """The loss of a closure as a function of `params`, laid end to end in one vector.

    The closure is torch's usual one: it zeroes the gradients, computes the loss, goes backward and returns the loss. A
    parameter without a gradient counts as one whose gradient is zero. Every evaluation moves the parameters; the caller
    puts them where it wants them at the end. Hessian products are central differences of two gradients, at a distance
    of cube root eps * (1 + |x|) to either side, since a closure leaves no graph to differentiate.
    """

    def __init__(self, params: Sequence[Tensor], closure: Callable[[], Tensor | float]) -> None:
        super().__init__()
        self.params = params
        self.closure = closure
        self.loss: Tensor | float = math.nan  # that the closure returned last

    def position(self) -> Vector:
        """Give the parameters as one vector."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.params])

    @torch.no_grad()
    def move(self, x: Vector) -> None:
        """Put the parameters at `x`."""
        parts = torch.split(x, [parameter.numel() for parameter in self.params])
        for parameter, part in zip(self.params, parts, strict=True):
            parameter.copy_(part.view_as(parameter))

    def _value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        self.move(x)
        with torch.enable_grad():
            loss = self.closure()
        if loss is None or (isinstance(loss, Tensor) and loss.numel() != 1):
            found = "nothing" if loss is None else tuple(loss.shape)
            raise Vo3dError(f"the closure returned {found}: expected the loss that it went backward from, one number")
        self.loss = loss.detach() if isinstance(loss, Tensor) else loss
        gradients = [
            torch.zeros_like(parameter.detach()) if parameter.grad is None else parameter.grad.detach().to_dense()
            for parameter in self.params
        ]
        # cat copies: the next evaluation may write over the gradients themselves
        return float(self.loss), torch.cat([gradient.reshape(-1) for gradient in gradients])

    def _products(self, x: Vector, vectors: Float[Tensor, "k n"]) -> Float[Tensor, "k n"]:
        return torch.stack([self._product(x, v) for v in vectors])

    def _product(self, x: Vector, v: Vector) -> Vector:
        length = float(v.norm())
        if length == 0:
            return torch.zeros_like(v)
        distance: float = torch.finfo(x.dtype).eps ** (1 / 3) * (1 + float(x.norm())) / length
        ahead, behind = self.evaluate(x + distance * v), self.evaluate(x - distance * v)
        return (ahead.gradient - behind.gradient) / (2 * distance)
