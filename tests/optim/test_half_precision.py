"""Parameters in half precision: a gradient of 0 moves nothing, or the settings are refused in one line."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch.optim import Optimizer

from rule_loops import RULES
from vo3d import optim
from vo3d.errors import Vo3dError

HALVES = [torch.float16, torch.bfloat16]
RULE_OF = {name: make for name, (make, _) in RULES.items()}
EPS_OF_1E_8 = {"Adagrad", "RMSprop", "Adam", "AMSGrad", "AdaMax", "Nadam", "Nadam, Dozat", "Nadam, torch"}
EPS = r"eps is 1e-08, which is 0 in torch\.float16"
WITH_EPS: dict[str, Callable[..., Optimizer]] = {
    "Adagrad": optim.Adagrad,
    "Adadelta": optim.Adadelta,
    "RMSprop": optim.RMSprop,
    "RMSprop, eps outside": lambda p, eps=1e-8: optim.RMSprop(p, eps=eps, eps_inside=False),
    "Adam": optim.Adam,
    "AMSGrad": lambda p, eps=1e-8: optim.Adam(p, eps=eps, amsgrad=True),
    "AdaMax": optim.AdaMax,
    "Nadam": optim.Nadam,
    "Nadam, torch": lambda p, eps=1e-8: optim.Nadam(p, eps=eps, variant="torch"),
    "frame": lambda p, eps=1e-8: optim.MomentOptimizer(p, 0.1, second=optim.SquareSum(), eps=eps),
}


def rests(optimizer: Optimizer, x: torch.Tensor) -> None:
    for _ in range(3):
        x.grad = torch.zeros_like(x)
        optimizer.step()
    assert torch.equal(x.detach(), torch.ones_like(x))


def ones(dtype: torch.dtype) -> torch.Tensor:
    return torch.ones(3, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", RULES)
def test_a_zero_gradient_gives_no_nan_with_the_settings_of_every_rule(name: str, dtype: torch.dtype) -> None:
    x = ones(dtype)
    if dtype == torch.float16 and name in EPS_OF_1E_8:
        with pytest.raises(Vo3dError, match=EPS) as refusal:
            RULE_OF[name]([x])
        assert "\n" not in str(refusal.value)
    else:
        rests(RULE_OF[name]([x]), x)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("eps", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("name", WITH_EPS)
def test_a_zero_gradient_gives_no_nan_at_any_eps_that_is_taken(name: str, eps: float, dtype: torch.dtype) -> None:
    x = ones(dtype)
    nadam = name.startswith("Nadam")  # its first step makes eps 30 times smaller
    if dtype == torch.float16 and eps < (1e-6 if nadam else 5e-8):
        with pytest.raises(Vo3dError, match=f"eps is {eps}, which is 0 in torch.float16.*expected a larger one"):
            WITH_EPS[name]([x], eps=eps)
    else:
        rests(WITH_EPS[name]([x], eps=eps), x)


def test_eps_is_looked_at_in_every_group_and_in_states() -> None:
    half = ones(torch.float16)
    optimizer = optim.Adam([{"params": [ones(torch.float32)]}, {"params": [half], "eps": 1e-4}])
    with pytest.raises(Vo3dError, match=f"Adam: {EPS}"):
        optimizer.add_param_group({"params": [ones(torch.float16)]})
    with pytest.raises(Vo3dError, match=f"Adagrad: {EPS}"):
        optim.Adagrad([{"params": [half], "eps": 1e-8}], eps=1e-4)
    state = optim.Adam([ones(torch.float32)]).state_dict()
    with pytest.raises(Vo3dError, match=f"Adam: {EPS}"):
        optim.Adam([half], eps=1e-4).load_state_dict(state)
    other = ones(torch.float32)
    rests(copy.deepcopy(optim.Adam([other], eps=1e-20)), other)  # small, but a number of float32


def test_exact_newton_needs_a_type_that_torch_factorises_in() -> None:
    for dtype in HALVES:
        x = ones(dtype)
        optimizer = optim.Newton([x])

        def closure(x: torch.Tensor = x, optimizer: Optimizer = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (x - 0.25).square().sum()
            loss.backward()
            return loss

        with pytest.raises(Vo3dError, match=f"Newton: the numbers are {dtype}: expected torch.float32 or float64"):
            optimizer.step(closure)
        assert torch.equal(x.detach(), torch.ones_like(x))
