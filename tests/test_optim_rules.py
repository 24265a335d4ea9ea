"""Every first-order rule against a literal loop in NumPy, and against what torch has."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import Optimizer

from vo3d import optim
from vo3d.errors import Vo3dError

STEPS = 30
START = np.array([1.5, -2.0, 0.3, 4.0])
CURVATURE = np.array([1.0, 0.3, 5.0, 0.05])
Vector = np.ndarray[Any, Any]


def slope(x: Vector) -> Vector:
    """Gradient of sum(curvature x^2 / 2 + 0.3 sin(3 x)): convex for most coordinates, wavy in all."""
    return CURVATURE * x + 0.9 * np.cos(3 * x)


def value(x: torch.Tensor) -> torch.Tensor:
    return (torch.tensor(CURVATURE) * x.square() / 2 + 0.3 * torch.sin(3 * x)).sum()


def run(make: Callable[[list[torch.Tensor]], Optimizer], steps: int = STEPS, closure: bool = False) -> Vector:
    """The iterates of an optimiser, a row a step."""
    x = torch.tensor(START, requires_grad=True)
    optimizer = make([x])

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = value(x)
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


@pytest.mark.parametrize("name", RULES)
def test_a_rule_equals_its_loop(name: str) -> None:
    make, loop = RULES[name]
    np.testing.assert_allclose(run(make), first(loop()), rtol=0, atol=1e-12)


def test_nesterov_with_a_closure_keeps_the_iterates() -> None:
    rows = run(lambda p: optim.NAG(p, 0.05, form="closure"), closure=True)
    np.testing.assert_allclose(rows, first(nag()), rtol=0, atol=1e-12)


def test_the_two_forms_of_nesterov_agree() -> None:
    x = torch.tensor(START, requires_grad=True)
    optimizer = optim.NAG([x], 0.05)
    rows = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value(x).backward()
        optimizer.step()
        held = x.detach().clone()
        with optimizer.at_iterate():
            rows.append(x.detach().numpy().copy())
        assert torch.equal(x.detach(), held)
    np.testing.assert_allclose(
        np.stack(rows), run(lambda p: optim.NAG(p, 0.05, form="closure"), closure=True), rtol=0, atol=1e-12
    )


def test_a_closure_that_fails_leaves_the_iterate() -> None:
    x = torch.tensor(START, requires_grad=True)
    optimizer = optim.NAG([x], 0.05, form="closure")

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = value(x)
        loss.backward()
        return loss

    optimizer.step(evaluate)
    before = x.detach().clone()

    def broken() -> torch.Tensor:
        assert not torch.allclose(x.detach(), before)  # the look-ahead point
        raise KeyError("broken")

    with pytest.raises(KeyError):
        optimizer.step(broken)
    torch.testing.assert_close(x.detach(), before, rtol=0, atol=1e-15)


# --- what torch does, and what it does not ---

IDENTICAL: dict[str, tuple[Callable[..., Optimizer], Callable[..., Optimizer]]] = {
    "SGD": (lambda p: optim.SGD(p, 0.05), lambda p: torch.optim.SGD(p, 0.05)),
    "Momentum at a constant rate": (
        lambda p: optim.Momentum(p, 0.05),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
    ),
    "averaged momentum, rate times 1 - b": (
        lambda p: optim.Momentum(p, 0.05, form="averaged"),
        lambda p: torch.optim.SGD(p, 0.05 * (1 - 0.9), momentum=0.9),
    ),
    "look-ahead points of NAG": (
        lambda p: optim.NAG(p, 0.05),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    ),
    "Adagrad whose sums begin at eps": (
        optim.Adagrad,
        lambda p: torch.optim.Adagrad(p, eps=0, initial_accumulator_value=1e-8),
    ),
    "Adadelta": (optim.Adadelta, torch.optim.Adadelta),
    "Adam": (optim.Adam, torch.optim.Adam),
    "AdaMax": (optim.AdaMax, torch.optim.Adamax),
    "AdaMax without eps": (lambda p: optim.AdaMax(p, eps=0.0), lambda p: torch.optim.Adamax(p, lr=2e-3, eps=0)),
    "Nadam of torch": (lambda p: optim.Nadam(p, variant="torch"), torch.optim.NAdam),
    "Nadam of Dozat": (
        lambda p: optim.Nadam(p, variant="dozat"),
        lambda p: torch.optim.NAdam(p, momentum_decay=1e6),
    ),
    "RMSprop with eps outside": (
        lambda p: optim.RMSprop(p, eps_inside=False),
        lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.9),
    ),
}


@pytest.mark.parametrize("name", IDENTICAL)
def test_identical_to_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = IDENTICAL[name]
    if name.startswith("Nadam"):  # torch keeps its product of decays in the default type, and loses 7e-9 by it
        monkeypatch.setattr(sys.modules["torch.optim.nadam"], "_get_scalar_dtype", lambda *_: torch.float64)
    np.testing.assert_allclose(run(ours), run(theirs), rtol=0, atol=1e-12)


DIFFERENT: dict[str, tuple[Callable[..., Optimizer], Callable[..., Optimizer], float]] = {
    "dampening is not the average": (
        lambda p: optim.Momentum(p, 0.05, form="averaged"),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, dampening=0.9),
        1e-2,
    ),
    "Adagrad's eps outside of the root": (optim.Adagrad, torch.optim.Adagrad, 1e-11),
    "RMSprop's eps outside of the root": (
        optim.RMSprop,
        lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.9),
        1e-12,
    ),
    "RMSprop's defaults": (optim.RMSprop, torch.optim.RMSprop, 1e-2),
    "Nadam's correction": (optim.Nadam, lambda p: torch.optim.NAdam(p, momentum_decay=1e6), 1e-4),
    "Adadelta with another library's rate": (optim.Adadelta, lambda p: torch.optim.Adadelta(p, lr=1e-3), 1e-3),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_not_identical_to_torch(name: str) -> None:
    ours, theirs, least = DIFFERENT[name]
    assert np.abs(run(ours) - run(theirs)).max() > least


def test_torchs_nesterov_is_not_at_the_iterates() -> None:
    theirs = run(lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True))
    assert np.abs(theirs - first(nag())).max() > 0.05


def scheduled(make: Callable[[list[torch.Tensor]], Optimizer]) -> Vector:
    x = torch.tensor(START, requires_grad=True)
    optimizer = make([x])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.3)
    rows = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value(x).backward()
        optimizer.step()
        schedule.step()
        rows.append(x.detach().numpy().copy())
    return np.stack(rows)


def test_momentum_remembers_steps_and_torch_gradients_when_the_rate_changes() -> None:
    x, v, eta, rows = START.copy(), np.zeros(4), 0.05, []
    for step in range(STEPS):
        v = 0.9 * v + eta * slope(x)
        x = x - v
        rows.append(x)
        eta *= 0.3 if (step + 1) % 5 == 0 else 1.0
    ours = scheduled(lambda p: optim.Momentum(p, 0.05))
    np.testing.assert_allclose(ours, np.stack(rows), rtol=0, atol=1e-12)
    assert np.abs(ours - scheduled(lambda p: torch.optim.SGD(p, 0.05, momentum=0.9))).max() > 0.1


def test_the_averaged_form_follows_a_schedule_as_torch_does() -> None:
    ours = scheduled(lambda p: optim.Momentum(p, 0.05, form="averaged"))
    theirs = scheduled(lambda p: torch.optim.SGD(p, 0.05 * (1 - 0.9), momentum=0.9))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


# --- the frame ---

FRAME: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.05}),
    "Momentum": ("Momentum", {"lr": 0.05, "first": optim.DecayedSum(0.9)}),
    "Momentum, averaged": ("Momentum, averaged", {"lr": 0.05, "first": optim.Average(0.9)}),
    "Adagrad": ("Adagrad", {"lr": 0.01, "second": optim.SquareSum(), "eps": 1e-8, "eps_inside": True}),
    "Adadelta": (
        "Adadelta",
        {"lr": 1.0, "second": optim.SquareAverage(0.9), "eps": 1e-6, "eps_inside": True, "past_steps": 0.9},
    ),
    "RMSprop": ("RMSprop", {"lr": 1e-3, "second": optim.SquareAverage(0.9), "eps": 1e-8, "eps_inside": True}),
    "RMSprop, eps outside": ("RMSprop, eps outside", {"lr": 1e-3, "second": optim.SquareAverage(0.9), "eps": 0.1}),
    "Adam": (
        "Adam",
        {"lr": 1e-3, "first": optim.Average(0.9, True), "second": optim.SquareAverage(0.999, True), "eps": 1e-8},
    ),
    "Nadam": (
        "Nadam",
        {"lr": 2e-3, "first": optim.NesterovAverage(0.9), "second": optim.SquareAverage(0.999, True), "eps": 1e-8},
    ),
}


@pytest.mark.parametrize("name", FRAME)
def test_the_frame_gives_the_named_method(name: str) -> None:
    rule, moments = FRAME[name]
    np.testing.assert_allclose(
        run(lambda p: optim.MomentOptimizer(p, **moments)), run(RULES[rule][0]), rtol=0, atol=1e-12
    )


def test_the_frame_gives_adamax_without_eps() -> None:
    frame = run(
        lambda p: optim.MomentOptimizer(p, 2e-3, first=optim.Average(0.9, True), second=optim.LargestSquare(0.999))
    )
    np.testing.assert_allclose(frame, run(lambda p: optim.AdaMax(p, eps=0.0)), rtol=0, atol=1e-12)


def test_the_frame_looks_ahead_by_a_part_of_the_last_step() -> None:
    def make(look_ahead: float) -> Vector:
        return run(
            lambda p: optim.MomentOptimizer(p, 0.05 / (1 - 0.9), first=optim.Average(0.9), look_ahead=look_ahead),
            closure=True,
        )

    np.testing.assert_allclose(make(0.9), first(nag()), rtol=0, atol=1e-12)
    assert np.abs(make(1.0) - first(nag())).max() > 0.01  # as the survey's frame has it
    with pytest.raises(Vo3dError, match="needs a closure"):
        optim.MomentOptimizer([torch.zeros(1, requires_grad=True)], 0.1, look_ahead=0.9).step()


# --- state, groups, gradients that are absent, zero or sparse ---


@pytest.mark.parametrize("name", RULES)
def test_a_state_dict_goes_on_where_it_was_taken(name: str) -> None:
    make, _ = RULES[name]
    whole = run(make)
    x = torch.tensor(START, requires_grad=True)
    optimizer = make([x])
    for step in range(STEPS):
        if step == 11:
            stored = copy.deepcopy(optimizer.state_dict())
            x = x.detach().clone().requires_grad_(True)
            optimizer = make([x])
            optimizer.load_state_dict(stored)
        optimizer.zero_grad()
        value(x).backward()
        optimizer.step()
        assert np.array_equal(x.detach().numpy(), whole[step])


@pytest.mark.parametrize("name", RULES)
def test_groups_have_rates_of_their_own(name: str) -> None:
    make, _ = RULES[name]
    rate = make([torch.zeros(1, requires_grad=True)]).param_groups[0]["lr"]
    kind = type(make([torch.zeros(1, requires_grad=True)]))
    options = {"form": "averaged"} if name == "Momentum, averaged" else {}
    one, two = (torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True) for _ in "ab")
    together = kind([{"params": [one], "lr": 2 * rate}, {"params": [two]}], lr=rate, **options)
    alone = [kind([tensor], lr=scale * rate, **options) for tensor, scale in ((one, 2), (two, 1))]
    for tensor in (one, two):
        tensor.grad = torch.tensor([0.5, 3.0], dtype=torch.float64)
    together.step()
    moved = [one.detach().clone(), two.detach().clone()]
    with torch.no_grad():
        for tensor in (one, two):
            tensor.copy_(torch.tensor([1.0, -2.0]))
    for optimizer in alone:
        optimizer.step()
    assert torch.equal(moved[0], one.detach())
    assert torch.equal(moved[1], two.detach())
    assert not torch.equal(moved[0], moved[1])


@pytest.mark.parametrize("name", RULES)
def test_weight_decay_is_a_part_of_the_gradient(name: str) -> None:
    make, _ = RULES[name]
    one, two = (torch.tensor(START, requires_grad=True) for _ in "ab")
    decayed, plain = make([one]), make([two])
    decayed.param_groups[0]["weight_decay"] = 0.1
    for _ in range(3):
        one.grad = torch.tensor(slope(one.detach().numpy()))
        two.grad = torch.tensor(slope(two.detach().numpy())) + 0.1 * two.detach()
        decayed.step()
        plain.step()
    torch.testing.assert_close(one, two, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_no_gradient_leaves_alone_and_a_zero_gradient_gives_no_nan(name: str) -> None:
    make, _ = RULES[name]
    used, unused = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = make([used, unused])
    for _ in range(3):
        used.grad = torch.zeros(3)
        optimizer.step()
    assert torch.equal(used.detach(), torch.ones(3))
    assert torch.equal(unused.detach(), torch.ones(3))
    assert unused not in optimizer.state or not optimizer.state[unused].get("step")


def test_adamax_without_eps_divides_zero_by_zero() -> None:
    x = torch.ones(2, requires_grad=True)
    x.grad = torch.tensor([0.0, 1.0])
    optim.AdaMax([x], eps=0.0).step()
    assert x.detach().isnan().tolist() == [True, False]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adagrad])
def test_sparse_gradients(kind: Callable[..., Optimizer]) -> None:
    rows = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table = torch.nn.Embedding(5, 2, sparse=sparse)
        optimizer = kind(table.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            with torch.sparse.check_sparse_tensor_invariants(True):  # or torch warns that it does not check
                table(torch.tensor([1, 3, 3])).square().sum().backward()
                optimizer.step()
        rows.append(table.weight.detach())
    torch.testing.assert_close(*rows)


def test_sparse_gradients_are_refused_by_the_others() -> None:
    table = torch.nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(Vo3dError, match="Nadam needs dense gradients: SGD and Adagrad take sparse ones"):
        optim.Nadam(table.parameters()).step()


@pytest.mark.parametrize("name", ["Adam", "AdaMax", "Nadam", "Adagrad", "RMSprop"])
def test_adaptive_steps_do_not_depend_on_the_scale_of_the_loss(name: str) -> None:
    make, _ = RULES[name]
    rows = []
    for scale in (1.0, 1000.0):
        x = torch.tensor(START, requires_grad=True)
        optimizer = make([x])
        for _ in range(STEPS):
            optimizer.zero_grad()
            (scale * value(x)).backward()
            optimizer.step()
        rows.append(x.detach())
    torch.testing.assert_close(*rows, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Momentum", "NAG, look-ahead points", "Adadelta"])
def test_other_steps_depend_on_the_scale_of_the_loss(name: str) -> None:
    make, _ = RULES[name]
    rows = []
    for scale in (1.0, 3.0):
        x = torch.tensor(START, requires_grad=True)
        optimizer = make([x])
        for _ in range(STEPS):
            optimizer.zero_grad()
            (scale * value(x)).backward()
            optimizer.step()
        rows.append(x.detach())
    assert (rows[0] - rows[1]).abs().max() > 1e-6


def test_adadelta_does_not_depend_on_the_scale_where_eps_is_negligible() -> None:
    rows = []
    for scale in (1.0, 1000.0):
        x = torch.tensor(START, requires_grad=True)
        optimizer = optim.Adadelta([x], eps=1e-18)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (scale * value(x)).backward()
            optimizer.step()
        rows.append(x.detach())
    torch.testing.assert_close(*rows, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["Momentum", "NAG, look-ahead points", "RMSprop", "Nadam", "Nadam, torch"])
def test_a_list_of_parameters_steps_as_each_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an accelerator all parameters go through a rule at once; this takes that way on the CPU."""
    make, _ = RULES[name]
    torch.manual_seed(0)
    values = [torch.randn(shape, dtype=torch.float64) for shape in ((3,), (2, 4), (), (5, 1, 2))]

    def stepped() -> list[torch.Tensor]:
        tensors = [value.clone().requires_grad_(True) for value in values]
        optimizer = make(tensors)
        for step in range(4):
            for place, tensor in enumerate(tensors):
                absent = place == 1 and step == 0  # so that the numbers of steps differ
                tensor.grad = None if absent else torch.sin(tensor.detach() + place + step)
            optimizer.step()
        return [tensor.detach() for tensor in tensors]

    alone = stepped()
    monkeypatch.setattr("vo3d.optim.first_order.together", lambda ps: [[p for p in ps if p.grad is not None]])
    for one, other in zip(alone, stepped(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)


DEVICES = ["cpu", *([str(torch.accelerator.current_accelerator())] if torch.accelerator.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", RULES)
def test_a_hundred_steps_in_float32_agree_on_every_device(
    name: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, where an accelerator would be compared, the way that parameters take on one: all at once."""
    make, _ = RULES[name]

    def ends(place: str, at_once: bool) -> list[torch.Tensor]:
        if at_once:
            monkeypatch.setattr("vo3d.optim.first_order.together", lambda ps: [list(ps)])
        tensors = [torch.full((3,), start, device=place, requires_grad=True) for start in (1.0, -0.5)]
        optimizer = make(tensors)
        for _ in range(100):
            optimizer.zero_grad()
            torch.stack([tensor.cos().sum() for tensor in tensors]).sum().backward()
            optimizer.step()
        return [tensor.detach().cpu() for tensor in tensors]

    for one, other in zip(ends("cpu", False), ends(device, device == "cpu"), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


UNCHECKED = """
import torch
from vo3d import optim
from vo3d.errors import Vo3dError

start = torch.tensor([1.5, -2.0, 0.3])
for make in (lambda p: optim.Momentum(p, 0.1), lambda p: optim.NAG(p, 0.1), optim.RMSprop, optim.Nadam):
    ends = []
    for compiled in (False, True):
        x = start.clone().requires_grad_(True)
        optimizer = make([x])
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        for _ in range(3):
            x.grad = torch.sin(x.detach())
            step()
        ends.append(x.detach())
    torch.testing.assert_close(*ends, rtol=0, atol=1e-7)
    print("compiled")
for make in (
    lambda p: optim.NAG(p, 0.1, form="ahead"),
    lambda p: optim.Momentum(p, 0.1, form="mean"),
    lambda p: optim.Nadam(p, variant="keras"),
    lambda p: optim.Nadam(p, betas=(0.9,)),
):
    try:
        make([start.clone().requires_grad_(True)])
    except Vo3dError as error:
        print(error)
"""


def test_compiled_steps_and_words_where_types_are_not_checked() -> None:
    """The checks of types in this suite refuse wrong words first, and are no code for torch.compile."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", UNCHECKED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [
        *["compiled"] * 4,
        "NAG: form is 'ahead': expected look_ahead or closure",
        "Momentum: form is 'mean': expected accumulated or averaged",
        "Nadam: variant is 'keras': expected ruder, dozat or torch",
        "Nadam: betas are (0.9,): expected two numbers",
    ], done.stderr[-2000:]


BAD: list[tuple[Callable[[list[torch.Tensor]], object], str]] = [
    (lambda p: optim.SGD(p, -1.0), "SGD: lr is -1.0: expected a number of at least 0"),
    (lambda p: optim.Adam(p, float("nan")), "Adam: lr is nan"),
    (lambda p: optim.Momentum(p, 0.1, momentum=1.0), "Momentum: momentum is 1.0: expected at least 0 and less than 1"),
    (lambda p: optim.NAG(p, 0.1, momentum=-0.1), "NAG: momentum is -0.1"),
    (lambda p: optim.NAG(p, 0.1, form="closure").step(), "needs a closure"),
    (lambda p: optim.Adagrad(p, eps=-1.0), "Adagrad: eps is -1.0"),
    (lambda p: optim.Adadelta(p, rho=1.0), "Adadelta: rho is 1.0"),
    (lambda p: optim.RMSprop(p, alpha=1.5), "RMSprop: alpha is 1.5"),
    (lambda p: optim.Adam(p, betas=(0.9, 1.0)), r"Adam: betas\[1\] is 1.0"),
    (lambda p: optim.AdaMax(p, weight_decay=-1.0), "AdaMax: weight_decay is -1.0"),
    (lambda p: optim.MomentOptimizer(p, 0.1, first=optim.Average(1.0)), "MomentOptimizer: Average: beta is 1.0"),
    (lambda p: optim.MomentOptimizer(p, 0.1, past_steps=2.0), "MomentOptimizer: past_steps is 2.0"),
    (lambda p: optim.MomentOptimizer(p, 0.1, look_ahead=-0.5), "MomentOptimizer: look_ahead is -0.5"),
    (lambda p: optim.RMSprop([{"params": p, "lr": -3.0}]), "RMSprop: lr is -3.0"),
    (lambda p: optim.Adam([torch.zeros(1, dtype=torch.complex64, requires_grad=True)]), "expected real ones"),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.filterwarnings("ignore:.*")
def test_bad_settings_are_told(make: Callable[[list[torch.Tensor]], object], words: str) -> None:
    with pytest.raises(Vo3dError, match=words) as told:
        make([torch.zeros(2, requires_grad=True)])
    assert "\n" not in str(told.value)
