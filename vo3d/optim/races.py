"""Races of optimisers on landscapes: every racer from the same start, each with settings of its own, all recorded.

Rates are chosen by us, so that differences show in few steps: the well-known pictures of such races never had theirs
published. Who comes first is therefore a fact about these settings, not about the methods.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.optim import Optimizer

from vo3d.errors import Vo3dError
from vo3d.optim.adaptive import Adadelta, Adagrad, Adam, AdaMax, Nadam, RMSprop
from vo3d.optim.classic import NAG, SGD, Momentum
from vo3d.optim.descent import METHODS, minimize
from vo3d.optim.directions import Direction
from vo3d.optim.landscapes import LANDSCAPES, Landscape, Point, star
from vo3d.optim.newton import ExactNewton
from vo3d.optim.noise import GradientNoise

Racer = Callable[[list[Tensor]], Optimizer]

TOLD = ("lr", "momentum", "form", "rho", "alpha", "betas", "eps", "eps_inside", "variant")
TOLD_OF_NOISE = ("eta", "gamma", "seed")


@dataclass(frozen=True)
class Trace:
    """A racer's positions, start included, and the values there; ends early if it arrived or left all numbers."""

    positions: Float64[Tensor, "n 2"]
    values: Float64[Tensor, " n"]
    gradients: int  # computed on the way
    hessian_products: int = 0  # products of the Hessian with a vector

    @property
    def steps(self) -> int:
        """Count the steps taken."""
        return len(self.values) - 1


@dataclass(frozen=True)
class Race:
    """A landscape, its racers, and how long they run: `steps`, or until they are `within` a distance of a minimum."""

    landscape: Landscape
    racers: Mapping[str, Racer]
    steps: int
    within: float | None = None

    def run(self) -> dict[str, Trace]:
        """Let each racer take its steps from the landscape's start, and give its trace.

        A racer whose position or value is no longer finite stops, too; its trace holds what came before. The positions
        of NAG are its iterates theta, not the points ahead of them at which it takes gradients.
        Raises Vo3dError when there is less than one step, or nothing to be `within` of.
        """
        if self.steps < 1:
            raise Vo3dError(f"a race of {self.steps} steps: expected at least 1")
        if self.within is not None and not self.landscape.minima:
            raise Vo3dError(f"{self.landscape.name} has no minimum that a race could end at: leave `within` out")
        return {name: self._trace(make) for name, make in self.racers.items()}

    def settings(self) -> dict[str, str]:
        """Put the settings of each racer in words."""
        return {name: settings_in_words(racer) for name, racer in self.racers.items()}

    def _trace(self, make: Racer) -> Trace:
        at = torch.tensor(self.landscape.start, dtype=torch.float64, requires_grad=True)
        optimizer = make([at])
        inner = optimizer.optimizer if isinstance(optimizer, GradientNoise) else optimizer
        minima = at.new_tensor(self.landscape.minima).reshape(-1, 2)
        positions, values = [at.detach().clone()], [self.landscape.function(at.detach())]
        for _ in range(self.steps):
            away = torch.linalg.vector_norm(minima - positions[-1], dim=1)
            if self.within is not None and bool((away < self.within).any()):
                break
            optimizer.zero_grad()
            self.landscape.function(at).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with inner.at_iterate() if isinstance(inner, NAG) else nullcontext():
                position = at.detach().clone()
            value = self.landscape.function(position)
            if not (position.isfinite().all() and value.isfinite()):
                break
            positions.append(position)
            values.append(value)
        return Trace(torch.stack(positions), torch.stack(values), gradients=len(values) - 1)


@dataclass(frozen=True)
class MinimizerRace:
    """A landscape, and how long methods that also use curvature run on it: until they stop, or for `steps`."""

    landscape: Landscape
    minimizers: Mapping[str, str | Direction]  # the method of `minimize`
    steps: int
    within: None = None

    def run(self) -> dict[str, Trace]:
        """Give the trace of each racer; a step of theirs may compute several values and gradients."""
        traces = {}
        start = torch.tensor(self.landscape.start, dtype=torch.float64)
        for name, method in self.minimizers.items():
            found = minimize(self.landscape.function, start, method, max_iter=self.steps, history=True)
            assert found.history is not None and found.values is not None  # noqa: S101, PT018  it was asked for
            traces[name] = Trace(found.history, found.values, found.njev, found.nhev)
        return traces

    def settings(self) -> dict[str, str]:
        """Put the settings of each racer in words."""
        rules = {name: METHODS[one]() if isinstance(one, str) else one for name, one in self.minimizers.items()}
        return {name: f"step length: {rule.line_search.replace('_', ' ')}" for name, rule in rules.items()}


def steps_to_reach(trace: Trace, points: tuple[Point, ...], within: float) -> int | None:
    """Find the first step at which a racer is less than `within` from one of the points; None when it never is."""
    near = (torch.cdist(trace.positions, trace.positions.new_tensor(points)) < within).any(1)
    return int(near.nonzero()[0]) if near.any() else None


