"""Saved states: those of other optimisers and of other parameters are refused in one line, those of before are read."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from vo3d import optim
from vo3d.errors import Vo3dError

Make = Callable[[list[Tensor]], Optimizer]
MAKERS: dict[str, Make] = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "Momentum": lambda p: optim.Momentum(p, 0.1),
    "NAG": lambda p: optim.NAG(p, 0.1),
    "Adagrad": optim.Adagrad,
    "Adadelta": optim.Adadelta,
    "RMSprop": optim.RMSprop,
    "Adam": optim.Adam,
    "AdaMax": optim.AdaMax,
    "Nadam": lambda p: optim.Nadam(p, variant="torch"),
    "MomentOptimizer": lambda p: optim.MomentOptimizer(p, 0.1, first=optim.Average(0.9)),
    "Newton": optim.Newton,
    "BFGS": optim.BFGS,
    "DFP": optim.DFP,
    "SR1": optim.SR1,
    "LBFGS": optim.LBFGS,
    "ConjugateGradient": optim.ConjugateGradient,
    "GradientNoise": lambda p: optim.GradientNoise(p, optim.Adam),
    "noise around torch's": lambda p: optim.GradientNoise(p, torch.optim.AdamW),
}
each = pytest.mark.parametrize("name", MAKERS)


def stepped(make: Make, *shapes: tuple[int, ...], count: int = 3) -> tuple[Optimizer, list[Tensor]]:
    tensors = [torch.full(shape, 1.5, dtype=torch.float64, requires_grad=True) for shape in shapes]
    optimizer = make(tensors)
    steps(optimizer, tensors, count)
    return optimizer, tensors


def steps(optimizer: Optimizer, tensors: list[Tensor], count: int = 3) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([tensor.sin().square().sum() + (tensor**4).sum() / 9 for tensor in tensors]).sum()
        loss.backward()
        return loss

    for _ in range(count):
        optimizer.step(closure)


def refused(optimizer: Optimizer, state: dict[str, Any], words: str) -> None:
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(Vo3dError, match=words) as caught:
        optimizer.load_state_dict(state)
    assert "\n" not in str(caught.value)
    assert str(before) == str(optimizer.state_dict())  # nothing changed


@each
def test_the_state_of_every_other_optimiser_is_refused(name: str) -> None:
    optimizer, _ = stepped(MAKERS[name], (3,))
    for other, make in MAKERS.items():
        for count in (0, 3):
            state = stepped(make, (3,), count=count)[0].state_dict()
            if other == name:
                MAKERS[name]([torch.ones(3, dtype=torch.float64, requires_grad=True)]).load_state_dict(state)
            else:
                refused(optimizer, state, "the state ")


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "noise around torch's"])
def test_the_state_of_other_parameters_is_refused(name: str) -> None:
    make = MAKERS[name]
    optimizer, _ = stepped(make, (2, 3), (4,))
    if name not in {"SGD", "Newton"}:  # which remember nothing
        refused(optimizer, stepped(make, (2, 3), (5,))[0].state_dict(), r"in the state is \(\d+,( \d+)?\): expected")
    refused(
        optimizer,
        stepped(make, (2, 3))[0].state_dict(),
        r"the state has \[1\] parameters in its groups: expected \[2\]",
    )
    refused(optimizer, {}, "the state has no ")


@each
def test_a_state_of_before_goes_on_exactly(name: str) -> None:
    """States did not tell who saved them."""
    make = MAKERS[name]
    one, here = stepped(make, (2, 3), (4,))
    state = {key: value for key, value in copy.deepcopy(one.state_dict()).items() if key != "optimizer"}
    again = [tensor.detach().clone().requires_grad_(True) for tensor in here]
    other = make(again)
    other.load_state_dict(state)
    steps(one, here)
    steps(other, again)
    for found, expected in zip(again, here, strict=True):
        assert torch.equal(found, expected)


TORCHS: list[tuple[str, Make, bool]] = [
    ("SGD", lambda p: torch.optim.SGD(p, 0.1), True),
    ("Adam", torch.optim.Adam, True),
    ("AdaMax", torch.optim.Adamax, True),
    ("Adadelta", torch.optim.Adadelta, True),
    ("Adagrad", torch.optim.Adagrad, False),
    ("RMSprop", torch.optim.RMSprop, False),
    ("Nadam", torch.optim.NAdam, False),
    ("AdaMax", torch.optim.Adam, False),
    ("Momentum", lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), False),
    ("LBFGS", torch.optim.LBFGS, False),
]


@pytest.mark.parametrize(("name", "theirs", "same"), TORCHS)
def test_states_of_torch_are_taken_where_it_does_the_same(name: str, theirs: Make, same: bool) -> None:
    for count in (0, 3):
        one, here = stepped(theirs, (3,), count=count)
        again = [tensor.detach().clone().requires_grad_(True) for tensor in here]
        optimizer = MAKERS[name](again)
        if not same:
            refused(optimizer, one.state_dict(), f"{name}: ")
            continue
        optimizer.load_state_dict(copy.deepcopy(one.state_dict()))
        steps(one, here)
        steps(optimizer, again)
        assert torch.equal(here[0], again[0])


def test_a_state_of_the_frame_needs_no_code_to_be_read(tmp_path: Path) -> None:
    one, here = stepped(MAKERS["MomentOptimizer"], (3,))
    torch.save(one.state_dict(), tmp_path / "state.pt")
    again = [here[0].detach().clone().requires_grad_(True)]
    other = MAKERS["MomentOptimizer"](again)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.param_groups[0]["first"] == optim.Average(0.9)
    steps(one, here)
    steps(other, again)
    assert torch.equal(here[0], again[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state["param_groups"][0].update(form="mean"), "Momentum: form is 'mean'"),
        (lambda state: state["param_groups"][0].update(momentum=2.0), "Momentum: momentum is 2.0"),
        (lambda state: state["state"][0].pop("velocity"), "it has step of a parameter, expected step, velocity"),
        (lambda state: state["state"][0].update(velocity=None), r"velocity in the state is NoneType: expected \(3,\)"),
        (lambda state: state["state"][0].update(step=None), "step in the state is None: expected a number"),
        (lambda state: state["state"][0].update(velocity=torch.ones(1)), r"velocity in the state is \(1,\): expected"),
    ],
)
def test_a_broken_state_is_refused(change: Callable[[dict[str, Any]], object], words: str) -> None:
    optimizer, _ = stepped(MAKERS["Momentum"], (3,))
    state = copy.deepcopy(optimizer.state_dict())
    change(state)
    refused(optimizer, state, words)


def test_the_form_of_a_state_counts() -> None:
    """A state taken in one form goes on in it, whatever the optimiser that takes it was told."""
    one, here = stepped(lambda p: optim.NAG(p, 0.1, form="closure"), (3,))
    again = [here[0].detach().clone().requires_grad_(True)]
    other = optim.NAG(again, 0.1)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    steps(one, here)
    steps(other, again)
    assert torch.equal(here[0], again[0])
