"""The second-order methods as optimisers of torch, for training: `step(closure)`.

The closure is torch's usual one: zero the gradients, forward, backward, return the loss. It is called several times a
step and must give the same loss at the same parameters each time, so random parts of the network (dropout) have to be
drawn alike within a step. Where several processes train together it must return the mean loss of all of them: by its
own loss alone each process would choose another step length.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.base import Checked, Group, Parameters
from vo3d.optim.choice import choose
from vo3d.optim.descent import Stopping, descend
from vo3d.optim.directions import Direction, Memory, NonlinearCG
from vo3d.optim.line_search import named_search
from vo3d.optim.newton import ExactNewton, NewtonCG
from vo3d.optim.objective import ClosureObjective
from vo3d.optim.quasi_newton import LimitedMemory, QuasiNewton

Loss = Tensor | float
MOST_PARAMETERS = 10_000  # a matrix of this side takes 400 MB in float32


class ClosureOptimizer(Checked):
    """The frame of them all: every step runs `max_iter` iterations of `minimize`'s loop on the step's own closure.

    Value and gradient are taken afresh when a step begins, as the batch may be another one, and what is learned about
    the curvature comes from evaluations of one closure alone. It lies in the state of the first parameter, so that a
    saved optimiser goes on exactly. `lr` times the method's own first length is what each line search tries first.
    Raises Vo3dError for settings that cannot be, a second parameter group, parameters on several devices, and, where a
    method keeps a whole matrix, for more than `most_parameters` of them.
    """

    def __init__(
        self,
        params: Parameters,
        rule: Direction,
        lr: float,
        line_search: str | None,
        max_iter: int,
        gtol: float,
        most_parameters: int | None = None,
    ) -> None:
        self.rule = rule
        self.search = named_search(line_search or rule.line_search, rule.c2)
        self.stopping = Stopping(gtol=gtol, max_iter=max_iter)
        self.most_parameters = most_parameters
        super().__init__(params, {"lr": lr})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the one group of parameters; raises Vo3dError for a second one and for parameters that do not fit."""
        owner = type(self).__name__
        if self.param_groups:
            raise Vo3dError(
                f"{owner}: found a second parameter group, expected one: the curvature is learned as a whole"
            )
        super().add_param_group(param_group)

    def check_group(self, group: Group) -> None:
        """Check the group; raises Vo3dError for settings, devices and numbers of parameters that cannot be."""
        super().check_group(group)
        owner, params = type(self).__name__, group["params"]
        if len(devices := sorted({str(parameter.device) for parameter in params})) > 1:
            raise Vo3dError(f"{owner}: parameters on {', '.join(devices)}: expected all on one device")
        count = sum(parameter.numel() for parameter in params)
        if self.most_parameters is not None and count > self.most_parameters:
            raise Vo3dError(
                f"{owner}: {count:,} parameters, expected at most {self.most_parameters:,} for a matrix of all by all: "
                "use LBFGS or ConjugateGradient, or raise most_parameters"
            )

    def check_entry(self, parameter: Tensor, entry: Mapping[str, Any]) -> None:
        """Check what a state remembers, with the first parameter; raises Vo3dError where that does not fit."""
        owner, known = type(self).__name__, self.rule.remembers
        if strangers := sorted(entry.keys() - known.keys()):
            raise Vo3dError(
                f"{owner}: the state is of another optimiser, with {', '.join(strangers)}: expected "
                f"{', '.join(known) or 'none'}"
            )
        count = sum(one.numel() for one in self.param_groups[0]["params"])
        for name, value in entry.items():
            for one in value if isinstance(value, list) else [value]:
                found, expected = tuple(getattr(one, "shape", ())), (count,) * known[name]
                if found != expected:
                    raise Vo3dError(
                        f"{owner}: {name} in the state is {found}: expected {expected}, for {count:,} parameters"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss:  # type: ignore[override]
        """Improve the parameters on `closure`, and return its loss from before; raises Vo3dError without a closure.

        The parameters stay where they are if the loss is not finite or no step lowers it.
        """
        if closure is None:
            raise Vo3dError(
                f"{type(self).__name__}: step() was called without a closure: expected a function that zeroes the "
                "gradients, computes the loss, goes backward and returns the loss"
            )
        group = self.param_groups[0]
        memory: Memory = self.state[group["params"][0]]
        objective = ClosureObjective(group["params"], closure)
        start = objective.evaluate(objective.position())
        loss = objective.loss
        if (lr := float(group["lr"])) > 0:
            end = descend(objective, start, self.rule, self.search, self.stopping, lr=lr, memory=memory)
            objective.move(end.at.x)
        return loss


class Newton(ClosureOptimizer):
    """H p = -g with the Hessian H of the closure's loss, by central differences of gradients.

    `solve` "exact" forms H, with 2 n calls of the closure for n parameters, and factorises it; where H is not positive
    definite, the `remedy` decides ("absolute", "shift", "gradient", "none", as in `ExactNewton`). "cg" solves by
    truncated conjugate gradients (`NewtonCG`) with two calls for each of at most `max_inner` products.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        solve: str = "exact",
        remedy: str = "absolute",
        max_inner: int = 20,
        line_search: str | None = None,
        max_iter: int = 1,
        gtol: float = 1e-7,
        most_parameters: int = MOST_PARAMETERS,
    ) -> None:
        rules: dict[str, Callable[[], Direction]] = {
            "exact": lambda: ExactNewton(remedy),
            "cg": lambda: NewtonCG(max_inner),
        }
        rule = choose("Newton: solve", solve, rules)()
        super().__init__(params, rule, lr, line_search, max_iter, gtol, most_parameters if solve == "exact" else None)


class BFGS(ClosureOptimizer):
    """p = -H g, H' = (I - rho s y^T) H (I - rho y s^T) + rho s s^T, rho = 1 / y.s (`vo3d.optim.quasi_newton`)."""

    update = "bfgs"

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        line_search: str | None = None,
        max_iter: int = 1,
        gtol: float = 1e-7,
        most_parameters: int = MOST_PARAMETERS,
    ) -> None:
        super().__init__(params, QuasiNewton(self.update), lr, line_search, max_iter, gtol, most_parameters)


class DFP(BFGS):
    """p = -H g, H' = H - Hy (Hy)^T / y.Hy + s s^T / y.s (`vo3d.optim.quasi_newton`)."""

    update = "dfp"


class SR1(BFGS):
    """p = -H g, H' = H + r r^T / r.y, r = s - Hy (`vo3d.optim.quasi_newton`)."""

    update = "sr1"


class LBFGS(ClosureOptimizer):
    """p = -H g with BFGS's H of the last `history` steps, by the two-loop recursion (`vo3d.optim.quasi_newton`)."""

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        history: int = 10,
        line_search: str | None = None,
        max_iter: int = 1,
        gtol: float = 1e-7,
    ) -> None:
        super().__init__(params, LimitedMemory(history), lr, line_search, max_iter, gtol)


class ConjugateGradient(ClosureOptimizer):
    """p' = -g' + beta p, with beta "fr", "pr", "pr+", "hs" or "dy" (`vo3d.optim.directions.NonlinearCG`)."""

    def __init__(
        self,
        params: Parameters,
        lr: float = 1.0,
        beta: str = "pr+",
        powell: float | None = None,
        line_search: str | None = None,
        max_iter: int = 1,
        gtol: float = 1e-7,
    ) -> None:
        super().__init__(params, NonlinearCG(beta, powell), lr, line_search, max_iter, gtol)
