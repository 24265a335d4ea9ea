"""The common ground of the optimisers: checks of groups and states; for first order also the step loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from vo3d.errors import Vo3dError
from vo3d.optim.checks import check_eps, check_kind, check_names, check_saver, check_settings, is_finite, told

Parameters = Iterable[Any]  # tensors, or dicts that are parameter groups: what torch.optim takes
Closure = Callable[[], Any]
Group = dict[str, Any]  # settings by name
Tensors = list[Tensor]  # one for each parameter
Steps = list[int]
Buffers = list[Tensors]  # one list for each name in `buffers`


class Checked(Optimizer):
    """Checks the settings of every parameter group, parameters, and states; copies and pickles are whole."""

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # the words that a setting may be
    unsaved: ClassVar[tuple[str, ...]] = ()  # settings that a state leaves to the constructor
    buffers: ClassVar[tuple[str, ...]] = ()  # of a parameter's size, that its state has, beside the number of its steps
    extras: ClassVar[tuple[str, ...]] = ()  # what its state may have, too: tensors of its size, or numbers

    def __getstate__(self) -> dict[str, Any]:
        """Return all that a copy holds; torch's own has the groups and the state alone, and would forget the rest."""
        return {name: value for name, value in vars(self).items() if name != "step" and not name.startswith("_")}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; raises Vo3dError, and adds none, for settings or parameters that cannot be."""
        super().add_param_group(param_group)
        try:
            check_names(type(self).__name__, param_group, self.defaults)
            self.check_group(self.param_groups[-1])
        except Vo3dError:
            self.param_groups.pop()
            raise

    def check_group(self, group: Group) -> None:
        """Check a group that has all settings; raises Vo3dError for settings that cannot be, and complex parameters."""
        owner = type(self).__name__
        check_settings(owner, group)
        for name, words in self.choices.items():
            if group[name] not in words:
                expected = f"{', '.join(words[:-1])} or {words[-1]}"
                raise Vo3dError(f"{owner}: {name} is {group[name]!r}: expected {expected}")
        for parameter in group["params"]:
            if torch.is_complex(parameter):
                raise Vo3dError(
                    f"{owner}: a parameter is {parameter.dtype}: expected real ones; optimise torch.view_as_real of it"
                )
        eps, smallest = self.eps_of(group)
        for dtype in {parameter.dtype for parameter in group["params"]}:
            check_eps(owner, eps, smallest, dtype)

    def eps_of(self, group: Group) -> tuple[float, float]:
        """Give the eps of a group, and the smallest number that its steps make of it; 0 without one."""
        eps = float(group.get("eps", 0.0))
        return eps, eps

    def state_dict(self) -> dict[str, Any]:
        """Give the state, with the name of the class that it is of."""
        state = super().state_dict()
        groups = [
            {name: value for name, value in group.items() if name not in self.unsaved}
            for group in state["param_groups"]
        ]
        return {**state, "param_groups": groups, "optimizer": type(self).__name__}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises Vo3dError, and changes nothing, for a state of another optimiser, or of parameters of other sizes.
        """
        owner = type(self).__name__
        check_saver(owner, state_dict)
        found, expected = (
            [len(group["params"]) for group in groups] for groups in (state_dict["param_groups"], self.param_groups)
        )
        if found != expected:
            raise Vo3dError(f"{owner}: the state has {found} parameters in its groups: expected {expected}")
        groups = []
        for ours, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            settings = {name: ours[name] for name in self.defaults}
            if "optimizer" not in state_dict:
                check_kind(owner, saved, settings.keys() - set(self.unsaved))
            groups.append({**settings, **saved})
            self.check_group({**groups[-1], "params": ours["params"]})
            for place, parameter in zip(saved["params"], ours["params"], strict=True):
                if entry := state_dict["state"].get(place):
                    self.check_entry(parameter, entry)
        super().load_state_dict({**state_dict, "param_groups": groups})

    def check_entry(self, parameter: Tensor, entry: Mapping[str, Any]) -> None:
        """Check what a state says of one parameter; raises Vo3dError where it does not fit."""
        owner = type(self).__name__
        needed = {"step", *self.buffers} if self.buffers else set()
        if not needed <= entry.keys() <= needed | set(self.extras):
            raise Vo3dError(
                f"{owner}: the state is of another optimiser: it has {', '.join(sorted(entry))} of a parameter, "
                f"expected {', '.join(sorted(needed)) or 'nothing'}"
            )
        if needed and not is_finite(entry["step"]):
            raise Vo3dError(f"{owner}: step in the state is {told(entry['step'])}: expected a number")
        for name in (*self.buffers, *self.extras):
            value = entry.get(name)
            fits = value.shape == parameter.shape if isinstance(value, Tensor) else name not in self.buffers
            if not fits:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise Vo3dError(
                    f"{owner}: {name} in the state is {shape}: expected {tuple(parameter.shape)}, as its parameter is"
                )


class FirstOrder(Checked, ABC):
    """An optimiser whose rule sees, of each parameter, the gradient and buffers of its size that begin at 0.

    A rule works on lists of tensors. On an accelerator all parameters of a group go through it at once, by torch's
    operations on lists, so that a step starts few kernels; on a CPU one after the other, so that what the rule
    allocates stays small. Parameters without a gradient are left alone, and so are their buffers.
    """

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
