"""Schedules of the learning rate that torch lacks."""

import math
from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from vo3d.errors import Vo3dError


class ThresholdDecay(LRScheduler):
    """Lowers the rate when the loss hardly changes between two calls: eta <- factor eta if |l_t - l_{t-1}| < threshold.

    Args:
        optimizer: Whose rates.
        threshold: In units of the loss.
        factor: In (0, 1).
        min_lr: No rate falls below it.
        monitor: Name of the loss among the logged values, for a trainer that reads it.

    Raises Vo3dError for a threshold or a min_lr below 0, and a factor outside of (0, 1).
    Source: S. Ruder, arXiv:1609.04747, section 3, on schedules.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        threshold: float,
        factor: float = 0.5,
        min_lr: float = 0.0,
        monitor: str = "train/loss",
    ) -> None:
        if not (threshold >= 0 and min_lr >= 0 and 0 < factor < 1):
            raise Vo3dError(
                f"ThresholdDecay: threshold {threshold}, min_lr {min_lr}, factor {factor}: expected the first two at "
                "least 0, and a factor between 0 and 1"
            )
        self.threshold, self.factor, self.min_lr, self.monitor = threshold, factor, min_lr, monitor
        self.previous: float | None = None
        super().__init__(optimizer)

    def step(self, loss: float | Tensor | None = None) -> None:
        """Look at the loss of an iteration (or of an epoch); without one nothing changes."""
        if loss is not None:
            value = float(loss)
            if self.previous is not None and math.isfinite(value) and abs(value - self.previous) < self.threshold:
                for group in self.optimizer.param_groups:
                    group["lr"] = max(self.factor * group["lr"], min(self.min_lr, group["lr"]))
            self.previous = value
        self._last_lr = self.get_lr()

    def get_lr(self) -> list[float | Tensor]:
        """Give the rates now."""
        return [group["lr"] for group in self.optimizer.param_groups]


class Warmup(SequentialLR):
    """Raises the rate evenly over `steps` calls from `start` times its value, then lets another schedule begin.

    Args:
        optimizer: Whose rates.
        steps: Calls until the rate is whole.
        then: Makes the schedule of `optimizer` that follows.
        start: Factor of the rate at the first step, in (0, 1].

    Raises Vo3dError for fewer steps than 1, a start outside of (0, 1], and for a schedule that watches a loss.
    """

    def __init__(
        self, optimizer: Optimizer, steps: int, then: Callable[[Optimizer], LRScheduler], start: float = 0.01
    ) -> None:
        if steps < 1 or not 0 < start <= 1:
            raise Vo3dError(
                f"Warmup: steps {steps} and start {start}: expected at least 1, and a factor above 0 and up to 1"
            )
        rise, following = LinearLR(optimizer, start_factor=start, total_iters=steps), then(optimizer)
        if isinstance(following, ThresholdDecay | ReduceLROnPlateau):
            raise Vo3dError(
                f"Warmup: then is {type(following).__name__}, which watches a loss: expected one that counts steps"
            )
        super().__init__(optimizer, [rise, following], milestones=[steps])
