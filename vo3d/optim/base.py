"""The common ground of the optimisers: checks of settings; for those of first order also the step loop and buffers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from vo3d.errors import Vo3dError

Parameters = Iterable[Any]  # tensors, or dicts that are parameter groups: what torch.optim takes
Closure = Callable[[], Any]
Group = dict[str, Any]  # settings by name
Tensors = list[Tensor]  # one for each parameter
Steps = list[int]
Buffers = list[Tensors]  # one list for each name in `buffers`


def check_settings(owner: str, settings: Mapping[str, Any]) -> None:
    """Check those of `settings` whose names all optimisers share: rates, decays of averages, eps.

    Raises Vo3dError for a rate, a weight decay or an eps below zero, and for a decay outside of [0, 1): at 1 old
    gradients never die out.
    """
    for name in ("lr", "weight_decay", "eps", "eta", "gamma", "look_ahead"):
        if name in settings and not (math.isfinite(settings[name]) and settings[name] >= 0):
            raise Vo3dError(f"{owner}: {name} is {settings[name]}: expected a number of at least 0")
    decays = {name: settings.get(name) for name in ("momentum", "rho", "alpha", "beta", "past_steps")}
    if "betas" in settings:
        if len(settings["betas"]) != 2:
            raise Vo3dError(f"{owner}: betas are {settings['betas']}: expected two numbers")
        decays |= {f"betas[{place}]": value for place, value in enumerate(settings["betas"])}
    for name, value in decays.items():
        if value is not None and not 0 <= value < 1:
            raise Vo3dError(
                f"{owner}: {name} is {value}: expected at least 0 and less than 1, where old gradients never die out"
            )


class Checked(Optimizer):
    """Checks the settings of every parameter group, and that parameters are real; copies and pickles are whole."""

    def __getstate__(self) -> dict[str, Any]:
        """Return all that a copy holds; torch's own has the groups and the state alone, and would forget the rest."""
        return {name: value for name, value in vars(self).items() if name != "step" and not name.startswith("_")}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; raises Vo3dError for settings that cannot be, and for complex parameters."""
        check_settings(type(self).__name__, {**self.defaults, **param_group})
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            if torch.is_complex(parameter):
                raise Vo3dError(
                    f"{type(self).__name__}: a parameter is {parameter.dtype}: expected real ones; optimise "
                    "torch.view_as_real of it"
                )


class FirstOrder(Checked, ABC):
    """An optimiser whose rule sees, of each parameter, the gradient and buffers of its size that begin at 0.

    A rule works on lists of tensors. On an accelerator all parameters of a group go through it at once, by torch's
    operations on lists, so that a step starts few kernels; on a CPU one after the other, so that what the rule
    allocates stays small. Parameters without a gradient are left alone, and so are their buffers.
    """

    buffers: ClassVar[tuple[str, ...]]

    @abstractmethod
    def update(self, group: Group, parameters: Tensors, gradients: Tensors, steps: Steps, buffers: Buffers) -> None:
        """Change `parameters` and the `buffers` (one list for each name in `self.buffers`) in place.

        `steps` is the number of updates of each parameter with this one: 1 at the first.
        """

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Take one step by the gradients that `closure` leaves, or that are there without one; gives its loss."""
        loss = self.evaluate(closure)
        for group in self.param_groups:
            for parameters in together(group["params"]):
                gradients = [self._gradient(parameter, group["weight_decay"]) for parameter in parameters]
                self.update(group, parameters, gradients, *self._advance(parameters))
        return loss

    def evaluate(self, closure: Closure | None) -> Any:
        """Give the loss of `closure`, which leaves gradients; None without one."""
        with torch.enable_grad():
            return None if closure is None else closure()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put the parameters back at the end of the block, wherever it moved them."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        values = [parameter.detach().clone() for parameter in parameters]
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(parameters, values)

    def _gradient(self, parameter: Tensor, weight_decay: float) -> Tensor:
        gradient = parameter.grad
        if gradient is None or gradient.is_sparse:
            raise Vo3dError(f"{type(self).__name__} needs dense gradients: SGD and Adagrad take sparse ones")
        return gradient if weight_decay == 0 else gradient.add(parameter, alpha=weight_decay)

    def _advance(self, parameters: Tensors) -> tuple[Steps, Buffers]:
        """Count the step of each parameter, and give its number and buffers, made when they are first asked for."""
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state |= {"step": 0, **{name: torch.zeros_like(parameter) for name in self.buffers}}
            state["step"] += 1
        return [state["step"] for state in states], [[state[name] for state in states] for name in self.buffers]


def together(parameters: Iterable[Tensor]) -> Iterator[Tensors]:
    """Yield the parameters that have gradients, in lists that are updated at once."""
    learning = [parameter for parameter in parameters if parameter.grad is not None]
    yield from ([parameter] for parameter in learning if parameter.device.type == "cpu")
    if elsewhere := [parameter for parameter in learning if parameter.device.type != "cpu"]:
        yield elsewhere
