"""A run that was cut off and resumed ends where the uninterrupted one ends, to the last bit."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from places import SUPPORT, TINY
from stop_callback import Stopped
from vo3d.cli import main

STEPS = 9  # batches in an epoch of the tiny data


def command(folder: Path, *more: str) -> list[str]:
    config = TINY
    return ["fit", "-c", str(config), "--out", str(folder), "--trainer.max_epochs", "3", *more]


def stop_at(step: int, kill: bool) -> list[str]:
    return [
        "--trainer.callbacks+=stop_callback.Stop",
        f"--trainer.callbacks.step={step}",
        f"--trainer.callbacks.kill={str(kill).lower()}",
    ]


def last(folder: Path) -> dict[str, object]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same(folder: Path, reference: Path) -> None:
    ours, theirs = last(folder), last(reference)
    assert ours["global_step"] == theirs["global_step"] == 3 * STEPS
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), name
    ours, theirs = (torch.load(f / "checkpoints" / "best.ckpt", weights_only=True) for f in (folder, reference))
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), f"best: {name}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert main(command(folder)) == 0
    return folder


def test_sigkill_in_the_middle_of_an_epoch(whole: Path, tmp_path: Path) -> None:
    words = command(tmp_path, "--checkpoint_every", "4", *stop_at(STEPS + 5, kill=True))
    code = "import sys; from vo3d.cli import main; sys.exit(main(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        env=os.environ | {"PYTHONPATH": str(SUPPORT)},
        check=False,
    )
    assert run.returncode == -signal.SIGKILL
    assert last(tmp_path)["global_step"] == 12  # three batches into the second epoch
    assert main(command(tmp_path, "--checkpoint_every", "4", "--ckpt_path", "last")) == 0
    assert_same(tmp_path, whole)


@pytest.mark.parametrize(
    ("every", "step", "workers"),
    [
        (3, 8, 0),  # in the first epoch
        (STEPS, STEPS + 2, 0),  # the checkpoint of a step is that of the end of an epoch
        (1000, 2 * STEPS + 4, 0),  # only the ends of epochs have checkpoints
        (5, 2 * STEPS + 8, 0),  # two steps and a whole epoch behind
        (4, STEPS + 5, 1),  # with a process that reads ahead
        (1000, STEPS + 5, 1),
    ],
)
def test_resumed_equals_uninterrupted(whole: Path, tmp_path: Path, every: int, step: int, workers: int) -> None:
    words = ["--checkpoint_every", str(every), "--data.num_workers", str(workers)]
    with pytest.raises(Stopped):
        main(command(tmp_path, *words, *stop_at(step, kill=False)))
    assert last(tmp_path)["global_step"] < step
    assert main(command(tmp_path, *words, "--ckpt_path", "last")) == 0
    assert_same(tmp_path, whole)


def test_history_of_a_resumed_run_counts_each_step_once(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        main(command(tmp_path, "--checkpoint_every", "4", *stop_at(STEPS + 5, kill=False)))
    assert main(command(tmp_path, "--ckpt_path", "last")) == 0

    def losses(folder: Path) -> list[tuple[str, str]]:
        with (folder / "history.csv").open(newline="") as file:
            return [(row["step"], row["value"]) for row in csv.DictReader(file) if row["name"] == "train/loss"]

    assert len(losses(whole)) == 3 * STEPS
    assert losses(tmp_path) == losses(whole)


@pytest.mark.parametrize("name", ["momentum", "nag", "noise", "lbfgs", "newton_cg"])
def test_every_kind_of_optimiser_resumes_exactly(name: str, tmp_path: Path) -> None:
    words = ["-c", f"optim_{name}.yaml", "--trainer.max_epochs", "2", "--data.batch_size", "8"]  # 4 batches an epoch
    assert main(command(tmp_path / "whole", *words)) == 0
    with pytest.raises(Stopped):
        main(command(tmp_path / "cut", *words, "--checkpoint_every", "3", *stop_at(4, kill=False)))
    assert last(tmp_path / "cut")["global_step"] == 3  # between two steps that know of each other
    assert main(command(tmp_path / "cut", *words, "--checkpoint_every", "3", "--ckpt_path", "last")) == 0
    ours, theirs = last(tmp_path / "cut"), last(tmp_path / "whole")
    assert ours["global_step"] == theirs["global_step"] == 8
    for key, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], tensor), key
