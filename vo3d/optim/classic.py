"""Gradient descent with and without momentum.

Notation, here and in the neighbouring files: theta the parameters, eta the learning rate `lr`, g_t the gradient at
theta_t, all of it element by element; buffers begin at 0. Ruder is S. Ruder, "An overview of gradient descent
optimization algorithms", arXiv:1609.04747, 2016. With `weight_decay` lambda, g_t + lambda theta_t stands for g_t.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch

from vo3d.errors import Vo3dError
from vo3d.optim.base import Buffers, Checked, Closure, FirstOrder, Group, Parameters, Steps, Tensors
from vo3d.optim.checks import check_settings


class SGD(Checked, torch.optim.SGD):
    """theta <- theta - eta g_t.

    On the gradient of all data it is batch gradient descent, of one sample stochastic, of some mini-batch descent.

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        weight_decay: lambda.

    Source: Ruder, section 2. `torch.optim.SGD` does the same. Takes sparse gradients.
    """

    extras = ("momentum_buffer",)

    def __init__(self, params: Parameters, lr: float, weight_decay: float = 0.0) -> None:
        check_settings("SGD", {"lr": lr, "weight_decay": weight_decay})
        super().__init__(params, lr=lr, weight_decay=weight_decay)

    def check_group(self, group: Group) -> None:
        """Check a group; raises Vo3dError, as torch's class does, for its own momentum where that cannot be."""
        super().check_group(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise Vo3dError("SGD: nesterov needs a momentum above 0 and a dampening of 0; the method is NAG")


class Momentum(FirstOrder):
    """Gradient descent that keeps a part of its last step.

    accumulated: v_t = gamma v_{t-1} + eta g_t, theta <- theta - v_t.
    averaged: m_t = gamma m_{t-1} + (1 - gamma) g_t, theta <- theta - eta m_t.

    While eta is constant, the first with eta (1 - gamma) in place of eta is the second. When a schedule changes eta,
    the first keeps its earlier steps as they were taken, which `torch.optim.SGD` does not: there eta multiplies v.

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        momentum: gamma.
        form: Which of the two.
        weight_decay: lambda.

    Source: Ruder, section 4.1.
    """

    buffers = ("velocity",)
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"form": ("accumulated", "averaged")}

    def __init__(
        self,
        params: Parameters,
        lr: float,
        momentum: float = 0.9,
        form: Literal["accumulated", "averaged"] = "accumulated",
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "form": form, "weight_decay": weight_decay})

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, steps: Steps, buffers: Buffers) -> None:
        """One step of the rule."""
        (velocity,) = buffers
        eta, gamma, summed = group["lr"], group["momentum"], group["form"] == "accumulated"
        torch._foreach_mul_(velocity, gamma)
        torch._foreach_add_(velocity, gradients, alpha=eta if summed else 1 - gamma)
        torch._foreach_sub_(parameters, velocity, alpha=1 if summed else eta)


class NAG(FirstOrder):
    """Nesterov's accelerated gradient: momentum whose gradient is taken where the momentum leads.

    v_t = gamma v_{t-1} + eta g(theta_{t-1} - gamma v_{t-1}), theta_t = theta_{t-1} - v_t.

    Two forms with the same iterates theta. look_ahead keeps the points phi = theta - gamma v, where gradients are
    taken, in the parameters (phi <- phi - eta g(phi) - gamma v_t), so that it needs no closure; `at_iterate` puts
    theta there for as long as a block lasts. closure keeps theta in the parameters, and a step evaluates its closure
    at phi. A schedule that changes gamma needs the second. `torch.optim.SGD(nesterov=True)` gives the look-ahead points
    while eta is constant.

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        momentum: gamma.
        form: What the parameters hold.
        weight_decay: lambda; it sees what the gradient sees, phi.

    Source: Ruder, section 4.2.
    """

    buffers = ("velocity",)
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"form": ("look_ahead", "closure")}

    def __init__(
        self,
        params: Parameters,
        lr: float,
        momentum: float = 0.9,
        form: Literal["look_ahead", "closure"] = "look_ahead",
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "form": form, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step; raises Vo3dError when the form of a group is closure and there is none."""
        if not self._has("closure"):
            return super().step(closure)
        if closure is None:
            raise Vo3dError("NAG of the form closure needs a closure that computes the gradients: step(closure)")
        self._shift(-1.0, "closure")  # from theta to phi
        try:
            return super().step(closure)
        finally:
            self._shift(1.0, "closure")

    @contextmanager
    def at_iterate(self) -> Iterator[None]:
        """Let the parameters be the iterates theta inside of the block, as for an evaluation."""
        if not self._has("look_ahead"):
            yield
            return
        with self.kept():
            self._shift(1.0, "look_ahead")
            yield

    def _has(self, form: str) -> bool:
        return any(group["form"] == form for group in self.param_groups)

    @torch.no_grad()
    def _shift(self, sign: float, form: str) -> None:
        """Add `sign` gamma v to the parameters of the groups of that form."""
        for group in self.param_groups:
            for parameter in group["params"] if group["form"] == form else ():
                if parameter in self.state:
                    parameter.add_(self.state[parameter]["velocity"], alpha=sign * group["momentum"])

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, steps: Steps, buffers: Buffers) -> None:
        """One step of the rule, on phi."""
        (velocity,) = buffers
        eta, gamma = group["lr"], group["momentum"]
        torch._foreach_mul_(velocity, gamma)
        torch._foreach_add_(velocity, gradients, alpha=eta)
        torch._foreach_sub_(parameters, gradients, alpha=eta)
        torch._foreach_sub_(parameters, velocity, alpha=gamma)
