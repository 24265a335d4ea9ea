"""The one LightningModule: it trains any `Model` by the sum of the terms of its loss."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_weights
from vo3d.model import Model, check_gives, check_needs
from vo3d.sample import Sample
from vo3d.training.datamodule import Batch

LOOK_EVERY = 10  # steps between two looks for a loss that is not finite: an accelerator has to wait for each
OptimizerCallable = Callable[[Iterable[nn.Parameter]], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


class Learner(LightningModule):
    """Trains `net` by the sum of its loss terms, and logs each term by its name.

    Args:
        net: The method to train.
        optimizer: What steps the parameters; None: `torch.optim.Adam` with its own defaults. Left out of base
            configurations on purpose, see `configs/optim_*.yaml`.
        scheduler: What changes the learning rate; None keeps it.
        interval: Whether the scheduler counts epochs or steps (a one-cycle schedule counts steps).
        init_weights: A file of weights to start from; it brings no optimiser state and no settings with it.
    """

    def __init__(
        self,
        net: Model,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        init_weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer = optimizer or torch.optim.Adam
        self.scheduler = scheduler
        self.interval = interval
        self.checked: set[str] = set()
        if init_weights is not None:
            load_weights(net, init_weights)

    def forward(self, sample: Sample) -> Any:
        """Predict, as `net` does."""
        return self.net(sample)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The objective of one batch."""
        loss = self._objective(batch, "train")
        look = loss.device.type == "cpu" or batch_idx % LOOK_EVERY == 0
        if look and not torch.isfinite(loss):
            raise Vo3dError(
                f"the training loss is {loss.item()} at step {self.global_step}: lower the learning rate, "
                "clip gradients (--trainer.gradient_clip_val 1), or look for bad values in the data"
            )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the terms of the loss over the validation set."""
        self._objective(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the terms of the loss over the test set."""
        self._objective(batch, "test")

    def configure_optimizers(self) -> Any:
        """The optimiser over the parameters that learn, and the schedule when there is one."""
        optimizer = self.optimizer([parameter for parameter in self.net.parameters() if parameter.requires_grad])
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        plan: dict[str, Any] = {"scheduler": scheduler, "interval": self.interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            plan["monitor"] = scheduler.monitor
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def _objective(self, batch: Batch, stage: str) -> Tensor:
        sample = batch.sample
        if stage not in self.checked:
            check_needs(self.net, sample, self._source(stage), learning=True)
        prediction = self.net(sample)
        if stage not in self.checked:
            check_gives(self.net, prediction)
            self.checked.add(stage)
        terms = self.net.loss(prediction, sample)
        loss = torch.stack([term.reshape(()) for term in terms.values()]).sum()
        values = {f"{stage}/{name}": term.detach() for name, term in terms.items() if name != "loss"}
        training = stage == "train"
        when: dict[str, Any] = {"on_step": training, "on_epoch": not training, "sync_dist": not training}
        self.log_dict(values, batch_size=sample.image.shape[0], **when)
        self.log(f"{stage}/loss", loss.detach(), batch_size=sample.image.shape[0], prog_bar=True, **when)
        return loss

    def _source(self, stage: str) -> str:
        dataset = getattr(getattr(self.trainer, "datamodule", None), stage, None)
        return type(dataset).__name__ if dataset is not None else f"the {stage} data"
