"""Masks, the weights that a pooling gave the elements of its windows; unpooling, which shares values out by them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vo3d.errors import Vo3dError
from vo3d.layers.adapool import formula, unpooling, windows
from vo3d.layers.adapool.arguments import Settings, check_word, expand_beta, per_axis
from vo3d.layers.adapool.transforms import transformed

Published = Tensor | tuple[Tensor, Tensor, Tensor | float]


class PoolMask(NamedTuple):
    """Weights of a pooling: one for each element of each window, with sum 1 in every window.

    Windows lie side by side: element (i, j) of window (p, q) is at row p * kernel[0] + i, column q * kernel[1] + j,
    also where windows overlap in the input. An input without batch axis has a mask with a batch of 1.

    Attributes:
        edscw: weights of the smooth average, of whatever similarity (B, C, *kernel * out), or (B, 1, ...) with
            similarity_over="channel"; None from a pooling that has none (EM).
        em: weights of the smooth maximum (B, C, *kernel * out); None from a pooling that has none (eDSCW, IDW).
        beta: share of the smooth average (*out); None from a pooling of one kind of weights.
        kernel: size of a window.
        stride: from window to window.
        padding: around the input.
        input_size: spatial size of the input.
    """

    edscw: Tensor | None
    em: Tensor | None
    beta: Tensor | None
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    input_size: tuple[int, ...]

    def fused(self) -> Tensor:
        """Blend the weights to those of the output (B, C or 1, *kernel * out): beta edscw + (1 - beta) em, or one."""
        edscw, em, beta, kernel, *_ = self
        if edscw is not None and em is not None and beta is not None:
            for axis, k in enumerate(kernel):
                beta = beta.repeat_interleave(k, dim=axis)  # *kernel * out
            exact = torch.promote_types(em.dtype, torch.float32)
            return torch.lerp(em.to(exact), edscw.to(exact), beta.to(exact)).to(em.dtype)
        (single,) = (weights for weights in (edscw, em) if weights is not None)
        return single


def pool_mask(x: Tensor, beta: Tensor | None, out: tuple[int, ...], how: Settings) -> PoolMask:
    """Make the mask of pooling x (B, C, *size) to windows (*out), beta (*out): constants, or differentiable in both."""
    if how.detach_mask:
        x, beta = x.detach(), None if beta is None else beta.detach()
    size = tuple(x.shape[2:])
    margin = windows.margins(size, how.kernel, how.stride, how.padding, out)
    elements, valid = windows.gather(x, how.kernel, how.stride, out, margin)  # n B C *out

    def laid_out(weights: Tensor) -> Tensor:
        weights = torch.nan_to_num(weights, nan=0.0) if how.nan_to_num else weights
        return windows.side_by_side(weights, how.kernel).to(x.dtype)

    edscw = em = None
    if how.similarity and how.over_channels and not elements.numel():  # vectors of no channels are all equal
        edscw = laid_out(formula.smooth_maximum(x.new_zeros((len(elements), len(x), 1, *out)), valid))
    elif how.similarity:
        channel_dims = (2,) if how.over_channels else None
        edscw = laid_out(formula.smooth_average(elements, how.similarity, channel_dims, valid))
    if beta is not None or not how.similarity:
        em = laid_out(formula.smooth_maximum(elements, valid))
    return PoolMask(edscw, em, beta, how.kernel, how.stride, how.padding, size)


def adaunpool(
    x: Tensor,
    mask: PoolMask | Published,
    interpolate: bool = True,
    *,
    normalise: str = "sum",
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Enlarge what was pooled: each value goes back to the elements of its window, in the shares of the mask's weights.

    out_i = y_p (b_p w_pi^eDSCW + (1 - b_p) w_pi^EM) for element i of window p; where windows overlap, their shares are
    summed. Gradients flow to x always, to weights and beta where they ask for one.

    Source: Stergiou, Poppe, "AdaPool", IEEE Transactions on Image Processing 32, 2023, AdaUnPool; two arguments are
    added. The published function blended single masks away (x m + x (1 - m) = x); here they act.

    Args:
        x: pooled values (B, C, *out), or (C, *out) of an input without batch.
        mask: what a pooling returned with return_mask=True; or weights with windows side by side, in the published form
            (edscw, em, beta) or as one tensor, each (B, C or 1, *kernel * out) or (B, *kernel * out).
        interpolate: False: x has the mask's size already, (B, C, *kernel * out), and is only multiplied by the weights.
        normalise: "sum" (published): the sum over a window is its value, so that a 2x2 window is four times darker;
            "mean": the mean over a window is its value, what images need.
        output_size: spatial size of the result, larger than what the windows cover by zeros at the far ends.

    Returns:
        (B, C, *size), in the dtype of x: the size of the pooling's input where the mask knows it, else the mask's size.

    Raises:
        Vo3dError: the mask does not fit x, `output_size` is too small, or `normalise` is unknown.
    """
    return unpool(x, mask, interpolate, normalise, output_size, None)


