"""Launchers of the Triton kernels: what the operators run on GPUs. Imported only when needed, for Triton is optional.

The mathematics is that of formula.py with similarity by element. Half precision is computed in float32. There are no
atomics: equal calls give equal bits.
"""

from collections.abc import Sequence
from math import gcd, prod
from typing import Any

import torch
from torch import Tensor

from vo3d.layers.adapool.kernels_pool import pool_backward, pool_forward, pool_gather
from vo3d.layers.adapool.kernels_unpool import unpool_backward, unpool_forward
from vo3d.layers.adapool.tiling import Launch, Windows, plan
from vo3d.layers.adapool.windows import like


def adapool_forward(
    x: Tensor,
    beta: Tensor | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    out_size: Sequence[int],
    similarity: str,
    nan_to_num: bool,
) -> Tensor:
    """Compute the pooled values (b, c, *out_size) of x, in its dtype, channels last where x has them there.

    Args:
        x: (b, c, *size), 1 to 3 axes, any strides.
        beta: (*out_size), any strides, to blend the smooth average with EM; None: one of both alone.
        kernel: size of a window; like all that follow, one number for each axis.
        stride: from window to window.
        padding: in front of the first element.
        out_size: number of windows.
        similarity: "dsc", "l1", "l2", "linf", "huber"; "": EM alone.
        nan_to_num: write 0 instead of NaN.
    """
    y = like(x, (*x.shape[:2], *out_size))
    if y.numel() == 0:
        return y
    windows = _windows(kernel, stride, padding, x.shape[2:], out_size)
    launch = plan(windows, (x, y), similarity, blend=beta is not None, nan_to_num=nan_to_num)
    beta_strides = _beta_strides(beta, launch.tile.channels_last)
    _run(
        pool_forward, launch.programs,
        x, y, beta, *launch.strides, beta_strides, windows.size, launch.sizes, *launch.counts, launch.tile
    )  # fmt: skip
    return y


