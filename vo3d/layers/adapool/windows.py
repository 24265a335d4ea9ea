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
    """Number of windows along each axis; below 1 where the kernel is larger than the padded input.

    With `ceil_mode` a last window may reach beyond the end, if it starts in the input or the padding before it: the
    rule of torch's own pooling.
    """
    out = []
    for extent, k, s, p in zip(size, kernel, stride, padding, strict=True):
        room = extent + 2 * p - k
        last = room // s
        if ceil_mode:  # not `min`, which would tie an exported program to some sizes
            last = torch.sym_min(-(-room // s), (extent + p - 1) // s)  # type: ignore[no-untyped-call]
        out.append(last + 1)
    return tuple(out)


def margins(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], out: Sequence[int]
) -> list[tuple[int, int]]:
    """Elements that the windows need before and after the input, along each axis."""
    axes = zip(size, kernel, stride, padding, out, strict=True)
    return [(p, max(0, (o - 1) * s + k - p - extent)) for extent, k, s, p, o in axes]


def elements(kernel: Sequence[int], stride: Sequence[int], out: Sequence[int], trailing: int) -> Iterator[Place]:
    """For each of the n elements of a window, the index of that element in every window of a padded tensor.

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
) -> Tensor:
    """Windows (n, ..., *out, ...) of x (..., *size, ...), 0 outside; `trailing` axes after the spatial."""
    return torch.stack([enlarge(x, margin, trailing)[at] for at in elements(kernel, stride, out, trailing)])


def enlarge(x: Tensor, margin: Sequence[tuple[int, int]], trailing: int = 0) -> Tensor:
    """`x` with zeros around its spatial axes; `x` itself where nothing is to be added."""
    if not any(map(any, margin)):
        return x
    return F.pad(x, [0] * (2 * trailing) + [amount for pair in reversed(margin) for amount in pair])


def inside(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    out: Sequence[int],
    margin: Sequence[tuple[int, int]],
    device: torch.device,
) -> Tensor | None:
    """Tell whether each element of each window lies in the input (n, *out), bool; None where all do."""
    if not any(map(any, margin)):
        return None
    return gather(torch.ones(tuple(size), dtype=torch.bool, device=device), kernel, stride, out, margin)


def side_by_side(windows: Tensor, kernel: Sequence[int]) -> Tensor:
    """Windows (n, B, C, *out) laid out as (B, C, *kernel * out): element i of window p at p * kernel + i."""
    axes = len(kernel)
    _, batch, channels, *out = windows.shape
    tiles = windows.reshape(*kernel, batch, channels, *out)
    order = [axes, axes + 1]
    for axis in range(axes):
        order += [axes + 2 + axis, axis]
    sizes = [k * o for k, o in zip(kernel, out, strict=True)]
    return tiles.permute(order).reshape(batch, channels, *sizes)


def channels_last(x: Tensor) -> bool:
    """Tell whether the channels of x (b, c, *size) lie side by side in memory, and its columns do not."""
    return x.shape[1] > 1 and x.stride(1) == 1 and not (x.shape[-1] > 1 and x.stride(-1) == 1)


def like(x: Tensor, shape: Sequence[int]) -> Tensor:
    """An empty tensor of `shape` (b, c, *size), channels last where x (b, c, *size) has them there, else contiguous."""
    batch, channels, *size = shape
    return x.new_empty((batch, *size, channels)).movedim(-1, 1) if channels_last(x) else x.new_empty(tuple(shape))
