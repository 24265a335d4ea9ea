"""A layer that remembers the mean of what it has seen."""

import torch
from torch import Tensor, nn

from vo3d.errors import Vo3dError


class RunningMean(nn.Module):
    """Subtracts from (b, num_features, *n) the mean over all that went through it in training.

    In training mode every call first takes its batch into the mean of each feature: over all values so far, each
    counted once, or with `momentum` m as mean <- (1 - m) mean + m (mean of the batch), from the first batch's mean on.
    In evaluation mode the mean stays. No gradient flows into the mean, which is a buffer: it moves with the layer from
    device to device and is in its state dict. Before anything was seen it is 0.

    Args:
        num_features: size of the second axis.
        momentum: weight of each new batch, in (0, 1]; None: the mean over all values.

    Raises:
        Vo3dError: an argument is out of its range, or the input has another number of features.
    """

    mean: Tensor  # num_features
    count: Tensor  # values of each feature so far

    def __init__(self, num_features: int, momentum: float | None = None) -> None:
        super().__init__()
        if num_features < 1 or (momentum is not None and not 0 < momentum <= 1):
            raise Vo3dError(f"num_features {num_features}, momentum {momentum}: expected at least 1, and in (0, 1]")
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """Subtract from the input the mean of each feature."""
        if x.ndim < 2 or x.shape[1] != len(self.mean):
            raise Vo3dError(f"RunningMean got {tuple(x.shape)}: expected (b, {len(self.mean)}, ...)")
        if self.training and x.numel():
            self.update(x.detach())
        return x - self.mean.to(x.dtype).reshape(1, -1, *(1,) * (x.ndim - 2))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take a batch into the mean."""
        values = x.to(self.mean.dtype).transpose(0, 1).flatten(1)  # num_features values
        self.count += values.shape[1]
        share = values.shape[1] / self.count.to(self.mean.dtype)
        if self.momentum is not None:
            share = torch.where(self.count > values.shape[1], self.momentum, 1.0)
        self.mean += share * (values.mean(dim=1) - self.mean)
