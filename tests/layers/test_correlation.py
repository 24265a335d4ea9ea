"""Correlation against the loop that defines it."""

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.layers.correlation import correlation


def by_loops(first: Tensor, second: Tensor, max_displacement: int, stride: int) -> Tensor:
    """Equation 1 of FlowNet, pixel by pixel."""
    b, c, h, w = first.shape
    reach = max_displacement // stride
    steps = [stride * step for step in range(-reach, reach + 1)]
    found = torch.zeros(b, len(steps) ** 2, h, w, dtype=first.dtype)
    for channel, (dy, dx) in enumerate((dy, dx) for dy in steps for dx in steps):
        for y in range(h):
            for x in range(w):
                if 0 <= y + dy < h and 0 <= x + dx < w:
                    found[:, channel, y, x] = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1) / c
    return found


@pytest.mark.parametrize(
    ("max_displacement", "stride", "size"),
    [(4, 2, (5, 7)), (3, 1, (4, 3)), (5, 2, (3, 8)), (6, 3, (4, 8)), (0, 1, (2, 2))],
)
def test_it_equals_the_loop(max_displacement: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 3, *size, dtype=torch.float64).unbind(0)

    found = correlation(first, second, max_displacement, stride)

    assert torch.allclose(found, by_loops(first, second, max_displacement, stride), atol=1e-14)


def test_its_gradients_are_right() -> None:
    torch.manual_seed(0)
    first, second = (torch.randn(1, 2, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, 2, 2), (first, second))


def test_flownet_has_441_maps_and_the_middle_one_is_the_pixel_itself() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 4, 6, 8).unbind(0)
    found = correlation(first, second)
    assert found.shape == (1, 441, 6, 8)
    assert torch.allclose(found[:, 220], (first * second).mean(1), atol=1e-6)


@pytest.mark.parametrize(("max_displacement", "stride"), [(-1, 1), (4, 0)])
def test_no_grid_is_refused(max_displacement: int, stride: int) -> None:
    maps = torch.zeros(1, 1, 2, 2)
    with pytest.raises(Vo3dError, match="of a correlation: expected at least 0 and 1"):
        correlation(maps, maps, max_displacement, stride)
