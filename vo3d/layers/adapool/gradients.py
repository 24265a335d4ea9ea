"""Gradients of formula.py by hand, window by window, so that the backward pass needs to keep nothing but the input.

Symbols: w_i the weights of a window, with sum 1; y = sum w_i x_i; m its mean; g the gradient that reaches y. With the
weights as constants dx_i = w_i g, the published gradient. The exact one adds what reaches x through the weights: by the
softmax of scores s_i, dL/ds_i = g w_i (x_i - y), for EM with s_i = x_i itself; by inverse distances,
dL/dd_i = -g w_i (x_i - y) / d_i.

Source: Stergiou, Poppe, "AdaPool", IEEE Transactions on Image Processing 32, 2023 (constant weights); derivatives here.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from vo3d.layers.adapool import formula


def pool_windows_backward(
    dy: Tensor,
    windows: Tensor,
    beta: Tensor | None,
    similarity: str,
    channel_dims: Sequence[int] | None,
    valid: Tensor | None,
    exact: bool,
) -> tuple[Tensor, Tensor | None]:
    """Differentiate `formula.pool_windows`, given dy (*rest): to windows (n, *rest), and to beta (*rest) or None.

    The gradient to beta is dy (y_smooth - y_em) for each pooled value, still to be summed over those that share a beta.
    """
    to_windows, values = [], []
    if similarity:
        g = dy if beta is None else dy * beta
        weights = formula.smooth_average(windows, similarity, channel_dims, valid)
        to_windows.append(weights * g)
        if exact:
            m = formula.mean(windows, valid)
            spread, y = _spread(windows, weights, m)
            pull = weights * _over(g * spread, channel_dims)
            to_windows.append(_through_similarity(pull, windows, m, similarity, channel_dims, valid))
        else:
            y = (weights * windows).sum(0)
        values.append(y)
    if not similarity or beta is not None:
        g = dy if beta is None else dy * (1 - beta)
        weights = formula.smooth_maximum(windows, valid)
        if exact:
            spread, y = _spread(windows, weights, formula.top(windows, valid))
            to_windows.append(weights * g * (1 + spread))
        else:
            y = (weights * windows).sum(0)
            to_windows.append(weights * g)
        values.append(y)
    return functools.reduce(Tensor.add, to_windows), dy * (values[0] - values[1]) if len(values) == 2 else None


def _spread(windows: Tensor, weights: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Compute x_i - y (n, *rest) and y (*rest), by way of a centre among the values.

    Windows of large and nearly equal numbers then lose nothing.
    """
    centred = windows - centre
    offset = (weights * centred).sum(0)
    return centred - offset, centre + offset


def _over(x: Tensor, dims: Sequence[int] | None) -> Tensor:
    return x if dims is None else x.sum(tuple(dims), keepdim=True)


def _through_similarity(
    pull: Tensor, windows: Tensor, m: Tensor, similarity: str, channel_dims: Sequence[int] | None, valid: Tensor | None
) -> Tensor:
    """Add what reaches x through the scores: by x itself, and by the mean m, of which each valid element is one nth."""
    if similarity in formula.DISTANCES:
        d = formula.distances(windows, m, similarity, channel_dims)
        pull = torch.where(d == 0, 0, -pull / formula.nonzero(d))  # singular at 0: the weights count as constants
        by_x = _distance_slopes(windows - m, d, similarity, channel_dims) * pull
        by_m = -by_x
    elif channel_dims is None:
        by_x, by_m = _scalar_dice(pull, windows, m)
    else:
        by_x, by_m = _vector_similarity(pull, windows, m, similarity, tuple(channel_dims))
    if valid is None:
        return by_x + by_m.sum(0) / len(windows)
    by_m = by_m.masked_fill(~valid, 0)
    return (by_x + by_m.sum(0) / valid.sum(0)).masked_fill(~valid, 0)


def _distance_slopes(t: Tensor, d: Tensor, similarity: str, channel_dims: Sequence[int] | None) -> Tensor:
    """Differentiate the distance of x = m + t from m by x."""
    if similarity == "huber":
        return t / torch.hypot(t, torch.ones_like(t))
    if channel_dims is None or similarity == "l1":
        return t.sign()
    if similarity == "l2":
        return t / formula.nonzero(d)
    farthest = t.abs() == d
    return t.sign() * farthest / farthest.sum(tuple(channel_dims), keepdim=True)


def _scalar_dice(pull: Tensor, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiate s = 2|x m| / (x^2 + m^2), scaled by the larger of |x|, |m|: free of overflow like the formula."""
    larger = torch.maximum(x.abs(), m.abs())
    safe = formula.nonzero(larger)
    side = x.sign() * m.sign()
    x, m = x / safe, m / safe
    below = (x * x + m * m).clamp_min(1)  # at least 1 anyway, except where both vanish
    slope = side * (m * m - x * x) / (below * below) * (2 * pull / safe)
    return slope * m, -slope * x


def _vector_similarity(
    pull: Tensor, x: Tensor, m: Tensor, similarity: str, dims: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Differentiate the similarity of vectors over the channels, scaled as in the formula."""
    largest = x.abs().amax((0, *dims), keepdim=True)
    scale = formula.nonzero(largest)
    x, m = x / scale, m.unsqueeze(0) / scale
    inner, xx, mm = (_over(a * b, dims) for a, b in ((x, m), (x, x), (m, m)))
    if similarity == "dsc":
        below = xx + mm
        s = 2 * inner.abs() / formula.nonzero(below)
        by_x, by_m = 2 * (inner.sign() * m - s * x), 2 * (inner.sign() * x - s * m)
    elif similarity == "cosine":
        below = (xx * mm).sqrt()
        s = inner / formula.nonzero(below)
        by_x, by_m = m - s * x * (below / formula.nonzero(xx)), x - s * m * (below / formula.nonzero(mm))
    else:
        below = formula.correlation_energy(x, m, dims)
        s = inner**2 / formula.nonzero(below)
        by_x = 2 * inner * m - s * _energy_slope(x, m, dims)
        by_m = 2 * inner * x - s * _energy_slope(m, x, dims)
    pull = torch.where(below == 0, 0, pull / formula.nonzero(below)) / scale
    return pull * by_x, pull * by_m


def _energy_slope(x: Tensor, m: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Differentiate `formula.correlation_energy` by its first vector."""
    (axis,) = [d for d in dims if x.shape[d] > 1] or dims[:1]
    a, b = torch.fft.fft(x, dim=axis), torch.fft.fft(m, dim=axis)
    slope: Tensor = 2 * torch.fft.ifft(a * (b.real**2 + b.imag**2), dim=axis).real
    return slope
