"""The second-order methods as optimisers of torch: batches, saved states, schedules, and their errors."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from vo3d.errors import Vo3dError
from vo3d.optim import BFGS, DFP, LBFGS, SR1, ConjugateGradient, GradientNoise, Newton, minimize
from vo3d.optim.landscapes import beale, rosenbrock
from vo3d.optim.objective import ClosureObjective

Make = Callable[..., Optimizer]
MAKERS: dict[str, Make] = {
    "bfgs": BFGS,
    "dfp": DFP,
    "sr1": SR1,
    "lbfgs": LBFGS,
    "cg": ConjugateGradient,
    "newton": Newton,
    "newton-cg": lambda params, **settings: Newton(params, solve="cg", **settings),
}
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(4)
    while True:
        x = torch.randn(16, 3, generator=generator, dtype=torch.float64)
        yield x, torch.sin(x.sum(1, keepdim=True))


def closure_of(net: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor, calls: list[float]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        calls.append(float(loss.detach()))
        return loss

    return closure


def at(
    function: Callable[[Tensor], Tensor], x: Tensor, optimizer: Optimizer, calls: list[float]
) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = function(x)
        loss.backward()
        calls.append(float(loss.detach()))
        return loss

    return closure


@each_maker
def test_a_batch_is_learned(make: Make) -> None:
    net, (x, y) = network(), next(batches())
    optimizer = make(net.parameters())
    calls: list[float] = []
    closure = closure_of(net, optimizer, x, y, calls)
    losses = []
    for _ in range(15):
        before = len(calls)
        losses.append(float(optimizer.step(closure)))
        assert losses[-1] == calls[before]  # the loss from before the step
    assert losses[-1] < 0.15 * losses[0]
    assert losses == sorted(losses, reverse=True)


@each_maker
def test_many_iterations_in_one_step_are_minimize(make: Make, request: pytest.FixtureRequest) -> None:
    """On a deterministic closure both run the same loop, up to how Hessian products are made."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = make([x], max_iter=200, gtol=1e-6)
    calls: list[float] = []
    optimizer.step(at(rosenbrock, x, optimizer, calls))
    method = request.node.callspec.id
    found = minimize(rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64), method, gtol=1e-6)
    torch.testing.assert_close(x.detach(), found.x, rtol=0, atol=1e-6)
    if "newton" not in method:
        assert torch.equal(x.detach(), found.x)
        assert len(calls) == found.nfev


@each_maker
def test_steps_of_one_iteration_equal_one_step_of_many(make: Make) -> None:
    ends = []
    for steps, iterations in ((6, 1), (1, 6)):
        x = torch.tensor([1.0, 1.5], dtype=torch.float64, requires_grad=True)
        optimizer = make([x], max_iter=iterations)
        for _ in range(steps):
            optimizer.step(at(beale, x, optimizer, []))
        ends.append(x.detach())
    assert torch.equal(*ends)


@each_maker
def test_a_saved_optimiser_goes_on_exactly(make: Make, tmp_path: Path) -> None:
    data = batches()
    rounds = [next(data) for _ in range(8)]

    def train(net: nn.Module, optimizer: Optimizer, part: slice) -> None:
        for x, y in rounds[part]:
            optimizer.step(closure_of(net, optimizer, x, y, []))

    net = network()
    optimizer = make(net.parameters(), lr=0.5)
    train(net, optimizer, slice(0, 4))
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "half.pt")
    train(net, optimizer, slice(4, 8))

    half = torch.load(tmp_path / "half.pt", weights_only=True)
    again = network()
    again.load_state_dict(half["net"])
    resumed = make(again.parameters())
    resumed.load_state_dict(half["optimizer"])
    assert resumed.param_groups[0]["lr"] == 0.5
    train(again, resumed, slice(4, 8))
    for one, other in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_remembered_matters() -> None:
    """The counter-test of the one above: without its memory, L-BFGS takes another way."""
    ends = []
    for forget in (False, True):
        x = torch.tensor([1.0, 1.5], dtype=torch.float64, requires_grad=True)
        optimizer = LBFGS([x])
        for _ in range(4):
            optimizer.step(at(beale, x, optimizer, []))
            if forget:
                optimizer.state.clear()
        ends.append(x.detach())
    assert not torch.allclose(*ends)


