"""Parameter groups by rules: a small rate for the trunk, no decay on biases and norms, parts that do not learn."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from vo3d.errors import Vo3dError
from vo3d.layers.initialisation import NORMS

OPTIMIZER_FAULTS = (ValueError, TypeError, RuntimeError)  # what optimisers raise for settings that they refuse


@contextmanager
def settings_at_fault(
    what: str, setting: str, faults: tuple[type[Exception], ...] = OPTIMIZER_FAULTS
) -> Iterator[None]:
    """Turn `faults` into a Vo3dError that says what happened, why, and which setting to correct."""
    try:
        yield
    except Vo3dError:
        raise
    except faults as error:
        raise Vo3dError(f"{what}: {error}: correct {setting}") from error


@dataclass(frozen=True, kw_only=True)
class GroupRule:
    r"""What some parameters get instead of the optimiser's own settings.

    Rules are read in their order, property by property: of two that speak about the same parameter the later one
    counts, and what a rule does not name stays as the earlier ones left it. So `[{freeze: true}, {match: "head\..*",
    freeze: false}]` trains the head alone.

    Args:
        match: A regular expression for whole parameter names, as `vo3d info` lists them.
        kind: bias: names whose last part begins with bias; norm: parameters of batch, group, instance, layer and RMS
            normalisation, their biases too; weight: all others; any: no matter which.
        rate: A factor of the optimiser's learning rate; schedules scale all groups alike.
        weight_decay: In place of the optimiser's.
        freeze: The parameters keep their values: no gradient, no decay. A normalisation layer whose parameters are all
            frozen keeps its running statistics too, as in evaluation.

    Raises Vo3dError for a pattern that is no regular expression, and for a rate or decay that cannot be one.
    """

    match: str = ".*"
    kind: Literal["any", "bias", "norm", "weight"] = "any"
    rate: float | None = None
    weight_decay: float | None = None
    freeze: bool | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.match)
        except re.error as error:
            raise Vo3dError(
                f"model.groups: match '{self.match}' is no regular expression ({error}): write a dot as \\., all as .*"
            ) from error
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise Vo3dError(
                f"model.groups: rate {self.rate} for '{self.match}': expected a factor above 0, or freeze: true"
            )
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise Vo3dError(
                f"model.groups: weight_decay {self.weight_decay} for '{self.match}': expected a number, at least 0"
            )

    def speaks_of(self, names: Sequence[str], kind: str) -> bool:
        """Tell whether the rule is about a parameter of this kind with these names (several when shared)."""
        return self.kind in ("any", kind) and any(re.fullmatch(self.match, name) for name in names)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that learn with the same settings."""

    name: str
    parameters: Sequence[nn.Parameter]
    rate: float
    weight_decay: float | None


@dataclass(frozen=True)
class _Part:
    """One parameter with all its names."""

    parameter: nn.Parameter
    names: Sequence[str]
    kind: str


