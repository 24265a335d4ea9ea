"""An optimiser that looks around before it steps, as a line search does, and a model whose training leaves traces."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tiny import TinyModel
from vo3d.model import Prediction
from vo3d.sample import Sample


class Looking(Optimizer):
    """Gradient descent that evaluates its closure at trial points first, and there may find losses that are nan."""

    seen: ClassVar[list[tuple[float, float]]] = []  # at the iterate: the loss of the first evaluation and of the last

    def __init__(self, params: Iterable[Any], lr: float, trials: int = 2) -> None:
        super().__init__(params, {"lr": lr})
        self.trials = trials

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Try, go back, evaluate once more, and step."""
        with torch.enable_grad():
            loss = closure()
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        here = [parameter.clone() for parameter in parameters]
        for trial in range(self.trials):
            for parameter in parameters:
                parameter.mul_(torch.inf if trial else 3.0)
            with torch.enable_grad():
                closure()
            for parameter, value in zip(parameters, here, strict=True):
                parameter.copy_(value)
        with torch.enable_grad():
            again = closure()
        self.seen.append((loss.item(), again.item()))
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(parameter.grad, alpha=group["lr"])
        return loss


class NormedModel(TinyModel):
    """TinyModel behind a batch normalisation."""

    def __init__(self, hidden: int = 8, dropout: float = 0.5) -> None:
        super().__init__(hidden, dropout)
        self.normed = nn.BatchNorm2d(3)

    def forward(self, sample: Sample) -> Prediction:
        """As TinyModel, of images that are normalised."""
        batch, views = sample.image.shape[:2]
        image = self.normed(sample.image.flatten(0, 1)).unflatten(0, (batch, views))
        given = {name: getattr(sample, name) for name in sample.given()}
        return super().forward(Sample(**given | {"image": image.sigmoid()}))
