"""What the second-order methods minimise: a value and a gradient over one flat vector, and products with the Hessian.

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


@dataclass(frozen=True)
class Iterate:
    """A point that was evaluated: where it is, its value, and its gradient."""

    x: Vector
    f: float
    gradient: Vector

    @property
    def finite(self) -> bool:
        """Whether value and gradient are numbers."""
        return math.isfinite(self.f) and bool(self.gradient.isfinite().all())


class Objective(ABC):
    """A function of one flat vector, and how often it was asked: `nfev` values, `njev` gradients, `nhev` products.

    A whole Hessian counts as n products.
    """

    def __init__(self) -> None:
        self.nfev = self.njev = self.nhev = 0

    def evaluate(self, x: Vector) -> Iterate:
        """Value and gradient at `x` (n)."""
        self.nfev += 1
        self.njev += 1
        f, gradient = self._value_and_gradient(x)
        return Iterate(x, f, gradient)

    def hessian_product(self, x: Vector, v: Vector) -> Vector:
        """The Hessian at `x` times `v`."""
        self.nhev += 1
        return self._hessian_product(x, v)

    def hessian(self, x: Vector) -> Float[Tensor, "n n"]:
        """The Hessian at `x`, symmetric."""
        self.nhev += x.numel()
        hessian = self._hessian(x)
        return (hessian + hessian.mT) / 2

    def _hessian(self, x: Vector) -> Float[Tensor, "n n"]:
        identity = torch.eye(x.numel(), dtype=x.dtype, device=x.device)
        return torch.stack([self._hessian_product(x, axis) for axis in identity])

    @abstractmethod
    def _value_and_gradient(self, x: Vector) -> tuple[float, Vector]: ...

    @abstractmethod
    def _hessian_product(self, x: Vector, v: Vector) -> Vector: ...


class FunctionObjective(Objective):
    """A differentiable function of a tensor of any shape and device; its value is a tensor of one element.

    Hessian products are the gradient of g.v (double backward), which works through every operator that torch can
    differentiate twice, grid_sample too.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], shape: torch.Size) -> None:
        super().__init__()
        self.f = f
        self.shape = shape

    def _scalar(self, x: Tensor) -> Tensor:
        value = self.f(x.view(self.shape))
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise Vo3dError(f"the function to minimise returned {found}: expected a tensor of one element")
        return value.reshape(())

    def _differentiate(self, x: Vector, again: bool) -> tuple[Vector, Tensor, Vector]:
        """A leaf at x, the value and the gradient there; with `again` the gradient can be differentiated, too."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            value = self._scalar(x)
        if not value.requires_grad:
            raise Vo3dError("the function to minimise returned a value without a gradient: compute it from x by torch")
        (gradient,) = torch.autograd.grad(value, x, create_graph=again)
        return x, value, gradient

    def _value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        _, value, gradient = self._differentiate(x, again=False)
        return float(value.detach()), gradient

    def _hessian_product(self, x: Vector, v: Vector) -> Vector:
        return self._products(x, v[None])[0]

    def _hessian(self, x: Vector) -> Float[Tensor, "n n"]:
        return self._products(x, torch.eye(x.numel(), dtype=x.dtype, device=x.device))

    def _products(self, x: Vector, vectors: Float[Tensor, "k n"]) -> Float[Tensor, "k n"]:
        """The Hessian times each row of `vectors`, from one graph."""
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
        self.loss: Tensor | float = math.nan  # what the closure returned last

    def position(self) -> Vector:
        """Where the parameters are."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.params])

    @torch.no_grad()
    def move(self, x: Vector) -> None:
        """Put the parameters at `x`."""
        end = 0
        for parameter in self.params:
            start, end = end, end + parameter.numel()
            parameter.copy_(x[start:end].view_as(parameter))

    def _value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        self.move(x)
        with torch.enable_grad():
            loss = self.closure()
        if loss is None:
            raise Vo3dError("the closure returned nothing: expected the loss that it went backward from")
        if isinstance(loss, Tensor) and loss.numel() != 1:
            raise Vo3dError(f"the closure returned {tuple(loss.shape)}: expected the loss, one number")
        self.loss = loss.detach() if isinstance(loss, Tensor) else loss
        # cat copies: the next evaluation may write over the gradients themselves
        return float(self.loss), torch.cat([_flat_gradient(parameter) for parameter in self.params])

    def _hessian_product(self, x: Vector, v: Vector) -> Vector:
        length = float(v.norm())
        if length == 0:
            return torch.zeros_like(v)
        distance: float = torch.finfo(x.dtype).eps ** (1 / 3) * (1 + float(x.norm())) / length
        ahead, behind = self.evaluate(x + distance * v), self.evaluate(x - distance * v)
        return (ahead.gradient - behind.gradient) / (2 * distance)


def _flat_gradient(parameter: Tensor) -> Tensor:
    """The gradient of the parameter in one row."""
    if parameter.grad is None:
        return torch.zeros_like(parameter.detach()).reshape(-1)
    flat: Tensor = parameter.grad.detach().to_dense().reshape(-1)
    return flat
