"""What the version before wrote is still read: a run with its checkpoint, and results."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from places import PREVIOUS
from vo3d.cli import main
from vo3d.evaluation.compare import differing, print_comparison
from vo3d.evaluation.tasks import known_tasks
from vo3d.formats.results import Result


def test_a_checkpoint_is_evaluated_to_the_same_figures(tmp_path: Path) -> None:
    run = shutil.copytree(PREVIOUS / "run", tmp_path / "run")
    assert main(["evaluate", str(run), "--allow", "tiny", "--weights", "last", "--lengths", "1", "2"]) == 0
    before, now = Result.load(PREVIOUS / "odometry.json"), Result.load(run / "evaluation/test/TinyModel/odometry")
    assert before.protocol == now.protocol
    for key, value in before.mean.items():
        assert key == "fps" or now.mean[key] == pytest.approx(value, rel=1e-6), key  # processors round apart
    assert not differing(before, now, known_tasks()["odometry"])


def test_a_checkpoint_is_resumed(tmp_path: Path) -> None:
    run = shutil.copytree(PREVIOUS / "run", tmp_path / "run")
    words = ["fit", "-c", str(run / "config.yaml"), "--out", str(run), "--ckpt_path", "last"]
    assert main([*words, "--trainer.max_steps", "-1"]) == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 9


@pytest.mark.parametrize("name", ["odometry", "depth"])
def test_results_stand_in_a_table(name: str) -> None:
    output = io.StringIO()
    print_comparison([PREVIOUS / f"{name}.json", PREVIOUS / f"{name}.json"], console=Console(file=output, width=200))
    assert f"Protocol: task {name}; dataset " in output.getvalue()
    found = Result.load(PREVIOUS / f"{name}.json")
    assert output.getvalue().count(found.model) == 2
