"""Optimisers that evaluate the loss several times a step: each time the same function, and one trace in the end."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from checks import complaint
from places import TINY
from trial_steps import Looking
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.optim import BFGS, NAG, SGD, Average, ConjugateGradient, GradientNoise, MomentOptimizer, Newton, One
from vo3d.training.closures import check_trainer, clips, wants_closure

NORMED = ["--model.net", "trial_steps.NormedModel"]


def fit(folder: Path, *more: str) -> int:
    return main(["fit", "-c", str(TINY), "--out", str(folder), "--trainer.max_epochs", "2", *more])


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def curves(folder: Path) -> list[tuple[str, ...]]:
    with (folder / "history.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file) if not row[2].startswith("lr-")]


@pytest.fixture
def seen() -> Iterator[list[tuple[float, float]]]:
    Looking.seen.clear()
    yield Looking.seen
    Looking.seen.clear()


def test_trial_points_leave_no_trace(tmp_path: Path, seen: list[tuple[float, float]]) -> None:
    plain = ["--model.optimizer", "vo3d.optim.SGD", "--model.optimizer.lr", "0.1"]
    looking = ["--model.optimizer", "trial_steps.Looking", "--model.optimizer.lr", "0.1"]
    assert fit(tmp_path / "plain", *NORMED, *plain) == 0
    assert fit(tmp_path / "looking", *NORMED, *looking) == 0
    assert len(seen) == 18
    assert all(first == again for first, again in seen)  # dropout of one half: the same units every time
    ours, theirs = last(tmp_path / "looking"), last(tmp_path / "plain")
    assert ours["global_step"] == theirs["global_step"] == 18
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), name
    assert theirs["state_dict"]["net.normed.num_batches_tracked"] == 18
    assert curves(tmp_path / "looking") == curves(tmp_path / "plain")


def test_a_first_evaluation_that_is_not_finite_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model.optimizer", "trial_steps.Looking", "--model.optimizer.lr", "1e30"]
    assert "the training loss is" in complaint(capsys, "fit", "-c", TINY, "--out", tmp_path, *words)


def test_gradients_of_a_search_are_not_clipped_and_that_is_told(tmp_path: Path) -> None:
    looking = ["--model.optimizer", "trial_steps.Looking", "--model.optimizer.lr", "0.1", *NORMED]
    clipped = ["--trainer.gradient_clip_val", "1e-9"]
    assert fit(tmp_path / "a", *looking) == 0
    with pytest.warns(UserWarning, match="gradients are not clipped: the line search of Looking bounds its steps"):
        assert fit(tmp_path / "b", *looking, *clipped) == 0
    assert curves(tmp_path / "b") == curves(tmp_path / "a")


def test_gradients_are_not_accumulated_over_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trainer.accumulate_grad_batches", "2", "--model.optimizer", "vo3d.optim.NAG"]
    words += ["--model.optimizer.lr", "0.1", "--model.optimizer.form", "closure"]
    line = complaint(capsys, "fit", "-c", TINY, "--out", tmp_path, *words)
    assert line.startswith("NAG evaluates the loss of one batch by itself: it cannot accumulate gradients")
    assert "--data.batch_size" in line


def test_losses_are_not_scaled() -> None:
    optimizer = torch.optim.LBFGS([nn.Parameter(torch.zeros(1))])
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    check_trainer(optimizer, trainer)
    trainer.strategy.precision_plugin.precision = "16-mixed"  # half precision needs an accelerator
    with pytest.raises(Vo3dError, match="LBFGS cannot step with scaled losses"):
        check_trainer(optimizer, trainer)
    check_trainer(torch.optim.Adam([nn.Parameter(torch.zeros(1))]), trainer)


def test_who_wants_a_closure_and_whose_gradients_are_clipped() -> None:
    def some() -> Iterable[nn.Parameter]:
        return [nn.Parameter(torch.zeros(1))]

    frame = {"first": Average(0.9), "second": One()}
    expected = [
        (SGD(some(), lr=0.1), False, True),
        (torch.optim.Adam(some()), False, True),
        (NAG(some(), lr=0.1), False, True),
        (NAG(some(), lr=0.1, form="closure"), True, True),
        (MomentOptimizer(some(), lr=0.1, **frame), False, True),
        (MomentOptimizer(some(), lr=0.1, look_ahead=0.9, **frame), True, True),
        (torch.optim.LBFGS(some()), True, False),
        (BFGS(some()), True, False),
        (ConjugateGradient(some()), True, False),
        (Newton(some()), True, False),
        (GradientNoise(some(), lambda params: SGD(params, lr=0.1)), False, True),
        (GradientNoise(some(), torch.optim.LBFGS), True, False),
    ]
    for optimizer, wants, clipped in expected:
        assert wants_closure(optimizer) is wants, optimizer
        assert clips(optimizer) is clipped, optimizer
