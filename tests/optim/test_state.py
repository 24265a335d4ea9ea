"""First-order optimisers: saved states, groups, absent, zero and sparse gradients, scales, devices, bad settings."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim import Optimizer

from rule_loops import RULES, START, STEPS, run, slope, value
from vo3d import optim
from vo3d.errors import Vo3dError


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
    one, other = run(make)[-1], run(make, scale=1000.0)[-1]
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Momentum", "NAG, look-ahead points", "Adadelta"])
def test_other_steps_depend_on_the_scale_of_the_loss(name: str) -> None:
    make, _ = RULES[name]
    one, other = run(make)[-1], run(make, scale=3.0)[-1]
    assert np.abs(one - other).max() > 1e-6


def test_adadelta_does_not_depend_on_the_scale_where_eps_is_negligible() -> None:
    one, other = (run(lambda p: optim.Adadelta(p, eps=1e-18), scale=scale)[-1] for scale in (1.0, 1000.0))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


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
    monkeypatch.setattr("vo3d.optim.base.together", lambda ps: [[p for p in ps if p.grad is not None]])
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
            monkeypatch.setattr("vo3d.optim.base.together", lambda ps: [list(ps)])
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
