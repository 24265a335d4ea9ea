"""Fixtures that the whole suite shares."""

import os
from pathlib import Path

import pytest
import torch

from places import SHARED_DATA, SUPPORT, TINY

pytest.register_assert_rewrite(*({path.stem for path in SUPPORT.glob("*.py")} - {"places"}))  # that is imported already
pytest_plugins = ["check_guard"]

if not torch.cuda.is_available():
    # Triton reads this when it is first imported, and runs kernels on the CPU. What torch compiles for CPUs has none.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def shared_data() -> Path:
    """Give the folder of real excerpts beside the checkout; skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real excerpts (../shared/data) are not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def generator() -> torch.Generator:
    """Give a seeded source of random numbers."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the tiny model for one epoch."""
    from vo3d.cli import main

    folder = tmp_path_factory.mktemp("trained")
    assert main(["fit", "-c", str(TINY), "--out", str(folder), "--trainer.max_epochs", "1"]) == 0
    return folder
