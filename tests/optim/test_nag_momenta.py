"""NAG with a momentum for each group of parameters, and with one that changes from step to step."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from vo3d.optim import NAG

STEPS, RATE = 12, 0.1
STARTS, MOMENTA = (1.5, -2.0), (0.9, 0.3)
Form = Literal["look_ahead", "closure"]


def slope(x: float) -> float:
    """Of x^2 / 2 - cos(2 x) / 2."""
    return float(x + np.sin(2 * x))


def loss_of(parameters: list[Tensor]) -> Tensor:
    return sum((x**2 / 2 - (2 * x).cos() / 2 for x in parameters), torch.zeros((), dtype=torch.float64))


def by_hand(start: float, momenta: list[float]) -> list[float]:
    """V <- gamma v + eta g(theta - gamma v), theta <- theta - v, with gamma of each step."""
    theta, v, rows = start, 0.0, []
    for gamma in momenta:
        v = gamma * v + RATE * slope(theta - gamma * v)
        theta -= v
        rows.append(theta)
    return rows


def numbers(parameters: list[Tensor]) -> list[float]:
    return [parameter.item() for parameter in parameters]


def two_groups(form: Form) -> tuple[list[Tensor], NAG]:
    parameters = [torch.tensor(start, dtype=torch.float64, requires_grad=True) for start in STARTS]
    groups = [{"params": [x], "momentum": gamma} for x, gamma in zip(parameters, MOMENTA, strict=True)]
    return parameters, NAG(groups, RATE, momentum=0.6, form=form)


@pytest.mark.parametrize("form", ["look_ahead", "closure"])
def test_each_group_has_the_iterates_of_its_own_momentum(form: Form) -> None:
    parameters, optimizer = two_groups(form)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(parameters)
        loss.backward()
        return loss

    expected = np.array([by_hand(start, [gamma] * STEPS) for start, gamma in zip(STARTS, MOMENTA, strict=True)]).T
    for row in expected:
        optimizer.step(evaluate)
        held = numbers(parameters)
        with optimizer.at_iterate():
            assert numbers(parameters) == pytest.approx(row.tolist(), abs=1e-13)
        assert numbers(parameters) == held
        assert (held == pytest.approx(row.tolist(), abs=1e-13)) == (form == "closure")


def test_look_ahead_points_are_ahead_by_the_momentum_of_their_group() -> None:
    parameters, optimizer = two_groups("look_ahead")
    for step in range(1, STEPS):
        optimizer.zero_grad()
        loss_of(parameters).backward()
        optimizer.step()
        for place, (start, gamma) in enumerate(zip(STARTS, MOMENTA, strict=True)):
            before, now = [start, *by_hand(start, [gamma] * step)][-2:]
            assert parameters[place].item() == pytest.approx(now + gamma * (now - before), abs=1e-13)


def test_the_closure_form_follows_a_momentum_that_changes_between_steps() -> None:
    momenta = [0.5 + 0.04 * step for step in range(STEPS)]
    x = torch.tensor(STARTS[0], dtype=torch.float64, requires_grad=True)
    optimizer = NAG([x], RATE, momentum=0.99, form="closure")

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of([x])
        loss.backward()
        return loss

    for gamma, expected in zip(momenta, by_hand(STARTS[0], momenta), strict=True):
        optimizer.param_groups[0]["momentum"] = gamma
        optimizer.step(evaluate)
        assert x.item() == pytest.approx(expected, abs=1e-13)
