"""Runs of `vo3d fit`: what they learnt, and runs in several processes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from places import SUPPORT


def weights(folder: Path) -> dict[str, Tensor]:
    """The last weights of the run in `folder`."""
    return torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def run_outside(words: Sequence[str], cwd: Path) -> str:
    """What `vo3d` prints in a process of its own, which may start others."""
    run = subprocess.run(
        [sys.executable, "-m", "vo3d.cli", *words],
        env=os.environ | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
