"""The survey's common frame: a step is the first moment of the gradients over the root of the second.

theta <- theta - eta m_t / sqrt(V_t). Which m and V make which method:

| method   | m_t                   | V_t                             |                                                |
|----------|-----------------------|---------------------------------|------------------------------------------------|
| SGD      | Gradient()            | One()                           |                                                |
| Momentum | Average(b)            | One()                           | the averaged form; DecayedSum(b) the other     |
| NAG      | Average(b)            | One()                           | look_ahead=b, eta / (1 - b) for eta            |
| Adagrad  | Gradient()            | SquareSum()                     | eps inside of the root                         |
| Adadelta | Gradient()            | SquareAverage(rho)              | past_steps=rho, eps inside, eta = 1            |
| RMSprop  | Gradient()            | SquareAverage(alpha)            | eps inside                                     |
| Adam     | Average(b1, True)     | SquareAverage(b2, True)         |                                                |
| AdaMax   | Average(b1, True)     | LargestSquare(b2)               |                                                |
| Nadam    | NesterovAverage(b1)   | SquareAverage(b2, True)         | the variant of Ruder                           |

What buffers begin with is 0, and "True" stands for the correction of that, division by 1 - b^t.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.base import Buffers, Closure, FirstOrder, Group, Parameters, Steps, Tensors
from vo3d.optim.checks import check_settings


class Moment(ABC):
    """A function of the gradients g_1 .. g_t, of one parameter, with one buffer of its size."""

    @abstractmethod
    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """The moment at step `t` (1 at the first); changes `buffer` in place, and nothing else."""


class FirstMoment(Moment):
    """m_t."""


class SecondMoment(Moment):
    """V_t."""


@dataclass(frozen=True)
class Gradient(FirstMoment):
    """m_t = g_t."""

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """m_t."""
        return gradient


@dataclass(frozen=True)
class DecayedSum(FirstMoment):
    """m_t = beta m_{t-1} + g_t."""

    beta: float = 0.9

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """m_t."""
        return buffer.mul_(self.beta).add_(gradient)


@dataclass(frozen=True)
class Average(FirstMoment):
    """m_t = beta m_{t-1} + (1 - beta) g_t; if `corrected`, over 1 - beta^t."""

    beta: float = 0.9
    corrected: bool = False

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """m_t."""
        buffer.mul_(self.beta).add_(gradient, alpha=1 - self.beta)
        return buffer / (1 - self.beta**t) if self.corrected else buffer


@dataclass(frozen=True)
class NesterovAverage(FirstMoment):
    """(beta m_t + (1 - beta) g_t) / (1 - beta^t), where m_t is the average of the gradients."""

    beta: float = 0.9

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """m_t."""
        buffer.mul_(self.beta).add_(gradient, alpha=1 - self.beta)
        return (self.beta * buffer + (1 - self.beta) * gradient) / (1 - self.beta**t)


@dataclass(frozen=True)
class One(SecondMoment):
    """V_t = 1."""

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """V_t."""
        return torch.ones_like(gradient)


@dataclass(frozen=True)
class SquareSum(SecondMoment):
    """V_t = V_{t-1} + g_t^2."""

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """V_t."""
        return buffer.addcmul_(gradient, gradient)


@dataclass(frozen=True)
class SquareAverage(SecondMoment):
    """V_t = beta V_{t-1} + (1 - beta) g_t^2; if `corrected`, over 1 - beta^t."""

    beta: float = 0.999
    corrected: bool = False

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """V_t."""
        buffer.mul_(self.beta).addcmul_(gradient, gradient, value=1 - self.beta)
        return buffer / (1 - self.beta**t) if self.corrected else buffer


@dataclass(frozen=True)
class LargestSquare(SecondMoment):
    """V_t = u_t^2 where u_t = max(beta u_{t-1}, |g_t|)."""

    beta: float = 0.999

    def update(self, gradient: Tensor, buffer: Tensor, t: int) -> Tensor:
        """V_t."""
        return torch.maximum(buffer.mul_(self.beta), gradient.abs(), out=buffer).square()


class MomentOptimizer(FirstOrder):
    """theta <- theta - eta m_t / sqrt(V_t), with any first and any second moment.

    Made to show what the methods share and to try others; the named classes do the same faster.

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        first: m.
        second: V.
        eps: Added to the root, so that it is not 0.
        eps_inside: Add eps to V instead.
        look_ahead: Take the gradient at theta - look_ahead d, d the last step; needs a closure. The survey's frame
            has 1, which is not Nesterov's method; that has the decay of the average.
        past_steps: Multiply by the root of the decayed average of squared steps, with this decay, as Adadelta does.
        weight_decay: Times theta, a part of the gradient.

    Source: the table above; Ruder, section 4, for the methods.
    """

    buffers = ("first", "second", "last", "past")
    unsaved = ("first", "second", "eps_inside", "look_ahead", "past_steps")

    def __init__(
        self,
        params: Parameters,
        lr: float,
        first: FirstMoment = Gradient(),
        second: SecondMoment = One(),
        eps: float = 0.0,
        eps_inside: bool = False,
        look_ahead: float = 0.0,
        past_steps: float | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"lr": lr, "first": first, "second": second, "eps": eps, "eps_inside": eps_inside}
        more = {"look_ahead": look_ahead, "past_steps": past_steps, "weight_decay": weight_decay}
        super().__init__(params, settings | more)

    @property
    def look_ahead(self) -> float:
        """Return how far gradients are taken ahead: the most of all groups."""
        return max(float(group["look_ahead"]) for group in self.param_groups)

    def check_group(self, group: Group) -> None:
        """Check a group, its moments too; raises Vo3dError for settings that cannot be."""
        super().check_group(group)
        for name, kind in (("first", FirstMoment), ("second", SecondMoment)):
            moment = group[name]
            if not isinstance(moment, kind):
                raise Vo3dError(f"MomentOptimizer: {name} is a {type(moment).__name__}: expected a {kind.__name__}")
            check_settings(f"MomentOptimizer: {type(moment).__name__}", {"beta": getattr(moment, "beta", 0.0)})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step; raises Vo3dError when `look_ahead` needs a closure and there is none."""
        if not self.look_ahead:
            return super().step(closure)
        if closure is None:
            raise Vo3dError("MomentOptimizer with look_ahead needs a closure that computes the gradients")
        with self.kept():
            for group in self.param_groups:
                for parameter in group["params"] if group["look_ahead"] else ():
                    if parameter in self.state:
                        parameter.sub_(self.state[parameter]["last"], alpha=group["look_ahead"])
            loss = self.evaluate(closure)
        super().step()
        return loss

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, steps: Steps, buffers: Buffers) -> None:
        """One step of the frame."""
        eps, past_steps = group["eps"], group["past_steps"]
        rows = zip(parameters, gradients, steps, *buffers, strict=True)
        for parameter, gradient, t, first, second, last, past in rows:
            m, v = group["first"].update(gradient, first, t), group["second"].update(gradient, second, t)
            step = m / ((v + eps).sqrt() if group["eps_inside"] else v.sqrt() + eps)
            if past_steps is not None:
                step = step * (past + eps).sqrt()
                past.mul_(past_steps).addcmul_(step, step, value=1 - past_steps)
            last.copy_(group["lr"] * step)
            parameter.sub_(last)
