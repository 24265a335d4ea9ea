"""The one LightningModule: it trains any `Model` by the sum of the terms of its loss."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vo3d.errors import Vo3dError
from vo3d.formats.weights import FINISHED_KEY
from vo3d.inference.pretrained import load_into, weights_file
from vo3d.layers.initialisation import Scheme, initialise
from vo3d.model import Model, check_gives, check_needs, has_own
from vo3d.optim import Adam
from vo3d.recording import Recording, RecordingDataset, recordings_of
from vo3d.sample import Sample
from vo3d.training.callbacks import AtomicCheckpoints
from vo3d.training.closures import Evaluations, check_trainer, clips, wants_closure
from vo3d.training.datamodule import Batch
from vo3d.training.groups import (
    GroupRule,
    build_optimizer,
    check_rates,
    freeze,
    keep_rates,
    settings_at_fault,
    weights_of,
)

PREFIX = "net."  # of the method's values in a checkpoint
LOOK_EVERY = 10  # steps between two looks for a loss that is not finite: an accelerator has to wait for each
OptimizerCallable = Callable[[Iterable[nn.Parameter]], Optimizer]
LRSchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


class Learner(LightningModule):
    """Trains `net` by the sum of its loss terms, and logs each term by its name.

    Args:
        net: The method to train.
        optimizer: What steps the parameters; None: `vo3d.optim.Adam` with its own defaults. Left out of base
            configurations on purpose, see `configs/optim_*.yaml`.
        scheduler: What changes the learning rate; None keeps it. One that has a `monitor` is told that logged value.
        interval: Whether the scheduler counts epochs or steps (a one-cycle schedule counts steps).
        groups: Rules that give some parameters another rate or decay, or freeze them.
        l1: Weight of the penalty l1 * sum |w| over all weights that learn, without biases and normalisation layers;
            added to the training loss alone, and logged as train/l1.
        init: Scheme of `vo3d.layers.initialisation` for the weights at the start; None: as the method initialises them.
        init_weights: Weights to start from: a name, a file or the folder of a run; they bring no optimiser state and no
            settings with them.
        partial: Take from init_weights what fits the method by name and shape, say what that was, and leave the rest.
    """

    def __init__(
        self,
        net: Model,
        optimizer: OptimizerCallable | None = None,
        scheduler: LRSchedulerCallable | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        groups: list[GroupRule] = [],  # noqa: B006 (read only)
        l1: float = 0.0,
        init: Scheme | None = None,
        init_weights: Path | None = None,
        partial: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= l1 < math.inf:
            raise Vo3dError(f"model.l1 is {l1}: expected a number, at least 0")
        self.net = net
        self.optimizer = optimizer or Adam
        self.scheduler = scheduler
        self.interval = interval
        self.groups = groups
        self.l1 = l1
        self.checked: set[str] = set()
        self.again = False  # whether this is not the first evaluation of a step
        if init is not None and (left := initialise(net, init)):
            _say(f"init {init}: no rule knows {', '.join(left)}; they begin as {type(net).__name__} sets them")
        self.fresh = True  # some of the method begins from nothing
        if init_weights is not None:
            report = load_into(net, weights_file(str(init_weights)), partial=partial)
            self.fresh = bool(report.kept)
            if partial or report.published:
                _say("\n".join(report.lines))
        elif partial:
            raise Vo3dError("model.partial is true, but there is no file to take parts from: give --model.init_weights")
        self.steps = math.inf  # of the whole training
        self.resting = freeze(net, groups)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Learner":
        """Set the mode as torch does, but normalisation layers that are frozen stay as in evaluation."""
        super().train(mode)
        for module in self.resting:
            module.eval()
        return self

    def forward(self, sample: Sample) -> Any:
        """Predict, as `net` does."""
        return self.net(sample)

    def on_fit_start(self) -> None:
        """Refuse data and augmentation that the method cannot use; let it learn what is learnt without gradients."""
        dataset = getattr(self.trainer, "datamodule").train  # noqa: B009  Lightning declares no such attribute
        for transform in dataset.transforms if isinstance(dataset, RecordingDataset) else ():
            if broken := set(transform.breaks) & set(self.net.refuses):
                raise Vo3dError(
                    f"{type(transform).__name__} breaks what {type(self.net).__name__} learns ({', '.join(broken)}): "
                    "leave it out of data.train.transforms"
                )
        if has_own(self.net, "check") and (recordings := recordings_of(dataset)):
            self.net.check(recordings)
        if self.fresh and self.trainer.ckpt_path is None and has_own(self.net, "fit"):
            recordings = self._recordings("fit")
            if self.trainer.is_global_zero:  # the first process tells the others
                self.net.fit(recordings)
            if self.trainer.world_size > 1:
                self.net.load_state_dict(self.trainer.strategy.broadcast(self.net.state_dict()))

    def on_train_start(self) -> None:
        """Find out how many steps there will be."""
        self.steps = self.trainer.estimated_stepping_batches
        if self.net.needs_progress and not math.isfinite(self.steps):
            raise Vo3dError(
                f"{type(self.net).__name__} changes with the share of its training that is done, and this one has no "
                "known end: give --trainer.max_steps or --trainer.max_epochs"
            )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tell the method how far it is."""
        self.net.progress = min(1.0, self.trainer.global_step / self.steps)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the objective of one batch."""
        loss = self._objective(batch, "train")
        look = not self.again and (loss.device.type == "cpu" or batch_idx % LOOK_EVERY == 0)
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
        """Build the optimiser over the parameters that learn, and the schedule when there is one."""
        optimizer, rates = build_optimizer(self.optimizer, self.net, self.groups)
        check_trainer(optimizer, self.trainer)
        if self.scheduler is None:
            return optimizer
        with settings_at_fault("the schedule refuses its settings", "model.scheduler"):
            scheduler = self.scheduler(optimizer)
        keep_rates(optimizer, scheduler, rates)
        check_rates(scheduler)
        plan: dict[str, Any] = {"scheduler": scheduler, "interval": self.interval}
        if isinstance(monitor := getattr(scheduler, "monitor", None), str):
            plan |= {"monitor": monitor, "reduce_on_plateau": True}  # Lightning's word for: step(value)
        elif isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise Vo3dError(
                "torch's ReduceLROnPlateau does not say which loss it watches: take "
                "lightning.pytorch.cli.ReduceLROnPlateau with model.scheduler.monitor, such as val/loss"
            )
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step; a closure that may be called several times is the same function each time."""
        inner = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        if optimizer_closure is None or not wants_closure(inner):
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            return
        evaluations = Evaluations(optimizer_closure, self.net, self.trainer.strategy)

        def evaluate() -> Any:
            self.again = evaluations.count > 0
            return evaluations()

        try:
            super().optimizer_step(epoch, batch_idx, optimizer, evaluate)
        finally:
            self.again = False
            evaluations.finish()

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step the schedule; what it cannot do, and rates that cannot be, are wrong settings."""
        failure = f"the schedule {type(scheduler).__name__} fails at step {self.global_step}"
        with settings_at_fault(failure, "model.scheduler", (ValueError, ArithmeticError)):
            super().lr_scheduler_step(scheduler, metric)
        check_rates(scheduler)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says, where the optimiser allows it."""
        if clips(optimizer):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def finish(self, checkpoints: Sequence[Path]) -> None:
        """Let a method that has a `finish` see the training recordings, once with the weights of each checkpoint.

        Each checkpoint then holds what came out; it is written anew, whole or not at all. Raises Vo3dError where the
        training set has no recordings.
        """
        net = self.net
        if not has_own(net, "finish"):
            return
        recordings = self._recordings("finish")
        was_training = net.training
        for path in checkpoints:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            state = stored["state_dict"]
            net.load_state_dict(weights_in(stored))
            net.eval()
            with torch.no_grad():
                net.finish(recordings)
            state |= {f"{PREFIX}{name}": value.cpu() for name, value in net.state_dict().items()}
            stored[FINISHED_KEY] = True
            AtomicCheckpoints().save_checkpoint(stored, path)
        net.train(was_training)

    def _recordings(self, what: str) -> Sequence[Recording]:
        """Give the training recordings, which a method reads itself in its `fit` or `finish`."""
        recordings = recordings_of(getattr(self.trainer, "datamodule").train)  # noqa: B009  as in `on_fit_start`
        if not recordings:
            raise Vo3dError(
                f"{type(self.net).__name__} learns from whole recordings in its {what}, and data.train has none: give "
                "a vo3d.recording.RecordingDataset"
            )
        return recordings

    def _objective(self, batch: Batch, stage: str) -> Tensor:
        sample = batch.sample
        if stage not in self.checked:
            check_needs(self.net, sample, self._source(stage), learning=True)
        prediction = self.net(sample)
        if stage not in self.checked:
            check_gives(self.net, prediction)
            self.checked.add(stage)
        terms = self.net.loss(prediction, sample)
        training = stage == "train"
        if training and self.l1 > 0:
            penalty = torch.stack([weight.abs().sum() for weight in weights_of(self.net)]).sum()
            terms = {**terms, "l1": self.l1 * penalty}
        loss = torch.stack([term.reshape(()) for term in terms.values()]).sum()
        if self.again:
            return loss
        values = {f"{stage}/{name}": term.detach() for name, term in terms.items() if name != "loss"}
        when: dict[str, Any] = {"on_step": training, "on_epoch": not training, "sync_dist": not training}
        self.log_dict(values, batch_size=sample.image.shape[0], **when)
        self.log(f"{stage}/loss", loss.detach(), batch_size=sample.image.shape[0], prog_bar=True, **when)
        return loss

    def _source(self, stage: str) -> str:
        dataset = getattr(getattr(self.trainer, "datamodule", None), stage, None)
        return type(dataset).__name__ if dataset is not None else f"the {stage} data"


def weights_in(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict of the method in a checkpoint of `vo3d fit`."""
    state = stored["state_dict"]
    return {name.removeprefix(PREFIX): state[name] for name in state if name.startswith(PREFIX)}


@rank_zero_only
def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
