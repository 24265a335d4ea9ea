"""The mathematics of the AdaPool family on gathered windows, in plain differentiable torch: twin of the faster code.

Every function takes `windows` (n, *rest), the n elements of each window first, and `valid`, a bool tensor that
broadcasts to it, False for elements that lie in the padding, or None where all are inside. m is the mean of a window.
With `channel_dims`, dimensions of `windows`, elements are compared as vectors over these; without, number by number.

Source: Stergiou, Poppe, "AdaPool: Exponential Adaptive Pooling for Information-Retaining Downsampling", IEEE
Transactions on Image Processing 32, 2023; Stergiou, Poppe, Kalliatakis, "Refining activation downsampling with
SoftPool", ICCV 2021.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vo3d.layers.adapool.windows import gather, margins, output_size

SIMILARITIES = ("dsc", "cosine", "pce")
DISTANCES = ("l1", "l2", "linf", "huber")


def mean(windows: Tensor, valid: Tensor | None) -> Tensor:
    """Compute the mean of the valid elements (*rest); elements in the padding are 0 and add nothing."""
    small = 2.0 ** -len(windows).bit_length()  # a power of two rounds denormals alone, and keeps the sum below overflow
    return (windows * small).sum(0) / (small * (len(windows) if valid is None else valid.sum(0)))


def top(windows: Tensor, valid: Tensor | None) -> Tensor:
    """Find the largest of the valid elements (*rest)."""
    return (windows if valid is None else windows.masked_fill(~valid, -torch.inf)).amax(0)


def smooth_maximum(windows: Tensor, valid: Tensor | None) -> Tensor:
    """Compute the weights of EM pooling (SoftPool) (n, *rest), of sum 1: exp(x), counted from the largest x."""
    below = windows - top(windows, valid)
    weights = torch.exp(below if valid is None else below.masked_fill(~valid, -torch.inf))
    return weights / weights.sum(0)


def smooth_average(
    windows: Tensor, similarity: str, channel_dims: Sequence[int] | None, valid: Tensor | None
) -> Tensor:
    """Compute the weights of the smooth average, of sum 1: as exp(similarity to m), or as least distance / distance.

    (n, *rest), of size 1 along `channel_dims`. Elements at no distance from the mean share all the weight.
    """
    m = mean(windows, valid)
    if similarity in SIMILARITIES:
        weights = torch.exp(similarities(windows, m, similarity, channel_dims))
    else:
        d = distances(windows, m, similarity, channel_dims)
        least = (d if valid is None else d.masked_fill(~valid, torch.inf)).amin(0)
        weights = torch.where(d == 0, 1, least / nonzero(d))
    weights = weights if valid is None else weights.masked_fill(~valid, 0)
    return weights / weights.sum(0)


def similarities(windows: Tensor, m: Tensor, similarity: str, channel_dims: Sequence[int] | None) -> Tensor:
    """Compute the similarity of each element to the mean, at most 1; 1 where both vanish."""
    if channel_dims is None:  # Dice-Sorensen 2|x m| / (x^2 + m^2), written so that nothing overflows or vanishes
        a, b = windows.abs(), m.abs()
        larger = torch.maximum(a, b)
        r = torch.where(larger == 0, 1, torch.minimum(a, b) / nonzero(larger))
        return 2 * r / (1 + r * r)
    dims = tuple(channel_dims)
    largest = windows.detach().abs().amax((0, *dims), keepdim=True)  # all three are the same at every scale
    scale = nonzero(largest)
    x, m = windows / scale, m.unsqueeze(0) / scale
    inner, xx, mm = ((a * b).sum(dims, keepdim=True) for a, b in ((x, m), (x, x), (m, m)))
    if similarity == "dsc":
        above, below = 2 * inner.abs(), xx + mm
    elif similarity == "cosine":
        above, below = inner.sign() * inner**2, xx * mm  # squares: the root of 0 has no gradient
    else:
        above, below = inner**2, correlation_energy(x, m, dims)
    ratio = torch.where(below == 0, (xx + mm == 0).to(x.dtype), above / nonzero(below))
    if similarity != "cosine":
        return ratio
    return torch.where(ratio == 0, 0, ratio.sign() * nonzero(ratio.abs()).sqrt())


def nonzero(x: Tensor) -> Tensor:
    """Put 1 in place of 0, to divide by, or to take a root whose gradient is finite."""
    return torch.where(x == 0, 1, x)


def correlation_energy(x: Tensor, m: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Sum the squares of the circular correlation of x and m along the channels, by Parseval's theorem."""
    (axis,) = [d for d in dims if x.shape[d] > 1] or dims[:1]
    a, b = torch.fft.fft(x, dim=axis), torch.fft.fft(m, dim=axis)
    energy: Tensor = (a.real**2 + a.imag**2) * (b.real**2 + b.imag**2)
    return energy.mean(axis, keepdim=True)


