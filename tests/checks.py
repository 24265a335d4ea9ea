"""Assertions that several test files use."""

import torch
from torch import Tensor


def assert_same(left: Tensor, right: Tensor, tolerance: float = 1e-9) -> None:
    """Equal shapes and dtypes; values equal to `tolerance`, absolute and relative."""
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)
