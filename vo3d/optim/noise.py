"""Gradient noise, around any optimiser."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from vo3d.errors import Vo3dError
from vo3d.optim.base import Checked, Closure, Parameters
from vo3d.optim.checks import check_names, check_saver, check_settings


class GradientNoise(Checked):
    """Adds N(0, s_t^2) to every gradient before another optimiser steps: s_t^2 = eta / (1 + t)^gamma.

    t counts the steps, from 0. The noise is a function of seed and step, and of no other random generator; within one
    step all evaluations of a closure get the same, so that line searches see one function.

    Args:
        params: Tensors, or parameter groups.
        optimizer: Makes the optimiser of `params` that steps.
        eta: Variance at the first step; the paper tries 0.01, 0.3 and 1.
        gamma: How fast it falls.
        seed: Of the noise.

    Raises Vo3dError for an eta, a gamma or a seed below 0, sparse gradients, and a state that another optimiser saved.
    Source: Neelakantan et al., "Adding gradient noise improves learning for very deep networks", arXiv:1511.06807,
    2015; Ruder, section 6.4.
    """

    def __init__(
        self,
        params: Parameters,
        optimizer: Callable[[Any], Optimizer],
        eta: float = 0.3,
        gamma: float = 0.55,
        seed: int = 0,
    ) -> None:
        check_settings("GradientNoise", {"eta": eta, "gamma": gamma})
        if seed < 0:
            raise Vo3dError(f"GradientNoise: seed is {seed}: expected a whole number of at least 0")
        self.optimizer = optimizer(params)
        self.eta, self.gamma, self.seed, self.steps = eta, gamma, seed, 0
        super().__init__(self.optimizer.param_groups, self.optimizer.defaults)
        self._share()

    def step(self, closure: Closure | None = None) -> Any:
        """Add the noise and let the optimiser step; gives its loss."""
        if closure is None:
            self._add_noise()
            loss = self.optimizer.step()
        else:

            def noisy() -> Any:
                value = closure()
                self._add_noise()
                return value

            loss = self.optimizer.step(noisy)
        self.steps += 1
        return loss

    @torch.no_grad()
    def _add_noise(self) -> None:
        seed = int(np.random.SeedSequence((self.seed, self.steps)).generate_state(1, np.uint64)[0] >> 1)
        deviation = float(np.sqrt(self.eta / (1 + self.steps) ** self.gamma))  # s_t
        generators: dict[torch.device, torch.Generator] = {}
        for gradient in [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]:
            if gradient.is_sparse:
                raise Vo3dError("GradientNoise needs dense gradients: noise would fill sparse ones")
            device = gradient.device
            if device not in generators:
                generators[device] = torch.Generator(device).manual_seed(seed)
            noise = torch.randn(gradient.shape, generator=generators[device], device=device, dtype=gradient.dtype)
            gradient.add_(noise, alpha=deviation)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the optimiser that steps; raises Vo3dError for settings that it has not, eta and its kin."""
        check_names("GradientNoise", param_group.keys() & {"eta", "gamma", "seed"}, self.defaults)
        if self.param_groups is self.optimizer.param_groups:
            self.optimizer.add_param_group(param_group)
        else:
            Optimizer.add_param_group(self, param_group)  # one of the optimiser's, while this one is made
            self.check_group(self.param_groups[-1])

    def state_dict(self) -> dict[str, Any]:
        """Give the state of the optimiser, and the number of steps."""
        return {**self.optimizer.state_dict(), "noise_steps": self.steps, "optimizer": self._name}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; raises Vo3dError, and changes nothing, where another one saved it."""
        steps = state_dict.get("noise_steps")
        if not isinstance(steps, int) or steps < 0:
            raise Vo3dError("GradientNoise: the state has no noise_steps: expected one that GradientNoise saved")
        check_saver(self._name, state_dict)
        inner = {name: value for name, value in state_dict.items() if name != "noise_steps"}
        if "optimizer" in inner:
            inner["optimizer"] = type(self.optimizer).__name__
        self.optimizer.load_state_dict(inner)
        self.steps = steps
        self._share()

    @property
    def _name(self) -> str:
        return f"GradientNoise around {type(self.optimizer).__name__}"

    def _share(self) -> None:
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state