def step_of_leaving(trace: Trace, landscape: Landscape) -> int | None:
    """Find the step after which a racer is outside of the landscape's domain for good; None when it ends inside."""
    low, high = trace.positions.new_tensor(landscape.domain).T
    inside = ((trace.positions >= low) & (trace.positions <= high)).all(1).nonzero()
    last = int(inside[-1])
    return None if last == trace.steps else last + 1


def settings_in_words(racer: Racer) -> str:
    """Name the settings that a racer runs with, those included that nobody set, such as "lr 0.005, momentum 0.9"."""
    optimizer = racer([torch.zeros(2, dtype=torch.float64, requires_grad=True)])
    group = optimizer.param_groups[0]
    told: dict[str, Any] = {name: group[name] for name in TOLD if name in group}
    inner = optimizer.optimizer if isinstance(optimizer, GradientNoise) else optimizer
    if isinstance(inner, SGD):
        del told["momentum"]  # torch's class has one, always 0 here
    if isinstance(inner, Adagrad):
        told["eps"] = group["initial_accumulator_value"]  # which is how torch's class gets it into the root
    if isinstance(optimizer, GradientNoise):
        told |= {f"noise {name}": getattr(optimizer, name) for name in TOLD_OF_NOISE}
    return ", ".join(f"{name} {_in_words(value)}" for name, value in told.items())


def plain_six(
    lr: float, momentum_lr: float | None = None, adagrad: float = 0.5, eps: float = 1e-2, rmsprop: float = 0.01
) -> dict[str, Racer]:
    """Give the six methods of the well-known pictures: rates of SGD, Momentum and NAG (as SGD's), Adagrad and RMSprop.

    `eps` is Adadelta's, which has no rate; at its default 1e-6 it begins with tiny steps.
    """
    second = lr if momentum_lr is None else momentum_lr
    return {
        "SGD": partial(SGD, lr=lr),
        "Momentum": partial(Momentum, lr=second),
        "NAG": partial(NAG, lr=second),
        "Adagrad": partial(Adagrad, lr=adagrad),
        "Adadelta": partial(Adadelta, eps=eps),
        "RMSprop": partial(RMSprop, lr=rmsprop),
    }


def adam_kin(lr: float) -> dict[str, Racer]:
    """Give Adam, AdaMax and Nadam at one rate."""
    return {"Adam": partial(Adam, lr=lr), "AdaMax": partial(AdaMax, lr=lr), "Nadam": partial(Nadam, lr=lr)}


def noisy(racers: Mapping[str, Racer], seed: int = 0) -> dict[str, Racer]:
    """Give the racers with noise on their gradients, named "<name>, noise"."""
    return {f"{name}, noise": partial(GradientNoise, optimizer=make, seed=seed) for name, make in racers.items()}


def _in_words(value: object) -> str:
    if isinstance(value, tuple | list):
        return " and ".join(map(_in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


MINIMIZERS: Mapping[str, str | Direction] = {
    "gradient descent": "gd",
    "conjugate gradients": "cg",
    "BFGS": "bfgs",
    "DFP": "dfp",
    "SR1": "sr1",
    "L-BFGS": "lbfgs",
    "Newton": "newton",
    "Newton, CG": "newton-cg",
    "Newton, pure": ExactNewton(remedy="none"),
}
BEALE, SADDLE = LANDSCAPES["beale"], LANDSCAPES["saddle"]
RIDGE = replace(SADDLE, name="ridge", title="The saddle x² - y², from y = 0 exactly", start=(1.0, 0.0))
RACES: Mapping[str, Race | MinimizerRace] = {
    "beale": Race(BEALE, plain_six(0.005), 300),
    "beale_limit": Race(BEALE, {name: plain_six(0.01)[name] for name in ("SGD", "Momentum", "NAG")}, 300),
    "saddle": Race(SADDLE, plain_six(0.01), 200),
    "saddle_noise": Race(RIDGE, plain_six(0.01) | noisy(plain_six(0.01)), 200),
    "star": Race(star(), plain_six(0.5, 0.1, rmsprop=0.02), 1000, within=0.05),
    "beale_nine": Race(BEALE, plain_six(0.005) | adam_kin(0.05), 300),
    "rosenbrock_nine": Race(LANDSCAPES["rosenbrock"], plain_six(0.001, 0.0005, eps=1e-4) | adam_kin(0.05), 500),
    "himmelblau_nine": Race(LANDSCAPES["himmelblau"], plain_six(0.01, 0.002, rmsprop=0.05) | adam_kin(0.05), 200),
    "long_valley_nine": Race(LANDSCAPES["long_valley"], plain_six(5.0, rmsprop=0.05) | adam_kin(0.05), 200),
    "beale_second": MinimizerRace(BEALE, MINIMIZERS, 50),
    "rosenbrock_second": MinimizerRace(LANDSCAPES["rosenbrock"], MINIMIZERS, 100),
}
