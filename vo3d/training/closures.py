"""Steps that evaluate the loss of a batch several times: line searches, quasi-Newton methods, Newton's method."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from vo3d.errors import Vo3dError
from vo3d.optim import NAG, MomentOptimizer
from vo3d.optim.closures import ClosureOptimizer


def wants_closure(optimizer: Optimizer) -> bool:
    """Tell whether a step of the optimiser, or of the one that it wraps, evaluates the loss by itself."""
    inner = _inner(optimizer)
    closure = inspect.signature(inner.step).parameters.get("closure")
    demanded = closure is not None and closure.default is inspect.Parameter.empty  # torch's own way to demand one
    return demanded or isinstance(inner, ClosureOptimizer) or _looks_ahead(inner)


def clips(optimizer: Optimizer) -> bool:
    """Tell whether gradients may be clipped: not those of a line search, which compares them with losses."""
    return not wants_closure(optimizer) or _looks_ahead(_inner(optimizer))


def check_trainer(optimizer: Optimizer, trainer: Trainer) -> None:
    """Refuse trainers under which a closure's loss and gradients do not belong together; warn that none are clipped.

    Raises Vo3dError where gradients are accumulated over batches, or losses scaled; and, with every optimiser, for
    settings that would divide by 0 or turn gradients round.
    """
    if trainer.accumulate_grad_batches < 1:
        raise Vo3dError(f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}: expected at least 1")
    if (trainer.gradient_clip_val or 0) < 0:
        raise Vo3dError(f"trainer.gradient_clip_val is {trainer.gradient_clip_val}: expected a length above 0, or null")
    if not wants_closure(optimizer):
        return
    name = type(_inner(optimizer)).__name__
    if trainer.accumulate_grad_batches > 1:
        raise Vo3dError(
            f"{name} evaluates the loss of one batch by itself: it cannot accumulate gradients over "
            "batches; take --trainer.accumulate_grad_batches 1 and a larger --data.batch_size"
        )
    if trainer.precision == "16-mixed":
        raise Vo3dError(f"{name} cannot step with scaled losses: take --trainer.precision bf16-mixed, or 32")
    if trainer.gradient_clip_val and not clips(optimizer):
        rank_zero_warn(f"gradients are not clipped: the line search of {name} bounds its steps")


class Evaluations:
    """The closure of one step, made deterministic: each call sees the same batch, random numbers and buffers.

    The first call is the one that a method of first order would make: what it leaves in the buffers (the running
    statistics of batch normalisation) and what it logs counts, trial points of a line search leave no trace. Under
    several processes all see the mean loss, and so take the same decisions.

    Args:
        closure: Computes the loss of the batch and the gradients, and returns the loss.
        net: Whose buffers.
        strategy: Whose processes, and whose device's random numbers beside those of the CPU.
    """

    def __init__(self, closure: Callable[[], Any], net: nn.Module, strategy: Strategy) -> None:
        self.closure, self.net, self.strategy = closure, net, strategy
        device = strategy.root_device
        self.random = [torch, *([] if device.type == "cpu" else [torch.get_device_module(device)])]
        self.states = [module.get_rng_state() for module in self.random]
        self.before = self.after = self._buffers()
        self.count = 0

    def __call__(self) -> Any:
        """Evaluate the loss once."""
        if self.count == 1:
            self.after = self._buffers()
        if self.count > 0:
            self._put(self.before)
            for module, state in zip(self.random, self.states, strict=True):
                module.set_rng_state(state)
        self.count += 1
        return self.strategy.reduce(self.closure(), reduce_op="mean")

    def finish(self) -> None:
        """Leave the buffers as the first evaluation did."""
        if self.count > 1:
            self._put(self.after)

    def _buffers(self) -> list[Tensor]:
        return [buffer.clone() for buffer in self.net.buffers()]

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self.net.buffers(), values, strict=True):
            buffer.copy_(value)


def _inner(optimizer: Optimizer) -> Any:
    """Return what a wrapper, such as `GradientNoise`, lets step."""
    return getattr(optimizer, "optimizer", optimizer)


def _looks_ahead(optimizer: Optimizer) -> bool:
    """Tell whether a step evaluates the loss once, but elsewhere than where the parameters are."""
    if isinstance(optimizer, NAG):
        return any(group["form"] == "closure" for group in optimizer.param_groups)
    return isinstance(optimizer, MomentOptimizer) and optimizer.look_ahead != 0
