"""What happens beside the training: checkpoints, curves, random numbers that survive a resume, the run folder."""

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    RichProgressBar,
)
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.checkpoints import read_content
from vo3d.formats.files import atomic_path
from vo3d.formats.weights import SETTINGS_KEY
from vo3d.provenance import provenance
from vo3d.settings.run_folder import CHECKPOINTS, CONFIG, HISTORY, OWN_MODULES, VERSIONS
from vo3d.training.datamodule import seed_of
from vo3d.training.loops import SettledCheckpoint

Mode = Literal["min", "max"]


class History(Logger):
    """The logged curves as one plain table, `history.csv`: step, epoch, name, value; one number a row.

    A resumed run continues the table: rows beyond the step of its checkpoint are dropped first.
    """

    name: None = None  # Lightning asks for both; this logger has no folder of its own
    version: None = None

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / HISTORY

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Log nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row for each number."""
        epoch = int(metrics.get("epoch", 0))
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows(
                (step, epoch, name, f"{value:.9g}") for name, value in metrics.items() if name != "epoch"
            )

    @rank_zero_only
    def begin(self, step: int) -> None:
        """Start the table, or continue it at `step`.

        Raises Vo3dError for a row that is none, but for the last, which a kill may have cut off.
        """
        rows: list[list[str]] = []
        if step > 0 and self.path.is_file():
            with self.path.open(newline="") as file:
                rows = [row for row in self._rows(file) if int(row[0]) < step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as path, path.open("w", newline="") as file:
            csv.writer(file).writerows([["step", "epoch", "name", "value"], *rows])

    def _rows(self, file: TextIO) -> Iterator[list[str]]:
        rows = list(csv.reader(file))[1:]
        for line, row in enumerate(rows, start=2):
            if len(row) == 4 and row[0].isdecimal() and len(row[0]) < 20:
                yield row
            elif line <= len(rows):
                raise Vo3dError(
                    f"{self.path}:{line}: found {quoted(','.join(row))}: expected step, epoch, name, value: remove the "
                    "row, or the file to begin a new one"
                )


class StepSeed(Callback):
    """Makes the random numbers of a step (dropout) a function of seed, process, epoch and batch alone.

    A resumed run then draws what the uninterrupted one drew, with no generator state in the checkpoint.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch's generators on every device."""
        torch.manual_seed(seed_of(self.seed, trainer.global_rank, trainer.current_epoch, batch_idx))


class RunFolder(Callback):
    """Writes config.yaml and versions.json into the run folder, and the configuration into each checkpoint."""

    def __init__(self, folder: Path, config: str, seed: int, own_modules: Mapping[str, str]) -> None:
        self.folder = folder
        self.config = config
        self.seed = seed
        self.own_modules = dict(own_modules)  # files of the user's own, by module

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files before the first step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = {
            **provenance(),
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "device": str(trainer.strategy.root_device),
            "processes": trainer.world_size,
            **({OWN_MODULES: self.own_modules} if self.own_modules else {}),
        }
        for name, text in ((CONFIG, self.config), (VERSIONS, json.dumps(facts, indent=2) + "\n")):
            with atomic_path(self.folder / name) as path:
                path.write_text(text)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the curves begin, or go on, at the step of the checkpoint."""
        for logger in trainer.loggers:
            if isinstance(logger, History):
                logger.begin(trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint describe itself: it carries the whole resolved configuration."""
        checkpoint[SETTINGS_KEY] = self.config


class LastCheckpoint(SettledCheckpoint):
    """Writes the whole state of the run to one file: every so many steps, after each epoch, and where the run ends."""

    def __init__(self, path: Path, every: int) -> None:
        if every < 1:
            raise Vo3dError(f"checkpoint_every is {every}: expected at least one step")
        self.path, self.every = path, every

    def on_settled(self, trainer: Trainer, *, final: bool) -> None:
        """Save at steps, and not between them when gradients are accumulated."""
        if final or (trainer.global_step % self.every == 0 and not trainer.fit_loop._should_accumulate()):
            trainer.save_checkpoint(self.path)


class BestCheckpoint(ModelCheckpoint, SettledCheckpoint):
    """Writes best.ckpt after a validation with the best value so far; its whole state can be resumed, too."""

    def __init__(self, folder: Path, monitor: str, mode: Mode = "min") -> None:
        super().__init__(folder, "best", monitor=monitor, mode=mode, enable_version_counter=False)
        self.due: str | None = None

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        self.due = filepath  # Lightning asks for it in the midst of the step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the value after an epoch, and not where a run ends within one."""
        if trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            super().on_train_epoch_end(trainer, pl_module)

    def on_settled(self, trainer: Trainer, *, final: bool) -> None:
        """Save what the last validation asked for."""
        if self.due is not None:
            path, self.due = self.due, None
            super()._save_checkpoint(trainer, path)