def adapool_backward(
    dy: Tensor,
    x: Tensor,
    beta: Tensor | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    similarity: str,
    exact: bool,
    nan_to_num: bool,
) -> tuple[Tensor, Tensor | None]:
    """Compute the gradients to x and to beta (None without one), of dy (b, c, *out); the rest as in `adapool_forward`.

    With `exact` the derivative of the pooled value; otherwise its weights count as constants.
    """
    dx = like(x, x.shape)
    if dy.numel() == 0:
        return dx.zero_(), None if beta is None else torch.zeros_like(beta)
    windows = _windows(kernel, stride, padding, x.shape[2:], dy.shape[2:])
    wide = torch.promote_types(x.dtype, torch.float32)
    launch = plan(windows, (x, dy, dx), similarity, blend=beta is not None, nan_to_num=nan_to_num, exact=exact)
    tile, (lanes, _, _, blocks, _) = launch.tile, launch.counts
    records = None
    if windows.overlap:
        records = x.new_empty((max(tile.slots) + 1, dy.numel()), dtype=wide)
    else:
        _clear_uncovered(dx, windows)
    of_positions = blocks * tile.vectors * tile.lanes
    sums = None if beta is None else x.new_empty((launch.programs // blocks, of_positions), dtype=wide)
    x_strides, dy_strides, dx_strides = launch.strides
    _run(
        pool_backward, launch.programs,
        x, dy, beta, dx, records, sums, x_strides, dy_strides, _beta_strides(beta, tile.channels_last), dx_strides,
        windows.size, launch.sizes, *launch.counts, dy.numel(), tile
    )  # fmt: skip
    if records is not None:
        _gather(x, dx, records, windows, similarity, blend=beta is not None, nan_to_num=nan_to_num, exact=exact)
    if beta is None or sums is None:
        return dx, None
    *positions, row = launch.sizes
    sums = sums.sum(0)[: prod(launch.sizes) * tile.lanes].view(prod(positions), row * tile.lanes)[:, :lanes]
    return dx, (sums.sum(1) if tile.channels_last else sums).reshape(beta.shape).to(beta.dtype)


def adaunpool_forward(
    y: Tensor,
    smooth: Tensor | None,
    em: Tensor | None,
    beta: Tensor | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    extent: Sequence[int],
    mean: bool,
) -> Tensor:
    """Lay each value of y (b, c, *out) over its window by the weights, in y's dtype: (b, c, *extent), contiguous.

    Args:
        y: any strides, 1 to 3 axes.
        smooth: weights of the smooth average (b, c or 1, *kernel * out), windows side by side, or None.
        em: those of EM, or None.
        beta: (*out), given where both weights are.
        kernel: size of a window; like all that follow, one number for each axis.
        stride: from window to window.
        padding: in front of the first element.
        extent: size of the result.
        mean: multiply by the number of elements that the window has inside the extent.
    """
    out = y.new_empty((*y.shape[:2], *extent))
    if y.numel() == 0 or out.numel() == 0:
        return out.zero_()
    windows = _windows(kernel, stride, padding, extent, y.shape[2:])
    launch = _plan_unpooling(windows, (out, y), smooth, em, over_inputs=True)
    _run(
        unpool_forward, launch.programs,
        y, smooth, em, beta, out, *launch.strides, _beta_strides(beta, False), windows.size, launch.sizes, windows.out,
        *launch.counts[:4], mean, launch.tile
    )  # fmt: skip
    return out


def adaunpool_backward(
    dout: Tensor,
    smooth: Tensor | None,
    em: Tensor | None,
    beta: Tensor | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    out_size: Sequence[int],
    mean: bool,
) -> Tensor:
    """Differentiate `adaunpool_forward`: to y (b, c, *out_size), of the gradient to its result (b, c, *extent)."""
    dy = dout.new_empty((*dout.shape[:2], *out_size))
    if dout.numel() == 0 or dy.numel() == 0:
        return dy.zero_()
    windows = _windows(kernel, stride, padding, dout.shape[2:], out_size)
    launch = _plan_unpooling(windows, (dout, dy), smooth, em)
    tile = launch.tile
    beside = tile._replace(stride=tile.kernel, padding=(0, 0, 0), overhang=False, align=(gcd(*tile.align[2:]),))
    _run(
        unpool_backward, launch.programs,
        dout, smooth, em, beta, dy, *launch.strides, _beta_strides(beta, False), windows.size, launch.sizes,
        *launch.counts, mean, beside, tile
    )  # fmt: skip
    return dy


def _gather(x: Tensor, dx: Tensor, records: Tensor, windows: Windows, similarity: str, **options: bool) -> None:
    """Write dx where windows overlap."""
    launch = plan(windows, (x, dx), similarity, **options, over_inputs=True)
    _run(
        pool_gather, launch.programs,
        x, dx, records, *launch.strides, launch.sizes, windows.out, *launch.counts[:4], records.shape[1], launch.tile
    )  # fmt: skip


def _run(kernel: Any, programs: int, *arguments: Any) -> None:
    """Start a kernel where its first argument lies: Triton starts on the current device, whichever that is."""
    with torch.cuda.device(arguments[0].get_device()):  # -1 on the CPU, which changes nothing
        kernel[(programs,)](*arguments)


def _windows(
    kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], size: Sequence[int], out: Sequence[int]
) -> Windows:
    ones = (1,) * (3 - len(kernel))
    zeros = (0,) * len(ones)
    return Windows((*ones, *kernel), (*ones, *stride), (*zeros, *padding), (*ones, *size), (*ones, *out))


def _beta_strides(beta: Tensor | None, last: bool) -> tuple[int, ...]:
    """Give the strides of beta over positions d, h, r, lane."""
    strides = () if beta is None else beta.stride()
    d, h, w = (*(0,) * (3 - len(strides)), *strides)
    return (d, h, w, 0) if last else (d, h, 0, w)


def _clear_uncovered(dx: Tensor, windows: Windows) -> None:
    """Zero what lies in no window, where windows do not overlap."""
    if windows.gaps:
        dx.zero_()
        return
    for axis in range(2, dx.ndim):
        end, size = windows.ends[axis - dx.ndim], dx.shape[axis]
        if end < size:
            dx.narrow(axis, end, size - end).zero_()


def _plan_unpooling(
    windows: Windows, ends: tuple[Tensor, Tensor], smooth: Tensor | None, em: Tensor | None, over_inputs: bool = False
) -> Launch:
    """Lay programs over the windows or over what they cover, between `ends` of these sizes and for all their channels.

    Of a kind of weights that is not there nothing is read, and the other stands in for it. Of the similarity unpooling
    only asks whether there is one.
    """
    known = [weights for weights in (smooth, em) if weights is not None]
    both = [weights.expand(*ends[0].shape[:2], *weights.shape[2:]) for weights in (known[0], known[-1])]
    similarity = "" if smooth is None else "dsc"
    return plan(windows, (*ends, *both), similarity, blend=len(known) == 2, over_inputs=over_inputs, by_columns=True)