def test_curvature_is_learned_within_one_batch(generator: torch.Generator) -> None:
    """Each batch has its own parabola A, so that y = A s tells which of them a pair came from."""
    matrices = []
    for scale in (1.0, 10.0, 100.0):
        root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        matrices.append(scale * (root @ root.mT + torch.eye(4, dtype=torch.float64)))
    x = torch.ones(4, dtype=torch.float64, requires_grad=True)
    optimizer = LBFGS([x], history=3)
    for A in matrices:
        optimizer.step(at(lambda x, A=A: x @ A @ x / 2, x, optimizer, []))
    (memory,) = optimizer.state.values()
    assert len(memory["steps"]) == 3
    for A, s, y in zip(matrices, memory["steps"], memory["changes"], strict=True):
        torch.testing.assert_close(y, A @ s, rtol=1e-9, atol=1e-9)


def test_the_rate_is_the_length_of_the_first_trial_and_schedules_set_it() -> None:
    x = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = ConjugateGradient([x], lr=0.2, line_search="fixed")
    schedule = LambdaLR(optimizer, lambda step: float(step > 0))
    closure = at(lambda x: (x**2).sum(), x, optimizer, [])
    optimizer.step(closure)
    assert torch.equal(x.detach(), torch.ones(2, dtype=torch.float64))  # a rate of 0 moves nothing
    schedule.step()
    optimizer.step(closure)
    torch.testing.assert_close(x.detach(), torch.full((2,), 1 - 0.2 / 8**0.5 * 2, dtype=torch.float64))


@each_maker
def test_parameters_without_a_gradient_stay(make: Make) -> None:
    used = torch.tensor([[1.0], [1.5]], dtype=torch.float64, requires_grad=True)
    unused = torch.ones(3, dtype=torch.float64, requires_grad=True)
    frozen = torch.ones(2, dtype=torch.float64)
    optimizer = make([unused, used, frozen], max_iter=5)
    calls: list[float] = []
    optimizer.step(at(lambda x: beale(x.view(2)), used, optimizer, calls))
    assert float(beale(used.detach().view(2))) < calls[0] / 2
    assert torch.equal(unused.detach(), torch.ones(3, dtype=torch.float64))
    assert torch.equal(frozen, torch.ones(2, dtype=torch.float64))


@each_maker
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_that_are_not_finite_move_nothing(make: Make, dtype: torch.dtype) -> None:
    x = torch.tensor([3.0, 20.0], dtype=dtype, requires_grad=True)
    optimizer = make([x], max_iter=60)
    loss = optimizer.step(at(lambda x: (x * torch.nan).sum(), x, optimizer, []))
    assert bool(torch.isnan(torch.as_tensor(loss)))
    assert torch.equal(x.detach(), torch.tensor([3.0, 20.0], dtype=dtype))
    optimizer.step(at(lambda x: (x - x.log()).sum(), x, optimizer, []))  # nan within the reach of the first trials
    torch.testing.assert_close(x.detach(), torch.ones(2, dtype=dtype), rtol=0, atol=1e-2)


def test_closures_work_without_gradients_around() -> None:
    x = torch.tensor([1.0, 1.5], dtype=torch.float64, requires_grad=True)
    optimizer = BFGS([x])
    calls: list[float] = []
    with torch.no_grad():
        optimizer.step(at(beale, x, optimizer, calls))
    assert calls[-1] < calls[0]
    assert x.requires_grad


def test_hessian_products_of_a_closure_equal_those_of_its_function() -> None:
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 2e-2)):
        x = torch.tensor([-1.2, 1.0], dtype=dtype, requires_grad=True)
        optimizer = LBFGS([x])
        calls: list[float] = []
        objective = ClosureObjective([x], at(rosenbrock_any, x, optimizer, calls))
        expected = torch.autograd.functional.hessian(rosenbrock_any, x.detach())
        found = objective.hessian(objective.position())
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
        assert len(calls) == objective.nfev == 4


def rosenbrock_any(x: Tensor) -> Tensor:
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


