"""Fixtures that the whole suite shares."""

from pathlib import Path

import pytest
import torch


@pytest.fixture
def shared_data() -> Path:
    """The folder of real excerpts beside the checkout; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real excerpts (../shared/data) are not beside this checkout")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of random numbers."""
    return torch.Generator().manual_seed(0)
