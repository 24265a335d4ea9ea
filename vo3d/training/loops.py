"""Lightning's loops with one kind of checkpoint: of a moment at which a batch, and all that follows from it, is done.

Lightning saves in the midst of a step, and on a resume works out from its counters what was left of that step: whole
validations, steps of schedules and the rest of an epoch are lost that way (seen with lightning 2.6.6, November 2026).
Here the checkpoints are written between two batches, after validation and schedules, or between two epochs. Nothing is
left over then, and to resume is to go on.
"""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities.exceptions import SIGTERMException


class SettledCheckpoint(Checkpoint):
    """Writes a checkpoint when nothing is left to do of a batch or an epoch."""

    def on_settled(self, trainer: Trainer, *, final: bool) -> None:
        """Write it if it is due.

        Args:
            trainer: Whose state it is.
            final: An epoch is done, or the run ends here.
        """
        raise NotImplementedError


class EpochLoop(_TrainingEpochLoop):
    """Goes through the batches of an epoch; settled after each but the last, of which the epoch's end is a part."""

    logged: dict[str, Any]  # values of before a resume, for a schedule that watches one

    def __init__(self, trainer: Trainer, min_steps: int | None = None, max_steps: int = -1) -> None:
        super().__init__(trainer, min_steps, max_steps)
        self.logged = {}

    @property
    def done(self) -> bool:
        """Tell whether to leave the epoch: never between the batches of one accumulated step."""
        return super().done and not self._should_accumulate()

    def reset(self) -> None:
        """Begin an epoch, or go on with the counters of the checkpoint."""
        if not self.restarting:
            super().reset()

    def advance(self, data_fetcher: Any) -> None:
        """Do the next batch; of the one before nothing is left, or its end, after a checkpoint of Lightning's own."""
        self.restarting = False
        current: Any = self.batch_progress.current
        if current.completed < current.processed:
            self.batch_progress.increment_completed()
        else:
            super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Validate and step the schedules where it is time; then the batch is done."""
        try:
            super().on_advance_end(data_fetcher)
        except SIGTERMException:
            if self.trainer.training and not self._should_accumulate():  # it did not come in the validation
                settle(self.trainer, final=True)
            raise
        if not self._num_ready_batches_reached():
            settle(self.trainer, final=self.done)

    def on_save_checkpoint(self) -> dict[str, Any]:
        """Give the state beside the counters."""
        return {**super().on_save_checkpoint(), "logged": {**self.logged, **self.trainer.callback_metrics}}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        """Take the state up."""
        super().on_load_checkpoint(state_dict)
        self.logged = state_dict.get("logged", {})

    def _get_monitor_value(self, key: str) -> Any:
        return self.trainer.callback_metrics.get(key, self.logged.get(key))

    def _should_check_val_fx(self, data_fetcher: Any) -> bool:
        stop, self.trainer.should_stop = self.trainer.should_stop, False  # no validation that a longer run would not do
        due = super()._should_check_val_fx(data_fetcher)
        self.trainer.should_stop = stop
        return due


class FitLoop(_FitLoop):
    """Goes through the epochs; settled after each whole one."""

    @_Loop.restarting.setter  # type: ignore[attr-defined, untyped-decorator]
    def restarting(self, restarting: bool) -> None:
        """Go on in the midst of an epoch, if the checkpoint is of there."""
        current = self.epoch_progress.current
        _Loop.restarting.fset(self, restarting and current.ready != current.processed)  # type: ignore[attr-defined]

    def reset(self) -> None:
        """Begin, or go on with the counters of the checkpoint; an epoch that lacks but its last count is done."""
        torch.set_grad_enabled(True)
        self.update_restart_stage()
        if self.resumed_on_epoch_end:
            self.epoch_progress.increment_completed()

    def on_advance_end(self) -> None:
        """End an epoch; a schedule steps after one that was resumed as after any other."""
        self._restarting = False
        whole = self.epoch_loop._num_ready_batches_reached()  # else the run ends here: its checkpoint is written
        try:
            super().on_advance_end()
        except SIGTERMException:
            if whole:
                settle(self.trainer, final=True)
            raise
        if whole:
            settle(self.trainer, final=True)


def install(trainer: Trainer) -> None:
    """Let `trainer` fit by these loops."""
    theirs = trainer.fit_loop
    trainer.fit_loop = FitLoop(trainer, theirs.min_epochs, theirs.max_epochs)
    trainer.fit_loop.epoch_loop = EpochLoop(trainer, theirs.epoch_loop.min_steps, theirs.epoch_loop.max_steps)


def settle(trainer: Trainer, *, final: bool) -> None:
    """Tell the checkpoints that everything is done up to here."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, SettledCheckpoint):
            callback.on_settled(trainer, final=final)


def is_resumable(loops: Any, *, watched: bool) -> bool:
    """Tell whether a checkpoint's state of the loops is of such a moment, or only lacks the end of a batch or an epoch.

    The latter are those that Lightning's own callbacks write. What is left of them is done on a resume, unless a
    schedule has `watched` a value, which they do not hold. False also for what is no such state.
    """
    try:
        fit = loops["fit_loop"]
        epochs, batches = fit["epoch_progress"]["current"], fit["epoch_loop.batch_progress"]["current"]
        steps = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"]
        stepped = fit["epoch_loop.state_dict"]["_batches_that_stepped"]
        left = [progress["processed"] - progress["completed"] for progress in (batches, epochs)]
        return (
            batches["ready"] == batches["started"] == batches["processed"] >= 0
            and epochs["ready"] == epochs["started"]
            and epochs["ready"] - epochs["processed"] in {0, 1}
            and min(left) >= 0
            and sum(left) <= (not watched)
            and stepped + left[0] == steps
        )
    except (AttributeError, KeyError, TypeError):
        return False
