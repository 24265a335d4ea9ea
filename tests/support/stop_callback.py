"""A callback that ends a training run at a step, as a user's kill or a power cut would."""

import os
import signal
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Stopped(RuntimeError):
    """Raised in the middle of a run."""


class Stop(Callback):
    """Ends the run after `step` optimiser steps: by SIGKILL, or by an exception inside the process."""

    def __init__(self, step: int, kill: bool = True) -> None:
        self.step, self.kill = step, kill

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the run; the checkpoint of this very step is not yet written."""
        if trainer.global_step == self.step:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Stopped
