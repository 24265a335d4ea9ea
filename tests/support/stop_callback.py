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


class At(Callback):
    """Does something at a hook, the first time that `step` optimiser steps are done there."""

    def __init__(self, hook: str, step: int, act: str) -> None:
        def call(trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == step and not trainer.sanity_checking:
                ACTS[act](trainer)

        setattr(self, hook, call)


def _stop(trainer: Trainer) -> None:
    raise Stopped


def _stop_early(trainer: Trainer) -> None:
    trainer.should_stop = True  # as Lightning's Timer does


def _terminate(trainer: Trainer) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _die(trainer: Trainer) -> None:
    if trainer.global_rank == trainer.world_size - 1:
        os.kill(os.getpid(), signal.SIGKILL)


def _exhaust(trainer: Trainer) -> None:
    raise MemoryError


def _lose_worker(trainer: Trainer) -> None:
    """Raise what Lightning makes of a worker's death that meets it in the midst of a log."""
    raise ValueError("you tried to log 1.0") from RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")


def _lose_connection(trainer: Trainer) -> None:
    """Raise what a worker's death is while a tensor of it is received."""
    raise ConnectionResetError(104, "Connection reset by peer")


ACTS = {
    "stop": _stop,
    "stop_early": _stop_early,
    "terminate": _terminate,
    "die": _die,
    "exhaust": _exhaust,
    "lose_worker": _lose_worker,
    "lose_connection": _lose_connection,
}
