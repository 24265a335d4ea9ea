"""The first-order rules as literal loops in NumPy, and what runs an optimiser beside them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from vo3d import optim

STEPS = 30
START = np.array([1.5, -2.0, 0.3, 4.0])
CURVATURE = np.array([1.0, 0.3, 5.0, 0.05])
Vector = np.ndarray[Any, Any]


def slope(x: Vector) -> Vector:
    """Gradient of sum(curvature x^2 / 2 + 0.3 sin(3 x)): convex for most coordinates, wavy in all."""
    return CURVATURE * x + 0.9 * np.cos(3 * x)


def value(x: torch.Tensor) -> torch.Tensor:
    return (torch.tensor(CURVATURE) * x.square() / 2 + 0.3 * torch.sin(3 * x)).sum()


def run(
    make: Callable[[list[torch.Tensor]], Optimizer], steps: int = STEPS, closure: bool = False, scale: float = 1.0
) -> Vector:
    """The iterates of an optimiser on `scale` times the function, a row a step."""
    x = torch.tensor(START, requires_grad=True)
    optimizer = make([x])

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = scale * value(x)
        loss.backward()
        return loss

    rows = []
    for _ in range(steps):
        if closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            optimizer.step()
        rows.append(x.detach().numpy().copy())
    return np.stack(rows)


def sgd(eta: float = 0.05) -> Iterator[Vector]:
    x = START.copy()
    while True:
        x = x - eta * slope(x)
        yield x


def momentum(eta: float = 0.05, gamma: float = 0.9) -> Iterator[Vector]:
    x, v = START.copy(), np.zeros(4)
    while True:
        v = gamma * v + eta * slope(x)
        x = x - v
        yield x


def averaged_momentum(eta: float = 0.05, b: float = 0.9) -> Iterator[Vector]:
    x, m = START.copy(), np.zeros(4)
    while True:
        m = b * m + (1 - b) * slope(x)
        x = x - eta * m
        yield x


def nag(eta: float = 0.05, gamma: float = 0.9) -> Iterator[Vector]:
    x, v = START.copy(), np.zeros(4)
    while True:
        v = gamma * v + eta * slope(x - gamma * v)
        x = x - v
        yield x


def nag_points(eta: float = 0.05, gamma: float = 0.9) -> Iterator[Vector]:
    """Where the gradients are taken."""
    x, v = START.copy(), np.zeros(4)
    while True:
        v = gamma * v + eta * slope(x - gamma * v)
        x = x - v
        yield x - gamma * v


def adagrad(eta: float = 0.01, eps: float = 1e-8) -> Iterator[Vector]:
    x, total = START.copy(), np.zeros(4)
    while True:
        g = slope(x)
        total = total + g**2
        x = x - eta * g / np.sqrt(total + eps)
        yield x


def adadelta(rho: float = 0.9, eps: float = 1e-6) -> Iterator[Vector]:
    x, e, d = START.copy(), np.zeros(4), np.zeros(4)
    while True:
        g = slope(x)
        e = rho * e + (1 - rho) * g**2
        step = -np.sqrt(d + eps) / np.sqrt(e + eps) * g
        d = rho * d + (1 - rho) * step**2
        x = x + step
        yield x


def rmsprop(eta: float = 1e-3, alpha: float = 0.9, eps: float = 1e-8, inside: bool = True) -> Iterator[Vector]:
    x, e = START.copy(), np.zeros(4)
    while True:
        g = slope(x)
        e = alpha * e + (1 - alpha) * g**2
        x = x - eta * g / (np.sqrt(e + eps) if inside else np.sqrt(e) + eps)
        yield x


def adam(eta: float = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Iterator[Vector]:
    x, m, v, t = START.copy(), np.zeros(4), np.zeros(4), 0
    while True:
        g, t = slope(x), t + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        x = x - eta * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        yield x


def amsgrad(eta: float = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Iterator[Vector]:
    x, m, v, largest, t = START.copy(), np.zeros(4), np.zeros(4), np.zeros(4), 0
    while True:
        g, t = slope(x), t + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v)
        x = x - eta * (m / (1 - b1**t)) / (np.sqrt(largest / (1 - b2**t)) + eps)
        yield x


def adamax(eta: float = 2e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Iterator[Vector]:
    x, m, u, t = START.copy(), np.zeros(4), np.zeros(4), 0
    while True:
        g, t = slope(x), t + 1
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, np.abs(g) + eps)
        x = x - eta / (1 - b1**t) * m / u
        yield x


def nadam(kind: str, eta: float = 2e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Iterator[Vector]:
    x, m, v, t, product = START.copy(), np.zeros(4), np.zeros(4), 0, 1.0
    while True:
        g, t = slope(x), t + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        if kind == "ruder":
            ahead = b1 * m / (1 - b1**t) + (1 - b1) * g / (1 - b1**t)
        elif kind == "dozat":
            ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        else:
            now, after = b1 * (1 - 0.5 * 0.96 ** (t * 4e-3)), b1 * (1 - 0.5 * 0.96 ** ((t + 1) * 4e-3))
            product *= now
            ahead = after * m / (1 - product * after) + (1 - now) * g / (1 - product)
        x = x - eta * ahead / (np.sqrt(v / (1 - b2**t)) + eps)
        yield x


Rule = tuple[Callable[[list[torch.Tensor]], Optimizer], Callable[[], Iterator[Vector]]]
RULES: dict[str, Rule] = {
    "SGD": (lambda p: optim.SGD(p, 0.05), sgd),
    "Momentum": (lambda p: optim.Momentum(p, 0.05), momentum),
    "Momentum, averaged": (lambda p: optim.Momentum(p, 0.05, form="averaged"), averaged_momentum),
    "NAG, look-ahead points": (lambda p: optim.NAG(p, 0.05), nag_points),
    "Adagrad": (optim.Adagrad, adagrad),
    "Adagrad, large eps": (lambda p: optim.Adagrad(p, eps=0.1), lambda: adagrad(eps=0.1)),
    "Adadelta": (optim.Adadelta, adadelta),
    "RMSprop": (optim.RMSprop, rmsprop),
    "RMSprop, large eps": (lambda p: optim.RMSprop(p, eps=0.1), lambda: rmsprop(eps=0.1)),
    "RMSprop, eps outside": (
        lambda p: optim.RMSprop(p, eps=0.1, eps_inside=False),
        lambda: rmsprop(eps=0.1, inside=False),
    ),
    "Adam": (optim.Adam, adam),
    "AMSGrad": (lambda p: optim.Adam(p, amsgrad=True), amsgrad),
    "AdaMax": (optim.AdaMax, adamax),
    "Nadam": (optim.Nadam, lambda: nadam("ruder")),
    "Nadam, Dozat": (lambda p: optim.Nadam(p, variant="dozat"), lambda: nadam("dozat")),
    "Nadam, torch": (lambda p: optim.Nadam(p, variant="torch"), lambda: nadam("torch")),
}


def first(rows: Iterator[Vector], steps: int = STEPS) -> Vector:
    return np.stack([row for row, _ in zip(rows, range(steps), strict=False)])
