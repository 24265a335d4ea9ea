"""Fixtures that the whole suite shares."""

import os
from pathlib import Path

import pytest
import torch

from places import SHARED_DATA, TINY
from vo3d.cli import main

if not torch.cuda.is_available():
    # Triton reads this when it is first imported, and runs kernels on the CPU. What torch compiles for CPUs has none.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def shared_data() -> Path:
    """The folder of real excerpts beside the checkout; skips where it is absent."""
    folder = SHARED_DATA
    if not folder.is_dir():
        pytest.skip("the real excerpts (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of random numbers."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch of the tiny model."""
    folder = tmp_path_factory.mktemp("trained")
    config = TINY
    assert main(["fit", "-c", str(config), "--out", str(folder), "--trainer.max_epochs", "1"]) == 0
    return folder
