"""Schedules of the learning rate, early stopping and profilers, each by a line of the command line."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from checks import complaint
from places import SUPPORT, TINY
from tiny import TinyModel
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.model import Prediction
from vo3d.sample import Sample
from vo3d.training.callbacks import EarlyStop, standard_callbacks

TINY = str(TINY)
QUICK = ("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false")
SCHEDULERS = "torch.optim.lr_scheduler."


def fit(out: Path, *more: str) -> int:
    return main(["fit", "-c", TINY, "--out", str(out), *QUICK, *more])


def column(out: Path, name: str) -> list[float]:
    with (out / "history.csv").open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


class Scripted(TinyModel):
    """Its n-th validation has the n-th of `losses`, the last one from then on; nothing is learnt."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses, self.validations, self.inside = losses, 0, False

    def train(self, mode: bool = True) -> "Scripted":
        """Counts how often evaluation begins."""
        if self.training and not mode:
            self.validations += 1
        return super().train(mode)  # type: ignore[return-value]

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        """The loss, and in evaluation as much more as the script says."""
        terms = super().loss(prediction, sample)
        if self.training:
            return terms
        place = min(self.validations, len(self.losses)) - 1
        return {name: 0 * term + self.losses[place] / 2 for name, term in terms.items()}


def scripted(out: Path, losses: str, *more: str) -> list[float]:
    """The validation losses of a run that validates up to nine times, after every epoch of one step."""
    words = ["--model.net", f"{__name__}.Scripted", "--model.net.losses", losses]
    words += ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]
    words += ["--trainer.num_sanity_val_steps", "0", "--trainer.max_epochs", "9"]
    assert fit(out, *words, *more) == 0
    return column(out, "val/loss")


def test_patience_counts_validations_without_improvement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = scripted(tmp_path, "[4, 3, 3.5, 2, 3, 2, 2]", "--patience", "2")
    assert seen == [4, 3, 3.5, 2, 3, 2]
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert (best["global_step"], last["global_step"]) == (4, 6)  # the best weights are kept
    assert (
        "stopped early: val/loss did not improve in the last 2 validations; the best was 2\n" in capsys.readouterr().out
    )


def test_less_than_min_delta_is_no_improvement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--patience", "2", "--min_delta", "0.5")
    assert scripted(tmp_path, "[4, 3, 2.75, 2.625, 1]", *words) == [4, 3, 2.75, 2.625]
    assert "did not improve by more than 0.5 in the last 2 validations; the best was 3\n" in capsys.readouterr().out
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 4  # the smallest is kept all the same


def test_the_largest_may_be_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--patience", "2", "--min_delta", "0.5", "--monitor", "val/rotation", "--monitor_mode", "max")
    assert scripted(tmp_path, "[2, 6, 5, 6.5, 9]", *words) == [2, 6, 5, 6.5]  # rotation has half of it
    told = "val/rotation did not improve by more than 0.5 in the last 2 validations; the best was 3\n"
    assert told in capsys.readouterr().out
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 4


def test_not_a_number_is_no_improvement(tmp_path: Path) -> None:
    seen = scripted(tmp_path, "[.nan, 3, .nan, .inf, 2, .nan, .nan, .nan]", "--patience", "3")
    assert len(seen) == 8
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 5


def test_patience_waits_for_a_warm_up(tmp_path: Path) -> None:
    words = ("--patience", "1", "--patience_after", "4")
    assert scripted(tmp_path, "[1, 2, 3, 4, 3, 3]", *words) == [1, 2, 3, 4, 3, 3]


