"""Fixtures that the whole suite shares."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from places import SHARED_DATA, SUPPORT, TINY

pytest.register_assert_rewrite(*({path.stem for path in SUPPORT.glob("*.py")} - {"places"}))  # that is imported already
pytest_plugins = ["check_guard", "check_types"]

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


@pytest.fixture(scope="module")
def scenes_built_once() -> Iterator[None]:
    """Build each rendered scene once, for modules whose commands look at the same few scenes again and again."""
    from vo3d.world import recorder, stills

    with pytest.MonkeyPatch.context() as patch:
        for room in (recorder, stills):
            patch.setattr(room, "build_scene", cache(room.build_scene))
        yield


@pytest.fixture(scope="module")
def coarse_figures() -> Iterator[None]:
    """Draw figures with few pixels, for modules that look at what is said and at which files there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vo3d.report.canvas.DPI", 40)
        yield
