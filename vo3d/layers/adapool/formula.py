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

from vo3d.layers.adapool.windows import gather, inside, margins, output_size

SIMILARITIES = ("dsc", "cosine", "pce")
DISTANCES = ("l1", "l2", "linf", "huber")


def mean(windows: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of the valid elements (*rest); elements in the padding are 0 and add nothing."""
    small = 2.0 ** -len(windows).bit_length()  # a power of two rounds denormals alone, and keeps the sum below overflow
    return (windows * small).sum(0) / (small * (len(windows) if valid is None else valid.sum(0)))


def top(windows: Tensor, valid: Tensor | None) -> Tensor:
    """Largest of the valid elements (*rest)."""
    return (windows if valid is None else windows.masked_fill(~valid, -torch.inf)).amax(0)


def smooth_maximum(windows: Tensor, valid: Tensor | None) -> Tensor:
    """Weights of EM pooling (SoftPool), not yet normalised: exp(x - max x), so that the largest is 1 (n, *rest)."""
    below = windows - top(windows, valid)
    return torch.exp(below if valid is None else below.masked_fill(~valid, -torch.inf))


def smooth_average(
    windows: Tensor, similarity: str, channel_dims: Sequence[int] | None, valid: Tensor | None
) -> Tensor:
    """Weights of the smooth average, not yet normalised: exp(similarity to m), or least distance / distance.

    (n, *rest), of size 1 along `channel_dims`. Elements at no distance from the mean share all the weight.
    """
    m = mean(windows, valid)
    if similarity in SIMILARITIES:
        weights = torch.exp(similarities(windows, m, similarity, channel_dims))
    else:
        d = distances(windows, m, similarity, channel_dims)
        least = (d if valid is None else d.masked_fill(~valid, torch.inf)).amin(0)
        zero = d == 0
        weights = torch.where(zero, 1, least / torch.where(zero, 1, d))
    return weights if valid is None else weights.masked_fill(~valid, 0)


def similarities(windows: Tensor, m: Tensor, similarity: str, channel_dims: Sequence[int] | None) -> Tensor:
    """Similarity of each element to the mean, at most 1; 1 where both vanish."""
    if channel_dims is None:  # Dice-Sorensen 2|x m| / (x^2 + m^2), written so that nothing overflows or vanishes
        a, b = windows.abs(), m.abs()
        larger = torch.maximum(a, b)
        zero = larger == 0
        r = torch.where(zero, 1, torch.minimum(a, b) / torch.where(zero, 1, larger))
        return 2 * r / (1 + r * r)
    dims = tuple(channel_dims)
    largest = windows.detach().abs().amax((0, *dims), keepdim=True)  # all three are the same at every scale
    scale = torch.where(largest == 0, 1, largest)
    x, m = windows / scale, m.unsqueeze(0) / scale
    inner = (x * m).sum(dims, keepdim=True)
    xx, mm = (x * x).sum(dims, keepdim=True), (m * m).sum(dims, keepdim=True)
    if similarity == "dsc":
        above, below = 2 * inner.abs(), xx + mm
    elif similarity == "cosine":
        above, below = inner.sign() * inner**2, xx * mm  # squares: the root of 0 has no gradient
    else:
        above, below = inner**2, correlation_energy(x, m, dims)
    zero = below == 0
    ratio = torch.where(zero, (xx + mm == 0).to(x.dtype), above / torch.where(zero, 1, below))
    if similarity != "cosine":
        return ratio
    zero = ratio == 0
    return torch.where(zero, 0, ratio.sign() * torch.where(zero, 1, ratio.abs()).sqrt())


def correlation_energy(x: Tensor, m: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Sum of squares of the circular correlation of x and m along the channels, by Parseval's theorem."""
    (axis,) = [d for d in dims if x.shape[d] > 1] or dims[:1]
    a, b = torch.fft.fft(x, dim=axis), torch.fft.fft(m, dim=axis)
    energy: Tensor = (a.real**2 + a.imag**2) * (b.real**2 + b.imag**2)
    return energy.mean(axis, keepdim=True)


def distances(windows: Tensor, m: Tensor, similarity: str, channel_dims: Sequence[int] | None) -> Tensor:
    """Distance of each element from the mean; over channels the sum of |.|, Euclid's, the largest, or summed Huber's.

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
        scale = torch.where(largest == 0, 1, largest)
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
    """Pooled values (*rest): the smooth average of `similarity`, EM where that is "", and their blend with a beta.

    y = beta y_smooth + (1 - beta) y_em, y = sum_i w_i x_i. Differentiating it gives the exact gradient, or with `exact`
    False the published one, which takes the weights as constants.
    """
    from_windows = windows if exact else windows.detach()
    parts = []
    if similarity:
        parts.append(smooth_average(from_windows, similarity, channel_dims, valid))
    if not similarity or beta is not None:
        parts.append(smooth_maximum(from_windows, valid))
    values = [(weights / weights.sum(0) * windows).sum(0) for weights in parts]  # in this order nothing overflows
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
    margin = margins(size, kernel, stride, padding, out)
    wide = torch.promote_types(x.dtype, torch.float32)
    valid = inside(size, kernel, stride, out, margin, x.device)
    if valid is not None:
        valid = valid[:, None, None]  # n 1 1 *out
    windows = gather(x.to(wide), kernel, stride, out, margin)  # n B C *out
    blend, channel_dims = None if beta is None else beta.to(wide), (2,) if over_channels else None
    if nan_to_num:  # windows without a result count as zeros, which are constants
        spoilt = pool_windows(windows.detach(), blend, similarity, channel_dims, valid).isnan()
        windows = windows.masked_fill(spoilt, 0)
    return pool_windows(windows, blend, similarity, channel_dims, valid, exact).to(x.dtype)
