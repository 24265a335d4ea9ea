"""Every first-order rule against a literal loop in NumPy, against what torch has, and in the common frame."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import Optimizer

from rule_loops import RULES, START, STEPS, Vector, first, nag, run, slope, value
from vo3d import optim
from vo3d.errors import Vo3dError


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


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.NAG(p, 0.05, form="closure"),
        lambda p: optim.MomentOptimizer(p, 0.5, first=optim.Average(0.9), look_ahead=0.9),
    ],
    ids=["NAG", "frame"],
)
def test_a_closure_that_fails_leaves_the_iterate(make: Callable[[list[torch.Tensor]], Optimizer]) -> None:
    x = torch.tensor(START, requires_grad=True)
    optimizer = make([x])

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