def weights_of(net: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that learn and are neither biases nor of normalisation layers."""
    return [part.parameter for part in _parts(net) if part.kind == "weight" and part.parameter.requires_grad]


def freeze(net: nn.Module, rules: Sequence[GroupRule]) -> list[nn.Module]:
    """Freeze what `rules` say; returns the normalisation layers whose running statistics rest with it.

    Raises Vo3dError for a rule that matches no parameter, and when none is left to learn.
    """
    parts = list(_parts(net))
    for rule in rules:
        if not any(rule.speaks_of(part.names, part.kind) for part in parts):
            names = [name for part in parts for name in part.names]
            near = get_close_matches(rule.match.replace("\\", ""), names, n=3, cutoff=0.5) or names[:3]
            kind = "" if rule.kind == "any" else f" of kind {rule.kind}"
            raise Vo3dError(
                f"model.groups: no parameter{kind} of {type(net).__name__} is named '{rule.match}': expected a regular "
                f"expression for whole names such as {', '.join(near)}"
            )
    for part in parts:
        frozen = _last_rule(rules, "freeze", part.names, part.kind)
        if frozen is not None:
            part.parameter.requires_grad_(not frozen)
    if rules and not any(part.parameter.requires_grad for part in parts):
        raise Vo3dError(f"model.groups freezes all parameters of {type(net).__name__}: leave one free to learn")
    return [module for name, module in net.named_modules() if _keeps_statistics(name, module, rules)]


def groups_of(net: nn.Module, rules: Sequence[GroupRule]) -> list[Group]:
    """Put the parameters that learn together by equal settings; a shared parameter is there once."""
    found: dict[tuple[float, float | None], list[nn.Parameter]] = {}
    for part in _parts(net):
        if part.parameter.requires_grad:
            rate = _last_rule(rules, "rate", part.names, part.kind)
            decay = _last_rule(rules, "weight_decay", part.names, part.kind)
            found.setdefault((1.0 if rate is None else rate, decay), []).append(part.parameter)
    return [
        Group(name=_name(rate, decay), parameters=parameters, rate=rate, weight_decay=decay)
        for (rate, decay), parameters in found.items()
    ]


def build_optimizer(
    make: Callable[[Iterable[Any]], Optimizer], net: nn.Module, rules: Sequence[GroupRule]
) -> tuple[Optimizer, list[float]]:
    """Make an optimiser over the parameters of `net` that learn; gives the rate of each of its groups too.

    Raises Vo3dError when the optimiser refuses its settings, or cannot do what `rules` ask of it.
    """
    groups = groups_of(net, rules)
    plain = [parameter for group in groups for parameter in group.parameters]
    if len(groups) == 1 and groups[0].rate == 1 and groups[0].weight_decay is None:
        return _construct(make, plain), [1.0]
    try:
        optimizer = make([{"params": list(group.parameters), "name": group.name} for group in groups])
    except OPTIMIZER_FAULTS as error:
        alone = _construct(make, plain)  # raises when it is not the groups that it does not like
        raise Vo3dError(
            f"{type(alone).__name__} takes all parameters in one group ({error}): model.groups may freeze parts, "
            "but give them no rate or weight_decay of their own"
        ) from error
    for ours, theirs in zip(groups, optimizer.param_groups, strict=True):
        for key, asked in (("lr", ours.rate != 1), ("weight_decay", ours.weight_decay is not None)):
            if asked and key not in theirs:
                raise Vo3dError(
                    f"{type(optimizer).__name__} has no {key}: take it out of model.groups, or choose another optimiser"
                )
        if ours.rate != 1:
            theirs["lr"] = theirs["lr"] * ours.rate
        if ours.weight_decay is not None:
            theirs["weight_decay"] = ours.weight_decay
    return optimizer, [group.rate for group in groups]


def keep_rates(optimizer: Optimizer, scheduler: object, rates: Sequence[float]) -> None:
    """Scale the schedules that bring rates of their own, the same for all groups, by the rate of each group.

    Raises Vo3dError when another schedule has made the groups equal, and when one gives plain descent a momentum.
    """
    if optimizer.defaults.get("momentum") == 0 and any(group["momentum"] for group in optimizer.param_groups):
        raise Vo3dError(
            f"the schedule {type(scheduler).__name__} gives {type(optimizer).__name__} a momentum: take "
            "--model.scheduler.cycle_momentum false, or an optimiser with momentum"
        )
    if isinstance(scheduler, OneCycleLR | CyclicLR):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group.update({key: group[key] * rate for key in ("lr", "initial_lr", "max_lr", "min_lr") if key in group})
        scheduler.base_lrs = [value * rate for value, rate in zip(scheduler.base_lrs, rates, strict=True)]
        if isinstance(scheduler, CyclicLR):
            scheduler.max_lrs = [value * rate for value, rate in zip(scheduler.max_lrs, rates, strict=True)]
    elif (
        isinstance(scheduler, LRScheduler)
        and len(set(rates)) > 1
        and len({group.get("initial_lr", group.get("lr")) for group in optimizer.param_groups}) == 1
    ):
        raise Vo3dError(
            f"the schedule {type(scheduler).__name__} gives all groups one rate: take the rates out of model.groups, "
            "or choose another schedule"
        )


def check_rates(scheduler: Any) -> None:
    """Raise Vo3dError where a schedule has given a group a rate that is negative or not finite."""
    for group in scheduler.optimizer.param_groups:
        rate = float(group["lr"])
        if not -1e-12 <= rate < math.inf:  # a schedule that ends at 0 may miss it by rounding
            raise Vo3dError(
                f"the schedule {type(scheduler).__name__} gives a rate of {rate:g}: expected at least 0: "
                "correct model.scheduler"
            )


def _parts(net: nn.Module) -> Iterator[_Part]:
    """Give every parameter once."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    of_norms = {parameter for module in net.modules() if isinstance(module, NORMS) for parameter in module.parameters()}
    for parameter, own in names.items():
        bias = own[0].rpartition(".")[2].startswith("bias")
        yield _Part(parameter, own, "norm" if parameter in of_norms else "bias" if bias else "weight")


def _last_rule(rules: Sequence[GroupRule], wanted: str, names: Sequence[str], kind: str) -> Any:
    """Return what the last rule that speaks of a parameter, and of this property, says."""
    said = [getattr(rule, wanted) for rule in rules if rule.speaks_of(names, kind)]
    return next((value for value in reversed(said) if value is not None), None)


def _keeps_statistics(name: str, module: nn.Module, rules: Sequence[GroupRule]) -> bool:
    """Tell whether `rules` have frozen a layer's running statistics: with its parameters, or else by their own name."""
    if not isinstance(module, NORMS) or getattr(module, "running_mean", None) is None:
        return False
    own = [last for last, _ in module.named_parameters()] or ["running_mean"]
    asked = any(_last_rule(rules, "freeze", [f"{name}.{last}".removeprefix(".")], "norm") for last in own)
    return asked and not any(parameter.requires_grad for parameter in module.parameters())


def _construct(make: Callable[[Iterable[Any]], Optimizer], parameters: list[nn.Parameter]) -> Optimizer:
    with settings_at_fault("the optimiser refuses its settings", "model.optimizer"):
        return make(parameters)


def _name(rate: float, decay: float | None) -> str:
    """Name the curve of the learning rate, in characters that TensorBoard leaves alone."""
    words = [f"rate_{rate:g}"] if rate != 1 else []
    if decay is not None:
        words.append(f"decay_{decay:g}" if decay else "no_decay")
    return "-".join(words) or "rest"
