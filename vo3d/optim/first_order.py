"""What the optimisers written here share: evaluation of the closure, buffers, and which parameters go together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.settings import Checked

Parameters = Iterable[Any]  # tensors, or dicts that are parameter groups: what torch.optim takes
Closure = Callable[[], Any]
Group = dict[str, Any]  # settings by name
Tensors = list[Tensor]  # one for each parameter
Steps = list[int]
Buffers = list[Tensors]  # one list for each name in `buffers`


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
                steps, buffers = self._advance(parameters)
                self.update(group, parameters, gradients, steps, buffers)
        return loss

    def evaluate(self, closure: Closure | None) -> Any:
        """The loss of `closure`, which leaves gradients; None without one."""
        if closure is None:
            return None
        with torch.enable_grad():
            return closure()

    def _gradient(self, parameter: Tensor, weight_decay: float) -> Tensor:
        gradient = parameter.grad
        if gradient is None or gradient.is_sparse:
            raise Vo3dError(f"{type(self).__name__} needs dense gradients: SGD and Adagrad take sparse ones")
        return gradient if weight_decay == 0 else gradient.add(parameter, alpha=weight_decay)

    def _advance(self, parameters: list[Tensor]) -> tuple[Steps, Buffers]:
        """The number of the step of each parameter, and its buffers, made when they are first asked for."""
        steps = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state |= {name: torch.zeros_like(parameter) for name in self.buffers}
            state["step"] += 1
            steps.append(state["step"])
        return steps, [[self.state[parameter][name] for parameter in parameters] for name in self.buffers]


def together(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters that have gradients, in lists that are updated at once."""
    waiting: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.device.type == "cpu":
            yield [parameter]
        else:
            waiting.append(parameter)
    if waiting:
        yield waiting