def unpool(
    x: Tensor,
    mask: PoolMask | Published,
    interpolate: bool,
    normalise: str,
    output_size: Sequence[int] | None,
    axes: int | None,
) -> Tensor:
    """Do as `adaunpool` over `axes` axes; None: as many as the mask says, or all after batch and channels."""
    check_word("adaunpool", "normalise", normalise, ("sum", "mean"))
    if isinstance(mask, PoolMask):
        parts: tuple[object, ...] = ()
    else:  # of a tuple, beta may be a number
        parts = mask[:2] if isinstance(mask, tuple) and len(mask) == 3 else (mask,)
    if not all(isinstance(part, Tensor) for part in (x, *parts)):
        raise Vo3dError(
            f"adaunpool: found values of type {type(x).__name__} and a mask of type {type(mask).__name__}: expected a "
            "tensor, and what a pooling returned with return_mask=True, three tensors (edscw, em, beta) or one"
        )
    given = len(mask.kernel) if isinstance(mask, PoolMask) else None
    axes = axes or given or x.ndim - 2
    if x.ndim not in (axes + 1, axes + 2) or given not in (None, axes):
        raise Vo3dError(
            f"adaunpool: the mask has {given or axes} spatial axes, which does not fit values of shape "
            f"{tuple(x.shape)}: expected (B, C, ...) or (C, ...) with {axes}"
        )
    values = x if x.ndim == axes + 2 else x.unsqueeze(0)
    known = mask if isinstance(mask, PoolMask) else _published(mask, x, axes, interpolate, normalise)
    edscw, em = (_fitted(weights, values, known.kernel, interpolate) for weights in (known.edscw, known.em))
    if interpolate:
        where = (list(known.kernel), list(known.stride), list(known.padding), list(known.input_size))
        lay = unpooling.spread if transformed() else unpooling.adaunpool
        out: Tensor = lay(values, edscw, em, known.beta, *where, normalise == "mean").to(values.dtype)
    else:
        out = (values * known._replace(edscw=edscw, em=em).fused()).to(values.dtype)
        if normalise == "mean":
            out = out * _elements_of_windows(known, out)
    if output_size is not None:
        out = _enlarged(out, per_axis("adaunpool", "output_size", output_size, axes, 0))
    return out if x.ndim == values.ndim else out.squeeze(0)


def _published(mask: Published, x: Tensor, axes: int, interpolate: bool, normalise: str) -> PoolMask:
    """Make a mask of tensors: what it leaves open follows from the sizes of values, weights and beta."""
    edscw, em, beta = mask if isinstance(mask, tuple) else (mask, None, None)
    edscw = _with_channels(edscw, x, axes)
    em = None if em is None else _with_channels(em, x, axes)
    size = tuple(edscw.shape[2:])
    if interpolate:
        out = tuple(x.shape[-axes:])
    elif isinstance(beta, Tensor) and beta.numel() > 1:
        out = tuple(beta.shape)
    elif normalise == "mean":
        raise Vo3dError(
            "adaunpool: normalise 'mean' needs the size of a window, which neither the values nor beta tell: "
            "give the mask that a pooling returned"
        )
    else:
        out = size
    if len(out) != axes or any(o < 1 or extent % o for extent, o in zip(size, out, strict=True)):
        raise Vo3dError(
            f"adaunpool: a mask of size {size} does not fit {out} windows: expected a whole multiple along each axis"
        )
    kernel = tuple(extent // o for extent, o in zip(size, out, strict=True))
    share = None if em is None else expand_beta("adaunpool", beta, x, out)
    return PoolMask(edscw, em, share, kernel, kernel, (0,) * axes, size)


def _with_channels(weights: Tensor, x: Tensor, axes: int) -> Tensor:
    """Give weights their batch and channel axes: the published ones have no channels."""
    if weights.ndim == axes + 1:
        return weights.unsqueeze(1 if x.ndim == axes + 2 else 0)
    if weights.ndim != axes + 2:
        raise Vo3dError(
            f"adaunpool: a mask of shape {tuple(weights.shape)} does not fit values of shape {tuple(x.shape)}: "
            f"expected batch, channels and {axes} spatial axes, windows side by side"
        )
    return weights


def _fitted(weights: Tensor | None, values: Tensor, kernel: Sequence[int], interpolate: bool) -> Tensor | None:
    """Give the weights the batch of the values; Vo3dError where they are of other values."""
    if weights is None:
        return None
    factors = kernel if interpolate else (1,) * len(kernel)
    size = tuple(o * k for o, k in zip(values.shape[2:], factors, strict=True))
    batch, channels = values.shape[:2]
    fits = weights.shape[0] in (1, batch) and weights.shape[1] in (1, channels) and weights.shape[2:] == size
    if not fits:
        raise Vo3dError(
            f"adaunpool: a mask of shape {tuple(weights.shape)} does not fit values of shape {tuple(values.shape)}: "
            f"expected {(batch, channels, *size)}, or 1 in place of batch or channels"
        )
    if weights.device != values.device:
        raise Vo3dError(
            f"adaunpool: the mask is on {weights.device} and the values on {values.device}: move one to the other"
        )
    return weights.expand(batch, *weights.shape[1:])


def _elements_of_windows(mask: PoolMask, like: Tensor) -> Tensor:
    """Count the elements in the window of each element (*kernel * out)."""
    out = [extent // k for extent, k in zip(like.shape[2:], mask.kernel, strict=True)]
    counts = unpooling.counts(like, out, mask.kernel, mask.stride, mask.padding, mask.input_size)
    for axis, k in enumerate(mask.kernel):
        counts = counts.repeat_interleave(k, dim=axis)
    return counts


def _enlarged(out: Tensor, size: tuple[int, ...]) -> Tensor:
    """Put zeros at the far ends up to `size`."""
    missing = [wanted - extent for wanted, extent in zip(size, out.shape[2:], strict=True)]
    if min(missing) < 0:
        raise Vo3dError(f"adaunpool: output_size {size} is smaller than what the windows cover, {tuple(out.shape[2:])}")
    pads = [pad for extent in reversed(missing) for pad in (0, extent)]
    return F.pad(out, pads) if any(missing) else out