def test_patience_survives_a_resume(tmp_path: Path) -> None:
    """Two validations without improvement before the end and one after it are three."""
    first = ("--patience", "3", "--trainer.max_epochs", "3")
    assert scripted(tmp_path, "[1, 2, 2]", *first) == [1, 2, 2]
    stop = EarlyStop("val/loss", 3)
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    stop.load_state_dict(stored["callbacks"][stop.state_key])
    assert (stop.wait_count, float(stop.best_score)) == (2, 1)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [({"min_delta": -1.0}, "min_delta is -1"), ({"min_delta": float("nan")}, "min_delta is nan"),
     ({"patience_after": -1}, "patience_after -1"), ({"patience": -1}, "patience is -1"),
     ({"monitor_mode": "max"}, "val/loss with monitor_mode max keeps the worst weights: give --monitor_mode min")],
)  # fmt: skip
def test_bad_early_stopping_is_refused(tmp_path: Path, words: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Vo3dError, match=complaint):
        standard_callbacks(tmp_path, **{"monitor": "val/loss", "checkpoint_every": 1, "patience": 1, **words})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--model.scheduler CosineAnnealingLR --model.scheduler.T_max 0", "CosineAnnealingLR fails at step 1: "),
        ("--model.scheduler StepLR --model.scheduler.step_size 0", "the schedule StepLR fails at step 1: "),
        ("--model.scheduler OneCycleLR --model.scheduler.max_lr 1 --model.scheduler.total_steps 1", "OneCycleLR fails"),
        ("--model.scheduler OneCycleLR --model.scheduler.max_lr -1 --model.scheduler.total_steps 9", "rate of -0.04"),
        ("--model.scheduler ExponentialLR --model.scheduler.gamma -1", "ExponentialLR gives a rate of -0.001"),
        ("--patience 2 --monitor val/lss", "nothing is logged as val/lss: give --monitor one of "),
        ("--trainer.accumulate_grad_batches 0", "trainer.accumulate_grad_batches is 0: expected at least 1"),
        ("--trainer.gradient_clip_val -1", "trainer.gradient_clip_val is -1: expected a length above 0, or null"),
    ],
)
def test_what_ends_a_run_is_told_in_one_line(
    tmp_path: Path, words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("-c", "optim_adam.yaml", *words.split(), "--model.interval", "step")
    assert told in complaint(capsys, "fit", "-c", TINY, "--out", tmp_path, *QUICK, *options)


def rates(out: Path, scheduler: str, steps: int, *more: str) -> list[float]:
    """The learning rate of each step of SGD, from 1."""
    words = ["-c", "optim_sgd.yaml", "--model.optimizer.lr", "1", "--model.scheduler", scheduler, *more]
    assert fit(out, *words, "--model.interval", "step", "--trainer.max_steps", str(steps), "--monitor", "null") == 0
    return column(out, "lr-SGD")


def test_milestones(tmp_path: Path) -> None:
    words = ("--model.scheduler.milestones", "[2,3]", "--model.scheduler.gamma", "0.1")
    assert rates(tmp_path, SCHEDULERS + "MultiStepLR", 4, *words) == pytest.approx([1, 1, 0.1, 0.01])


def test_cosine(tmp_path: Path) -> None:
    words = ("--model.scheduler.T_max", "4")
    expected = [(1 + torch.tensor(torch.pi * step / 4).cos()) / 2 for step in range(5)]
    assert rates(tmp_path, SCHEDULERS + "CosineAnnealingLR", 5, *words) == pytest.approx(torch.stack(expected).tolist())


def test_a_warm_up_then_another_schedule(tmp_path: Path) -> None:
    words = ["--model.scheduler.steps", "2", "--model.scheduler.start", "0.5"]
    words += ["--model.scheduler.then", "CosineAnnealingLR", "--model.scheduler.then.T_max", "2"]
    assert rates(tmp_path, "vo3d.optim.Warmup", 5, *words) == pytest.approx([0.5, 0.75, 1, 0.5, 0])


def test_the_rate_falls_where_the_loss_hardly_changes(tmp_path: Path) -> None:
    words = ("--model.scheduler.threshold", "100", "--model.scheduler.factor", "0.1")
    assert rates(tmp_path, "vo3d.optim.ThresholdDecay", 4, *words) == pytest.approx([1, 1, 0.1, 0.01])


def test_the_rate_falls_where_the_validation_the_validation_loss_does_not(tmp_path: Path) -> None:
    plateau = "lightning.pytorch.cli.ReduceLROnPlateau"
    words = ["-c", "optim_sgd.yaml", "--model.optimizer.lr", "1e-3", "--model.scheduler", plateau]
    words += ["--model.scheduler.monitor", "val/loss", "--model.scheduler.patience", "1"]
    assert len(scripted(tmp_path, "[3, 2, 2, 2, 2, 2]", *words, "--trainer.max_epochs", "6")) == 6
    assert column(tmp_path, "lr-SGD") == pytest.approx([1e-3] * 4 + [1e-4] * 2)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["torch.optim.lr_scheduler.ReduceLROnPlateau"], "take lightning.pytorch.cli.ReduceLROnPlateau with"),
        (["OneCycleLR", "--model.scheduler.max_lr", "1", "--model.scheduler.total_steps", "-5"], "positive integer"),
    ],
)
def test_bad_schedules_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert fit(tmp_path, "-c", "optim_sgd.yaml", "--model.scheduler", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


@pytest.mark.parametrize("name", ["simple", "advanced"])
def test_profilers_write_into_the_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert fit(tmp_path, "--trainer.max_epochs", "1", "--trainer.profiler", name) == 0
    file = tmp_path / "fit-profile.txt"
    assert f"{file}: the times of the parts" in capsys.readouterr().out
    assert "Learner.optimizer_step" in file.read_text()


def test_an_unknown_profiler_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, "--trainer.profiler", "fast") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "`profiler`" in line
    assert "'simple', 'advanced', 'pytorch'" in line


def test_a_count_stays_a_count_whatever_was_imported_before(tmp_path: Path) -> None:
    """Where rich comes first, typing hands Lightning its `float | int`, and `1` batch would be read as 1.0: all."""
    program = "import sys, rich.console; from vo3d.cli import main; sys.exit(main())"
    words = ["fit", "-c", TINY, "--out", str(tmp_path), "--trainer.max_epochs", "1"]
    words += ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=os.environ | {"PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "limit_train_batches: 1\n" in (tmp_path / "config.yaml").read_text()
    assert len(column(tmp_path, "train/loss")) == 1
