"""Where the windows of a pooling lie: how many there are, their elements gathered window by window, and put back.

A gathered tensor has the n elements of a window first, (n, *rest): each operation on windows is then elementwise, or a
reduction of n contiguous planes.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor
from torch.nn import functional as F

Place = tuple[EllipsisType | slice, ...]  # index of a tensor


def output_size(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil_mode: bool
) -> tuple[int, ...]:
    """Count the windows along each axis; below 1 where the kernel is larger than the padded input.

    With `ceil_mode` a last window may reach beyond the end, if it starts in the input or the padding before it: the
    rule of torch's own pooling.
    """
    out = []
    for extent, k, s, p in zip(size, kernel, stride, padding, strict=True):
        room = extent + 2 * p - k
        # not `min`, which would tie an exported program to some sizes
        last = torch.sym_min(-(-room // s), (extent + p - 1) // s) if ceil_mode else room // s  # type: ignore[no-untyped-call]
        out.append(last + 1)
    return tuple(out)


def margins(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], out: Sequence[int]
) -> list[tuple[int, int]]:
    """Count the elements that the windows need before and after the input, along each axis."""
    axes = zip(size, kernel, stride, padding, out, strict=True)
    return [(p, max(0, (o - 1) * s + k - p - extent)) for extent, k, s, p, o in axes]


def elements(kernel: Sequence[int], stride: Sequence[int], out: Sequence[int], trailing: int) -> Iterator[Place]:
    """Give for each of the n elements of a window the index of that element in every window of a padded tensor.

    `trailing` is the number of axes after the spatial ones.
    """
    for offset in product(*map(range, kernel)):
        spatial = (slice(i, i + s * (o - 1) + 1, s) for i, s, o in zip(offset, stride, out, strict=True))
        yield (..., *spatial, *(slice(None),) * trailing)


def gather(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    out: Sequence[int],
    margin: Sequence[tuple[int, int]],
    trailing: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """Gather the windows of x (b, c, *size, ...), with `trailing` axes after the spatial ones.

    Returns:
        The windows (n, b, c, *out, ...), in float32 at least, 0 outside of x; and whether each of their elements lies
        in x, bool (n, 1, 1, *out, ...), 1 along the trailing axes too, or None where all do.
    """
    places = list(elements(kernel, stride, out, trailing))
    padded = enlarge(x.to(torch.promote_types(x.dtype, torch.float32)), margin, trailing)
    windows = torch.stack([padded[place] for place in places])
    if not any(map(any, margin)):
        return windows, None
    ones = (1,) * trailing
    there = torch.ones((1, 1, *x.shape[2 : x.ndim - trailing], *ones), dtype=torch.bool, device=x.device)
    return windows, torch.stack([enlarge(there, margin, trailing)[place] for place in places])


def enlarge(x: Tensor, margin: Sequence[tuple[int, int]], trailing: int = 0) -> Tensor:
    """Put zeros around the spatial axes of `x`; gives `x` itself where nothing is to be added."""
    if not any(map(any, margin)):
        return x
    return F.pad(x, [0] * (2 * trailing) + [amount for pair in reversed(margin) for amount in pair])


def side_by_side(windows: Tensor, kernel: Sequence[int]) -> Tensor:
    """Lay windows (n, B, C, *out) out as (B, C, *kernel * out): element i of window p at p * kernel + i."""
    axes = len(kernel)
    _, batch, channels, *out = windows.shape
    tiles = windows.reshape(*kernel, batch, channels, *out)
    order = [axes, axes + 1, *(place for axis in range(axes) for place in (axes + 2 + axis, axis))]
    sizes = [k * o for k, o in zip(kernel, out, strict=True)]
    return tiles.permute(order).reshape(batch, channels, *sizes)


def channels_last(x: Tensor) -> bool:
    """Tell whether the channels of x (b, c, *size) lie side by side in memory, and its columns do not."""
    return x.shape[1] > 1 and x.stride(1) == 1 and not (x.shape[-1] > 1 and x.stride(-1) == 1)


def like(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Make an empty tensor of `shape` (b, c, *size), channels last where x (b, c, *size) has them, else contiguous."""
    batch, channels, *size = shape
    return x.new_empty((batch, *size, channels)).movedim(-1, 1) if channels_last(x) else x.new_empty(tuple(shape))