def distances(windows: Tensor, m: Tensor, similarity: str, channel_dims: Sequence[int] | None) -> Tensor:
    """Measure elements' distances from the mean; over channels the sum of |.|, Euclid's, the largest, or Huber's sum.

    "huber" is the pseudo-Huber distance sqrt(1 + t^2) - 1 of t = x - m, quadratic below 1 and linear beyond.
    """
    t = windows - m
    if similarity == "huber":
        t = t * (t / (torch.hypot(t, torch.ones_like(t)) + 1))
    elif channel_dims is None or similarity != "l2":
        t = t.abs()
    if channel_dims is None:
        return t
    dims = tuple(channel_dims)
    if similarity == "l2":
        largest = t.detach().abs().amax(dims, keepdim=True)  # squares of its shares neither overflow nor vanish
        scale = nonzero(largest)
        length: Tensor = torch.linalg.vector_norm(t / scale, dim=dims, keepdim=True)
        return length * scale
    return t.amax(dims, keepdim=True) if similarity == "linf" else t.sum(dims, keepdim=True)


def pool_windows(
    windows: Tensor,
    beta: Tensor | None,
    similarity: str,
    channel_dims: Sequence[int] | None = None,
    valid: Tensor | None = None,
    exact: bool = True,
) -> Tensor:
    """Pool windows to (*rest): the smooth average of `similarity`, EM where that is "", and their blend with a beta.

    y = beta y_smooth + (1 - beta) y_em, y = sum_i w_i x_i. Differentiating it gives the exact gradient, or with `exact`
    False the published one, which takes the weights as constants.
    """
    from_windows = windows if exact else windows.detach()
    parts = []
    if similarity:
        parts.append(smooth_average(from_windows, similarity, channel_dims, valid))
    if not similarity or beta is not None:
        parts.append(smooth_maximum(from_windows, valid))
    values = [(weights * windows).sum(0) for weights in parts]  # of normalised weights: nothing overflows
    return values[0] if len(values) == 1 or beta is None else beta * values[0] + (1 - beta) * values[1]


def twin(
    x: Tensor,
    beta: Tensor | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    similarity: str,
    over_channels: bool,
    exact: bool,
    nan_to_num: bool = False,
) -> Tensor:
    """Pool x (B, C, *size) to (B, C, *out) by the formulas as they stand, in float32 at least; beta (*out) or None."""
    size = x.shape[2:]
    out = output_size(size, kernel, stride, padding, ceil_mode)
    windows, valid = gather(x, kernel, stride, out, margins(size, kernel, stride, padding, out))  # n B C *out
    blend, channel_dims = None if beta is None else beta.to(windows.dtype), (2,) if over_channels else None
    if nan_to_num:  # windows without a result count as zeros, which are constants
        spoilt = pool_windows(windows.detach(), blend, similarity, channel_dims, valid).isnan()
        windows = windows.masked_fill(spoilt, 0)
    return pool_windows(windows, blend, similarity, channel_dims, valid, exact).to(x.dtype)
