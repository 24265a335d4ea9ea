"""Checks of what optimisers are given: the settings of parameter groups, and what a state was saved by."""

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from vo3d.errors import Vo3dError

RATES = ("lr", "weight_decay", "eps", "eta", "gamma", "look_ahead", "lr_decay", "dampening")
DECAYS = ("momentum", "rho", "alpha", "beta", "past_steps")
SWITCHES = ("eps_inside", "amsgrad", "nesterov", "maximize", "capturable", "differentiable", "decoupled_weight_decay")
NEWER = {"foreach", "fused", "maximize", "capturable", "differentiable", "decoupled_weight_decay"}  # in torch's groups
LABELS = {  # what a group may have beside settings: names, and what torch's schedules write into it
    *("params", "param_names", "name"),
    *("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"),
}


def check_settings(owner: str, settings: Mapping[str, Any]) -> None:
    """Check those of `settings` whose names all optimisers share: rates, decays of averages, eps, switches.

    Raises Vo3dError for a rate, a weight decay or an eps below zero, for a decay outside of [0, 1): at 1 old gradients
    never die out; and for what is no number, or neither true nor false.
    """
    for name in RATES:
        if name in settings and not (is_finite(settings[name]) and settings[name] >= 0):
            raise Vo3dError(f"{owner}: {name} is {told(settings[name])}: expected a number of at least 0")
    decays = {name: settings[name] for name in DECAYS if name in settings}
    if decays.get("past_steps", 0) is None:
        del decays["past_steps"]
    if "betas" in settings:
        betas = settings["betas"]
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise Vo3dError(f"{owner}: betas are {told(betas)}: expected two numbers")
        decays |= {f"betas[{place}]": value for place, value in enumerate(betas)}
    for name, value in decays.items():
        if not (is_finite(value) and 0 <= value < 1):
            raise Vo3dError(
                f"{owner}: {name} is {told(value)}: expected at least 0 and less than 1, where old gradients never die "
                "out"
            )
    for name in SWITCHES:
        if not isinstance(settings.get(name, False), bool):
            raise Vo3dError(f"{owner}: {name} is {told(settings[name])}: expected True or False")
    for name in ("foreach", "fused"):
        if not isinstance(settings.get(name), bool | None):
            raise Vo3dError(f"{owner}: {name} is {told(settings[name])}: expected True, False or None")


def told(value: object) -> str:
    """Tell a value in one line."""
    return " ".join(str(value).split())


def is_finite(value: object) -> bool:
    """Tell whether `value` is one number, or a tensor of one, and neither infinite nor nan."""
    single = isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)
    return single and math.isfinite(value)  # type: ignore[arg-type]


def check_names(owner: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Check the names of a parameter group; raises Vo3dError for one that is neither known nor a label."""
    if strangers := sorted(set(names) - set(known) - LABELS):
        raise Vo3dError(
            f"{owner}: a parameter group sets {', '.join(strangers)}: expected params, name, {', '.join(known)}; other "
            "settings are for all groups, and given to the optimiser"
        )


def check_eps(owner: str, eps: float, smallest: float, dtype: torch.dtype) -> None:
    """Check that `dtype` does not round to 0 the `smallest` number that an `eps` above 0 adds.

    Raises Vo3dError where it does: a gradient of 0 would then be divided by 0.
    """
    if eps > 0 and float(torch.tensor(float(smallest), dtype=dtype, device="cpu")) == 0:
        raise Vo3dError(
            f"{owner}: eps is {eps}, which is 0 in {dtype}, so that zero gradients would give nan: expected a larger "
            "one, such as 1e-4, or parameters in torch.float32"
        )


def check_kind(owner: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Check the names in a group of a state that does not tell who saved it.

    Raises Vo3dError where they are not those that `owner` has.
    """
    found, expected = set(names) - LABELS, set(known)
    if not expected - NEWER <= found <= expected:
        raise Vo3dError(
            f"{owner}: the state is of another optimiser: its groups have {', '.join(sorted(found))}, expected "
            f"{', '.join(sorted(expected - NEWER))}"
        )


def check_saver(owner: str, state_dict: Mapping[str, Any]) -> None:
    """Check that a state is whole and was saved by `owner`, or does not tell; raises Vo3dError otherwise."""
    if missing := [name for name in ("state", "param_groups") if name not in state_dict]:
        raise Vo3dError(f"{owner}: the state has no {' and no '.join(missing)}: expected what state_dict() gave")
    if (saver := state_dict.get("optimizer", owner)) != owner:
        raise Vo3dError(f"{owner}: the state is one of {saver}: expected one that {owner} saved")