@pytest.mark.parametrize(
    ("function", "start", "minimum", "search", "expected"),
    [
        (rosenbrock, (-1.2, 1.0), (1.0, 1.0), "strong_wolfe", 43),
        (rosenbrock, (-1.2, 1.0), (1.0, 1.0), None, 62),
        (beale, (1.0, 1.5), (3.0, 0.5), "strong_wolfe", 16),
        (beale, (1.0, 1.5), (3.0, 0.5), None, 16),
    ],
)
def test_lbfgs_beside_torch(function, start, minimum, search, expected) -> None:
    """The calls that are known of torch's L-BFGS; ours reaches the same minimum with at most half as many more."""
    counts = []
    for make in (
        lambda x: torch.optim.LBFGS([x], max_iter=100, line_search_fn=search),
        lambda x: LBFGS([x], history=100, max_iter=100, gtol=1e-4, line_search=search or "fixed"),
    ):
        x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        optimizer = make(x)
        calls: list[float] = []
        optimizer.step(at(function, x, optimizer, calls))
        torch.testing.assert_close(x.detach(), torch.tensor(minimum, dtype=torch.float64), rtol=0, atol=1e-3)
        counts.append(len(calls))
    assert counts[0] == expected
    assert counts[1] <= 1.5 * expected


@each_maker
@pytest.mark.parametrize("wrap", [False, True], ids=["", "noise"])
def test_copies_go_on_as_what_they_are_copies_of(make: Make, wrap: bool) -> None:
    x = torch.tensor([1.0, 1.5], dtype=torch.float64, requires_grad=True)
    optimizer = GradientNoise([x], make, eta=1e-4) if wrap else make([x])
    optimizer.step(at(beale, x, optimizer, []))
    twin = copy.deepcopy(optimizer)
    (y,) = twin.param_groups[0]["params"]
    for _ in range(3):
        optimizer.step(at(beale, x, optimizer, []))
        twin.step(at(beale, y, twin, []))
    assert x is not y
    assert torch.equal(x, y)


def two_groups() -> Optimizer:
    return LBFGS([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)]}])


def without_result() -> None:
    BFGS([torch.ones(2, requires_grad=True)]).step(lambda: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: BFGS([torch.ones(2)]).step(),
            r"BFGS: step\(\) was called without a closure: expected a function that",
        ),
        (lambda: BFGS([torch.ones(2)]).step(lambda: torch.ones(2)), r"the closure returned \(2,\): expected the loss"),
        (without_result, "the closure returned nothing: expected the loss"),
        (two_groups, "LBFGS: found a second parameter group, expected one"),
        (lambda: DFP([torch.ones(101, 100)]), "DFP: 10,100 parameters, expected at most 10,000 .*: use LBFGS or Conj"),
        (lambda: Newton([torch.ones(3)], most_parameters=2), "Newton: 3 parameters, expected at most 2"),
        (lambda: LBFGS([torch.ones(1), torch.ones(1, device="meta")]), "LBFGS: parameters on cpu, meta: expected all"),
        (lambda: SR1([torch.ones(1)], lr=-0.1), "SR1: lr is -0.1: expected a number of at least 0"),
        (lambda: LBFGS([torch.ones(1)], history=0), "L-BFGS: the history is 0: expected 1 pair or more"),
        (lambda: BFGS([torch.ones(1)], max_iter=0), "max_iter is 0: expected 1 or more"),
        (lambda: BFGS([torch.ones(1)], gtol=-1.0), "gtol is -1.0: expected a number of at least 0"),
        (lambda: BFGS([torch.ones(1)], line_search="fix"), r"line search 'fix': expected .*; did you mean fixed\?"),
        (
            lambda: Newton([torch.ones(1)], solve="cgs"),
            r"Newton: solve 'cgs': expected one of exact, cg; did you mean cg\?",
        ),
        (lambda: Newton([torch.ones(1)], remedy="shifted"), r"'shifted': expected one of .*; did you mean shift\?"),
        (lambda: Newton([torch.ones(1)], solve="cg", max_inner=0), "max_inner is 0: expected 1 product or more"),
        (lambda: ConjugateGradient([torch.ones(1)], beta="fr+"), r"expected one of fr, .*; did you mean fr\?"),
        (lambda: BFGS([torch.ones(1, dtype=torch.complex64)]), "BFGS: a parameter is torch.complex64: expected real"),
    ],
)
def test_mistakes_are_told_in_one_line(call, message: str) -> None:
    with pytest.raises(Vo3dError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert Newton([torch.ones(101, 100)], solve="cg").most_parameters is None
