"""Settings of parameter groups: obeyed in the group that has them, or refused in one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from vo3d import optim
from vo3d.errors import Vo3dError

Kind = Callable[..., Optimizer]


def parameter(seed: float = 0.0) -> Tensor:
    return torch.tensor([1.0 + seed, -2.0, 0.3], dtype=torch.float64, requires_grad=True)


def steps(optimizer: Optimizer, tensors: list[Tensor]) -> list[Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([tensor.sin().square().sum() for tensor in tensors]).sum()
        loss.backward()
        return loss

    for _ in range(6):
        optimizer.step(closure)
    return [tensor.detach() for tensor in tensors]


OBEYED: list[tuple[Kind, dict[str, Any], dict[str, Any]]] = [  # of all groups, and of the second
    (optim.SGD, {"lr": 0.1}, {"weight_decay": 0.5}),
    (optim.Momentum, {"lr": 0.1}, {"form": "averaged"}),
    (optim.Momentum, {"lr": 0.1}, {"momentum": 0.5}),
    (optim.NAG, {"lr": 0.1}, {"form": "closure"}),
    (optim.NAG, {"lr": 0.1, "form": "closure"}, {"form": "look_ahead", "momentum": 0.5}),
    (optim.Adagrad, {}, {"eps": 0.5}),
    (optim.Adadelta, {}, {"rho": 0.5, "eps": 1e-3}),
    (optim.RMSprop, {"eps": 0.1}, {"eps_inside": False}),
    (optim.RMSprop, {}, {"alpha": 0.5, "eps": 0.1}),
    (optim.Adam, {}, {"betas": (0.5, 0.6), "eps": 0.1}),
    (optim.Adam, {"lr": 0.5, "betas": (0.9, 0.5)}, {"amsgrad": True}),
    (optim.AdaMax, {}, {"betas": (0.5, 0.6), "eps": 0.1}),
    (optim.Nadam, {}, {"variant": "torch"}),
    (optim.Nadam, {"variant": "dozat"}, {"variant": "ruder", "eps": 0.1}),
    (optim.MomentOptimizer, {"lr": 0.1}, {"first": optim.Average(0.5)}),
    (optim.MomentOptimizer, {"lr": 0.1}, {"second": optim.SquareSum(), "eps": 0.1, "eps_inside": True}),
    (optim.MomentOptimizer, {"lr": 0.1, "second": optim.SquareAverage(), "eps": 0.1}, {"past_steps": 0.9}),
    (optim.MomentOptimizer, {"lr": 0.1, "first": optim.Average(0.9)}, {"look_ahead": 0.9}),
]


@pytest.mark.parametrize(("kind", "settings", "own"), OBEYED)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "added"])
def test_a_group_obeys_its_own_settings(kind: Kind, settings: dict[str, Any], own: dict[str, Any], later: bool) -> None:
    one, two = parameter(), parameter(0.5)
    if later:
        optimizer = kind([one], **settings)
        optimizer.add_param_group({"params": [two], "name": "late", **own})
    else:
        optimizer = kind([{"params": [one]}, {"params": [two], **own}], **settings)
    together = steps(optimizer, [one, two])
    alone = [
        *steps(kind([x := parameter()], **settings), [x]),
        *steps(kind([y := parameter(0.5)], **settings | own), [y]),
    ]
    for found, expected in zip(together, alone, strict=True):
        assert torch.equal(found, expected)
    plain = parameter(0.5)
    assert not torch.equal(
        alone[1], steps(kind([plain], **settings), [plain])[0]
    )  # the group's own says something else


def test_each_group_of_nag_is_put_at_its_iterate() -> None:
    one, two = parameter(), parameter()
    optimizer = optim.NAG([{"params": [one]}, {"params": [two], "form": "closure"}], 0.1)
    ahead, _ = steps(optimizer, [one, two])
    assert not torch.equal(ahead, two.detach())
    with optimizer.at_iterate():
        torch.testing.assert_close(one, two, rtol=0, atol=1e-14)
    assert torch.equal(one.detach(), ahead)
    with pytest.raises(Vo3dError, match="NAG of the form closure needs a closure"):
        optimizer.step()


REFUSED: list[tuple[Kind, dict[str, Any], str]] = [
    (lambda p: optim.SGD(p, 0.1), {"lr": "fast"}, "SGD: lr is fast: expected a number of at least 0"),
    (lambda p: optim.SGD(p, 0.1), {"lr": torch.ones(2, 2)}, "SGD: lr is tensor.*: expected a number"),
    (lambda p: optim.SGD(p, 0.1), {"dampening": -1.0}, "SGD: dampening is -1.0"),
    (lambda p: optim.SGD(p, 0.1), {"nesterov": True}, "SGD: nesterov needs a momentum above 0"),
    (lambda p: optim.SGD(p, 0.1), {"form": "averaged"}, "SGD: a parameter group sets form: expected params, name, lr"),
    (lambda p: optim.Momentum(p, 0.1), {"form": "mean"}, "Momentum: form is 'mean': expected accumulated or averaged"),
    (lambda p: optim.Momentum(p, 0.1), {"momentum": None}, "Momentum: momentum is None: expected at least 0"),
    (lambda p: optim.Momentum(p, 0.1), {"momentun": 0.5}, "Momentum: a parameter group sets momentun: expected"),
    (lambda p: optim.NAG(p, 0.1), {"form": "averaged"}, "NAG: form is 'averaged': expected look_ahead or closure"),
    (optim.Adagrad, {"eps": -1.0}, "Adagrad: eps is -1.0"),
    (optim.Adagrad, {"eps": 1e-8, "initial_accumulator_value": 1e-8}, "Adagrad: eps is 1e-08 outside of the root"),
    (optim.Adagrad, {"lr_decay": -1.0}, "Adagrad: lr_decay is -1.0"),
    (optim.Adadelta, {"rho": 1.0}, "Adadelta: rho is 1.0"),
    (optim.RMSprop, {"eps_inside": "no"}, "RMSprop: eps_inside is no: expected True or False"),
    (optim.RMSprop, {"momentum": 0.9}, "RMSprop: a parameter group sets momentum"),
    (optim.Adam, {"amsgrad": 1}, "Adam: amsgrad is 1: expected True or False"),
    (optim.Adam, {"betas": 0.9}, "Adam: betas are 0.9: expected two numbers"),
    (optim.Adam, {"foreach": "no"}, "Adam: foreach is no: expected True, False or None"),
    (optim.AdaMax, {"betas": (0.9, "b")}, r"AdaMax: betas\[1\] is b: expected at least 0 and less than 1"),
    (optim.Nadam, {"variant": "keras"}, "Nadam: variant is 'keras': expected ruder, dozat or torch"),
    (lambda p: optim.MomentOptimizer(p, 0.1), {"first": optim.SquareSum()}, "first is a SquareSum: expected a FirstMo"),
    (lambda p: optim.MomentOptimizer(p, 0.1), {"second": "one"}, "second is a str: expected a SecondMoment"),
    (lambda p: optim.MomentOptimizer(p, 0.1), {"first": optim.Average(1.0)}, "Average: beta is 1.0"),
    (lambda p: optim.MomentOptimizer(p, 0.1), {"look_ahead": -1.0}, "MomentOptimizer: look_ahead is -1.0"),
    (lambda p: optim.MomentOptimizer(p, 0.1), {"past_steps": 1.0}, "MomentOptimizer: past_steps is 1.0"),
    (lambda p: optim.GradientNoise(p, optim.Adam), {"eta": 0.1}, "a parameter group sets eta: expected params"),
    (lambda p: optim.GradientNoise(p, torch.optim.Adam), {"seed": 1}, "GradientNoise: a parameter group sets seed"),
    (lambda p: optim.GradientNoise(p, optim.Nadam), {"variant": "keras"}, "Nadam: variant is 'keras'"),
]


@pytest.mark.parametrize(("make", "own", "words"), REFUSED)
def test_a_setting_that_cannot_be_is_refused_in_every_group(make: Kind, own: dict[str, Any], words: str) -> None:
    with pytest.raises(Vo3dError, match=words) as at_once:
        make([{"params": [parameter()]}, {"params": [parameter()], **own}])
    one, two = parameter(), parameter()
    optimizer = make([one])
    with pytest.raises(Vo3dError, match=words) as added:
        optimizer.add_param_group({"params": [two], **own})
    assert "\n" not in str(at_once.value) + str(added.value)
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [two]})  # it was not taken


SECOND_ORDER = {
    "max_iter": (optim.Newton, 3),
    "remedy": (optim.Newton, "shift"),
    "line_search": (optim.BFGS, "fixed"),
    "history": (optim.LBFGS, 3),
    "beta": (optim.ConjugateGradient, "fr"),
}


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_the_one_group_of_second_order_takes_a_rate_alone(name: str) -> None:
    kind, value = SECOND_ORDER[name]
    with pytest.raises(Vo3dError, match=f"{kind.__name__}: a parameter group sets {name}: expected params, name, lr;"):
        kind([{"params": [parameter()], name: value}])
    assert kind([{"params": [parameter()], "lr": 0.5}]).param_groups[0]["lr"] == 0.5


def test_noise_gives_a_group_to_the_optimiser_that_steps() -> None:
    one, two = parameter(), parameter()
    optimizer = optim.GradientNoise([one], optim.Adagrad, eta=0.0)
    optimizer.add_param_group({"params": [two], "eps": 0.5})
    assert len(optimizer.optimizer.param_groups) == 2
    assert torch.equal(steps(optimizer, [one, two])[1], steps(optim.Adagrad([y := parameter()], eps=0.5), [y])[0])
    wrapped = optim.GradientNoise([parameter()], optim.LBFGS)
    with pytest.raises(Vo3dError, match="LBFGS: found a second parameter group, expected one"):
        wrapped.add_param_group({"params": [parameter()]})


def test_groups_may_come_from_an_optimiser_with_a_schedule() -> None:
    old = optim.Adagrad([parameter()], eps=0.5)
    torch.optim.lr_scheduler.OneCycleLR(optim.Adam([parameter()]), 0.1, total_steps=9)
    torch.optim.lr_scheduler.StepLR(old, 1)
    assert optim.Adagrad(old.param_groups).param_groups[0]["initial_accumulator_value"] == 0.5
