"""Bilinear pooling against a loop, at the points where a root has no derivative, and for maps of any size."""

import math

import pytest
import torch
from torch import Tensor

from vo3d.layers.bilinear_pooling import BilinearPool2d


def by_loop(x: Tensor, other: Tensor) -> Tensor:
    """The descriptor of one map (c h w) and another (k h w), number by number."""
    c, h, w = x.shape
    rooted = []
    for i in range(c):
        for j in range(other.shape[0]):
            total = 0.0
            for row in range(h):
                for column in range(w):
                    total += float(x[i, row, column]) * float(other[j, row, column])
            mean = total / (h * w)
            rooted.append(math.copysign(math.sqrt(abs(mean)), mean))
    length = math.sqrt(sum(value**2 for value in rooted))
    return torch.tensor([value / length for value in rooted], dtype=torch.float64)


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (7, 2)])
def test_it_equals_a_loop(size: tuple[int, int], generator: torch.Generator) -> None:
    x = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    other = torch.randn(2, 4, *size, generator=generator, dtype=torch.float64)

    own, both = BilinearPool2d()(x), BilinearPool2d()(x, other)

    # 1e-6 of a product's root is what the eps under the root may take away
    torch.testing.assert_close(own, torch.stack([by_loop(row, row) for row in x]), rtol=0, atol=3e-6)
    expected = torch.stack([by_loop(row, second) for row, second in zip(x, other, strict=True)])
    torch.testing.assert_close(both, expected, rtol=0, atol=3e-6)
    torch.testing.assert_close(own.norm(dim=1), torch.ones(2, dtype=torch.float64))


def test_where_things_lie_does_not_matter_and_scale_neither(generator: torch.Generator) -> None:
    x = torch.randn(2, 3, 6, 6, generator=generator, dtype=torch.float64)
    shuffled = x.flatten(2)[:, :, torch.randperm(36, generator=generator)].reshape(x.shape)
    layer = BilinearPool2d()
    torch.testing.assert_close(layer(shuffled), layer(x))
    torch.testing.assert_close(layer(5 * x), layer(x), rtol=0, atol=1e-5)


def test_gradients_are_right(generator: torch.Generator) -> None:
    x = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(BilinearPool2d(), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 2, 3], ids=["all empty", "two empty", "one empty"])
def test_gradients_of_empty_channels_are_finite(dtype: torch.dtype, channels: int) -> None:
    x = torch.ones(2, 3, 4, 4, dtype=dtype)
    x[:, : 4 - channels] = 0
    x.requires_grad_()
    y = BilinearPool2d()(x)
    y.square().sum().backward()
    y = BilinearPool2d()(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    if channels == 1:
        assert (y == 0).all()
