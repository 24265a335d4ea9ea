"""Assertions that several test files use."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vo3d.cli import main


def assert_same(left: Tensor, right: Tensor, tolerance: float = 1e-9) -> None:
    """Equal shapes and dtypes; values equal to `tolerance`, absolute and relative."""
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


def complaint(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line on stderr of a command that must fail with status 2, without its beginning."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out
    return the_one_line(captured.err.splitlines())


def the_one_line(lines: Sequence[str]) -> str:
    """The only line of an error output, without its beginning."""
    lines = [line for line in lines if not line.startswith("Seed set")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("vo3d: error: ")
    return lines[0].removeprefix("vo3d: error: ")
