"""torch's batch normalisation against the equations of Ioffe and Szegedy, "Batch Normalization", ICML 2015."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

Norm = Callable[..., nn.BatchNorm2d | nn.BatchNorm3d]
CASES = [(nn.BatchNorm2d, (4, 3, 5, 6)), (nn.BatchNorm3d, (2, 3, 4, 3, 5)), (nn.BatchNorm2d, (1, 2, 2, 1))]
every_case = pytest.mark.parametrize(("norm", "shape"), CASES, ids=["2d", "3d", "two values"])


def rows_of(x: Tensor) -> Tensor:
    """One row for each channel, with all its values of the batch: m of them."""
    return x.transpose(0, 1).flatten(1)


def forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Algorithm 1: the four steps, for x with a row for each channel."""
    m = x.shape[1]
    mean = x.sum(1, keepdim=True) / m
    variance = ((x - mean) ** 2).sum(1, keepdim=True) / m
    normalised = (x - mean) / torch.sqrt(variance + eps)
    y = gamma[:, None] * normalised + beta[:, None]
    return mean, variance, normalised, y


def backward(dy: Tensor, x: Tensor, gamma: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """The chain rule of section 3, line by line: gradients of x, gamma, beta."""
    m = x.shape[1]
    mean, variance, normalised, _ = forward(x, gamma, torch.zeros_like(gamma), eps)
    d_normalised = dy * gamma[:, None]
    d_variance = (d_normalised * (x - mean) * -0.5 * (variance + eps) ** -1.5).sum(1, keepdim=True)
    d_mean = (d_normalised * -((variance + eps) ** -0.5)).sum(1, keepdim=True)
    d_mean = d_mean + d_variance * (-2 * (x - mean)).sum(1, keepdim=True) / m
    dx = d_normalised * (variance + eps) ** -0.5 + d_variance * 2 * (x - mean) / m + d_mean / m
    return dx, (dy * normalised).sum(1), dy.sum(1)


@every_case
def test_training_equals_the_equations(norm: Norm, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = norm(shape[1], eps=1e-3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(shape[1], generator=generator))
        layer.bias.copy_(torch.randn(shape[1], generator=generator))
    x = 2 + 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    dy = torch.randn(*shape, generator=generator, dtype=torch.float64)
    x.requires_grad_()

    y = layer(x)
    y.backward(dy)

    with torch.no_grad():
        expected = forward(rows_of(x), layer.weight, layer.bias, layer.eps)[-1]
        dx, dgamma, dbeta = backward(rows_of(dy), rows_of(x), layer.weight, layer.eps)
    torch.testing.assert_close(rows_of(y.detach()), expected, rtol=1e-12, atol=1e-12)
    assert x.grad is not None
    torch.testing.assert_close(rows_of(x.grad), dx, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(layer.weight.grad, dgamma, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.bias.grad, dbeta, rtol=1e-12, atol=1e-12)


@every_case
def test_evaluation_uses_the_statistics_of_training(norm: Norm, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    layer = norm(shape[1], eps=1e-3, momentum=0.3).double()
    mean, variance = torch.zeros(shape[1]).double(), torch.ones(shape[1]).double()
    for _ in range(3):
        x = 2 + 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)
        layer(x)
        rows = rows_of(x)
        m = rows.shape[1]
        batch_mean, batch_variance, *_ = forward(rows, layer.weight.detach(), layer.bias.detach(), layer.eps)
        mean = 0.7 * mean + 0.3 * batch_mean[:, 0]
        variance = 0.7 * variance + 0.3 * batch_variance[:, 0] * m / (m - 1)  # unbiased, as algorithm 2 has it
    torch.testing.assert_close(layer.running_mean, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_var, variance, rtol=1e-12, atol=1e-12)
    assert layer.num_batches_tracked is not None
    assert layer.num_batches_tracked.item() == 3

    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        y = layer.eval()(x)
        scale = layer.weight / torch.sqrt(variance + layer.eps)  # algorithm 2, line 11
        expected = scale[:, None] * rows_of(x) + (layer.bias - scale * mean)[:, None]
    torch.testing.assert_close(rows_of(y), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_mean, mean, rtol=1e-12, atol=1e-12)