class EarlyStop(EarlyStopping):
    """Stops after `patience` validations in a row that are not better than the best by more than `min_delta`.

    A value that is not a number is no improvement. Validations before step `after` are not looked at. Best weights are
    not put back: best.ckpt keeps them.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float = 0.0, after: int = 0, mode: Mode = "min") -> None:
        options: dict[str, Any] = {"mode": mode, "min_delta": min_delta, "patience": patience}
        # after validations, not after epochs: one may end before the first validation
        super().__init__(monitor, **options, check_finite=False, check_on_train_epoch_end=False)
        self.after = after

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the validation, unless it comes too early; raises Vo3dError where nobody logs what is watched."""
        if not trainer.sanity_checking and self.monitor not in trainer.callback_metrics:
            raise Vo3dError(
                f"nothing is logged as {self.monitor}: give --monitor one of {', '.join(trainer.callback_metrics)}"
            )
        if trainer.global_step >= self.after:
            super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the count; the patience is that of the command line."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def reason(self) -> str | None:
        """Tell why training stopped; None where it did not."""
        if self.stopping_reason == EarlyStoppingReason.NOT_STOPPED:
            return None
        than = f" by more than {abs(self.min_delta):g}" if self.min_delta else ""  # Lightning keeps it with a sign
        times = "validation" if self.wait_count == 1 else f"{self.wait_count} validations"
        return (
            f"stopped early: {self.monitor} did not improve{than} in the last {times}; the best was "
            f"{float(self.best_score):.6g}"
        )


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes each checkpoint beside its place and renames it: a kill while it is written leaves the old one whole.

    Lightning's own way goes through the system's temporary folder, from where another file system is reached by a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path`; Lightning calls this in the first process only."""
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())  # the content is on the disk before the name is
            except RuntimeError as error:  # torch's own complaint, about bytes, hides that of the system
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read the checkpoint at `path` on the CPU, however it is asked for; no code in it is run."""
        content: dict[str, Any] = read_content(Path(path))  # type: ignore[assignment]  # the command has looked at it
        return content


class ProgressBar(RichProgressBar):
    """Lightning's bar without what says nothing here: the number of a version, the last of endless epochs."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Give what stands behind the bar, with four digits that count: a small loss moves, too."""
        found = super().get_metrics(trainer, pl_module)
        return {
            name: f"{value:#.4g}" if isinstance(value, float) else value
            for name, value in found.items()
            if name != "v_num"
        }

    def _get_train_description(self, current_epoch: int) -> str:
        """Name the epoch, without "/-2" where steps, not epochs, end the run."""
        return super()._get_train_description(current_epoch).replace("/-2", "")


class Summary(ModelSummary):
    """Says in one line what is trained, instead of Lightning's table of one row and its lines of zeros."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        *_: Any,
        **__: Any,
    ) -> None:
        """Print the line: the class of the model, its parameters, its size."""
        kind = dict(summary_data)["Type"][0]
        frozen = total_parameters - trainable_parameters
        trained = f"{frozen:,} of them frozen" if frozen else "all trained"
        sys.stdout.write(f"{kind}: {total_parameters:,} parameters, {trained}, {model_size:.3g} MB\n")


def standard_callbacks(
    folder: Path,
    *,
    monitor: str | None,
    monitor_mode: Mode = "min",
    checkpoint_every: int,
    patience: int | None,
    min_delta: float = 0.0,
    patience_after: int = 0,
    bar: bool = True,
    summary: bool = True,
) -> list[Callback]:
    """Make the progress bar, the learning-rate curve, best and last weights, early stopping.

    Args:
        folder: The run folder; checkpoints go to `folder/checkpoints`.
        monitor: The logged value that tells the best weights; None keeps the last weights only.
        monitor_mode: Whether its smallest or its largest is the best.
        checkpoint_every: Steps between two writings of last.ckpt, which is also written after each epoch.
        patience: Validations without a better value after which training stops; None never stops it.
        min_delta: How much better a value has to be to count as better.
        patience_after: Steps before validations count.
        bar: Show the progress bar.
        summary: Say what is trained.
    """
    if patience is None and (min_delta != 0 or patience_after != 0):
        raise Vo3dError("min_delta and patience_after belong to patience, and there is none: give --patience too")
    if patience is not None and monitor is None:
        raise Vo3dError(
            "patience counts validations, and there are none: give data.val and --monitor, or no --patience"
        )
    callbacks: list[Callback] = [*([ProgressBar()] if bar else []), *([Summary()] if summary else [])]
    callbacks.append(LearningRateMonitor(logging_interval="step"))
    if monitor is not None:
        name = monitor.rpartition("/")[2]
        if (wrong := "min" if name.startswith("recall") else "max" if name == "loss" else None) == monitor_mode:
            raise Vo3dError(
                f"monitor {monitor} with monitor_mode {wrong} keeps the worst weights: give --monitor_mode "
                f"{'max' if wrong == 'min' else 'min'}"
            )
        callbacks.append(BestCheckpoint(folder / CHECKPOINTS, monitor, monitor_mode))
        if patience is not None:
            if patience < 0:
                raise Vo3dError(f"patience is {patience}: expected validations, at least 0, or null to train on")
            if not 0 <= min_delta < float("inf") or patience_after < 0:
                raise Vo3dError(
                    f"min_delta is {min_delta:g}, patience_after {patience_after}: expected at least 0 of both"
                )
            callbacks.append(EarlyStop(monitor, patience, min_delta, patience_after, monitor_mode))
    return [*callbacks, LastCheckpoint(folder / CHECKPOINTS / "last.ckpt", checkpoint_every)]
