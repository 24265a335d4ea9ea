"""Gradient noise, and the schedules that torch lacks."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from vo3d import optim
from vo3d.errors import Vo3dError


def drawn(steps: int, size: int = 100_000, seed: int = 0, eta: float = 0.3) -> torch.Tensor:
    """The noise of each step: with rate 1 and no gradient a step of SGD is minus the noise."""
    x = torch.zeros(size, requires_grad=True)
    optimizer = optim.GradientNoise([x], lambda p: optim.SGD(p, 1.0), eta=eta, seed=seed)
    rows = []
    for _ in range(steps):
        before = x.detach().clone()
        x.grad = torch.zeros(size)
        optimizer.step()
        rows.append(before - x.detach())
    return torch.stack(rows)


@pytest.mark.parametrize("eta", [0.01, 0.3, 1.0])
def test_the_variance_falls_as_the_formula_says(eta: float) -> None:
    noise = drawn(6, eta=eta).double()
    for t in range(6):
        assert noise[t].var().item() == pytest.approx(eta / (1 + t) ** 0.55, rel=0.02)
        assert abs(noise[t].mean().item()) < 0.01


def test_the_noise_depends_on_seed_and_step_alone() -> None:
    noise = drawn(3, size=50)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(noise, drawn(3, size=50))
    assert torch.equal(state, torch.get_rng_state())
    rows = torch.cat([noise, drawn(3, size=50, seed=1)])
    assert len({tuple(row.tolist()) for row in rows}) == 6


def parabola(x: torch.Tensor, optimizer: Optimizer) -> Callable[[], torch.Tensor]:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (x - 1).square().sum()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.Momentum(p, 0.01),
        lambda p: optim.NAG(p, 0.01, form="closure"),
        optim.Adam,
        lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    ],
)
def test_noise_around_any_optimiser_resumes_exactly(make: Callable[[list[torch.Tensor]], Optimizer]) -> None:
    def begin(x: torch.Tensor) -> optim.GradientNoise:
        return optim.GradientNoise([x], make, eta=0.01)

    ends = []
    for cut in (None, 3):
        x = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimizer = begin(x)
        for step in range(8):
            if step == cut:
                stored = copy.deepcopy(optimizer.state_dict())
                x = x.detach().clone().requires_grad_(True)
                optimizer = begin(x)
                optimizer.load_state_dict(stored)
            optimizer.step(parabola(x, optimizer))
        ends.append(x.detach())
    assert torch.equal(*ends)
    still = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    plain = make([still])
    for _ in range(8):
        plain.step(parabola(still, plain))
    assert not torch.allclose(ends[0], still.detach(), atol=1e-6)


def test_evaluations_of_one_step_get_the_same_noise() -> None:
    x = torch.zeros(3, requires_grad=True)
    seen = []

    class Twice(optim.SGD):
        def step(self, closure: Callable[[], torch.Tensor] | None = None) -> None:
            assert closure is not None
            for _ in range(2):
                x.grad = None
                closure()
                assert x.grad is not None
                seen.append(x.grad.clone())

    optimizer = optim.GradientNoise([x], lambda p: Twice(p, 0.1))
    for _ in range(2):
        optimizer.step(parabola(x, optimizer))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0], seen[2])


def test_a_schedule_steers_what_is_inside() -> None:
    x = torch.zeros(2, requires_grad=True)
    optimizer = optim.GradientNoise([x], lambda p: optim.SGD(p, 1.0), eta=0.0)
    schedule = StepLR(optimizer, 1, gamma=0.1)
    x.grad = torch.ones(2)
    optimizer.step()
    schedule.step()
    optimizer.step()
    torch.testing.assert_close(x.detach(), torch.full((2,), -1.1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eta": -1.0}, "GradientNoise: eta is -1.0: expected a number of at least 0"),
        ({"gamma": float("nan")}, "GradientNoise: gamma is nan"),
        ({"seed": -1}, "GradientNoise: seed is -1: expected a whole number of at least 0"),
    ],
)
def test_bad_noise_is_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        optim.GradientNoise([torch.zeros(1, requires_grad=True)], optim.Adam, **settings)


def test_what_noise_cannot_do_is_told() -> None:
    table = torch.nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(Vo3dError, match="GradientNoise needs dense gradients"):
        optim.GradientNoise(table.parameters(), lambda p: optim.SGD(p, 0.1)).step()
    x = [torch.zeros(1, requires_grad=True)]
    with pytest.raises(Vo3dError, match="the state has no noise_steps"):
        optim.GradientNoise(x, optim.Adam).load_state_dict(optim.Adam(x).state_dict())


def sgd(rate: float = 1.0) -> optim.SGD:
    return optim.SGD([torch.zeros(1, requires_grad=True)], rate)


def test_the_rate_falls_where_the_loss_stands_still() -> None:
    optimizer = sgd()
    schedule = optim.ThresholdDecay(optimizer, 0.1, factor=0.5, min_lr=0.2)
    rates = []
    for loss in (3.0, 2.0, 1.95, 1.5, 1.49, 1.48, 1.47, float("nan"), 1.47, 1.46):
        optimizer.step()
        schedule.step(torch.tensor(loss))
        rates.append(schedule.get_last_lr()[0])
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.2, 0.2, 0.2, 0.2, 0.2]
    again = optim.ThresholdDecay(sgd(), 0.1)
    again.load_state_dict(schedule.state_dict())
    assert again.previous == schedule.previous == pytest.approx(1.46)


def test_the_rate_rises_and_then_follows_the_other_schedule() -> None:
    optimizer = sgd(2.0)
    schedule = optim.Warmup(optimizer, 4, lambda o: CosineAnnealingLR(o, 10), start=0.5)
    rates = []
    for _ in range(14):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:5] == pytest.approx([1.0, 1.25, 1.5, 1.75, 2.0])
    assert rates[9] == pytest.approx(1.0)  # the middle of the cosine
    assert rates[14] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.ThresholdDecay(sgd(), -1.0), "threshold -1.0"),
        (lambda: optim.ThresholdDecay(sgd(), 1.0, factor=1.0), "factor 1.0"),
        (lambda: optim.Warmup(sgd(), 0, lambda o: StepLR(o, 1)), "steps 0"),
        (lambda: optim.Warmup(sgd(), 2, lambda o: StepLR(o, 1), start=0.0), "start 0.0"),
        (lambda: optim.Warmup(sgd(), 2, ReduceLROnPlateau), "then is ReduceLROnPlateau, which watches a loss"),
        (lambda: optim.Warmup(sgd(), 2, lambda o: optim.ThresholdDecay(o, 0.1)), "then is ThresholdDecay"),
    ],
)
def test_bad_schedules_are_told(make: Callable[[], object], words: str) -> None:
    with pytest.raises(Vo3dError, match=words):
        make()
