"""The operator `vo3d::adapool`: one node for torch.compile and torch.export, whose backward keeps x and beta alone.

On GPUs the Triton kernels do the work. Everywhere else, and for vectors over the channels, windows are gathered tile by
tile, small enough for a processor's cache, and go through formula.py and gradients.py as they stand.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vo3d.layers.adapool import formula, gradients
from vo3d.layers.adapool.transforms import by_autograd, has_kernels, one_by_one
from vo3d.layers.adapool.windows import Place, channels_last, elements, enlarge, gather, like, margins, output_size

TILE = 2**18  # numbers in the gathered windows of a tile: the few tensors of that size in use fit in a cache
KINDS = 128  # of poolings and windows that one process may compile
# Let Inductor inline intermediate results however long they are, instead of writing them to memory in between.
ONE_PASS: dict[str, Any] = {"realize_opcount_threshold": 10_000, "realize_reads_threshold": 1_000}
CHANNEL_DIMS = (2, 4)  # of gathered windows (n, b, c, positions, i)


@torch.library.custom_op("vo3d::adapool", mutates_args=())
def adapool(
    x: Tensor,
    beta: Tensor | None,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    similarity: str,
    over_channels: bool,
    exact: bool,
    nan_to_num: bool,
    fused: bool,
) -> Tensor:
    """Pool x (b, c, *size) with 1 to 3 axes of any strides to (b, c, *out), in x's dtype and order in memory.

    Args:
        x: the input; half precision is computed in float32.
        beta: share of the smooth average (*out), for the blend with EM; None: one of both alone.
        kernel: size of a window; like stride and padding, one number for each axis.
        stride: from window to window.
        padding: around the input; it has no weight in any window.
        ceil_mode: a partial window at the far end gets an output of its own, by the rule of torch's pooling.
        similarity: of the smooth average, one of those in formula.py; "": EM alone.
        over_channels: compare vectors over the channels instead of numbers.
        exact: whether the backward pass differentiates the weights too, or takes them as constants, as published.
        nan_to_num: 0 in place of NaN, in the result and in the gradients.
        fused: torch.compile makes one pass of what is done to a tile.
    """
    out = output_size(x.shape[2:], kernel, stride, padding, ceil_mode)
    if has_kernels(x) and not over_channels:
        from vo3d.layers.adapool import kernels  # noqa: PLC0415 (triton is optional)

        return kernels.adapool_forward(x, beta, kernel, stride, padding, out, similarity, nan_to_num)
    y = like(x, (*x.shape[:2], *out))
    pool = _fused(formula.pool_windows) if fused else formula.pool_windows
    last = channels_last(x)
    outputs = _lanes(y, last)
    for tile in _tiles(x, outputs.shape, last, kernel, stride, padding, over_channels):
        windows, valid, share = tile.gathered(x, beta)
        values = pool(windows, share, similarity, CHANNEL_DIMS if over_channels else None, valid)
        place = outputs[tile.outputs]
        place.copy_((_without_nan(values) if nan_to_num else values).reshape(place.shape))
    return y


@torch.library.custom_op("vo3d::adapool_backward", mutates_args=())
def adapool_backward(
    dy: Tensor,
    x: Tensor,
    beta: Tensor | None,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    similarity: str,
    over_channels: bool,
    exact: bool,
    nan_to_num: bool,
    fused: bool,
) -> tuple[Tensor, Tensor]:
    """Differentiate `adapool`: to x and to beta (empty where there is none), of dy (b, c, *out); the rest as there."""
    if has_kernels(x) and not over_channels:
        from vo3d.layers.adapool import kernels  # noqa: PLC0415 (triton is optional)

        dx, dbeta = kernels.adapool_backward(dy, x, beta, kernel, stride, padding, similarity, exact, nan_to_num)
        return dx, x.new_empty(0) if dbeta is None else dbeta
    dx = like(x, x.shape).zero_()
    dbeta = x.new_empty(0) if beta is None else torch.zeros_like(beta, memory_format=torch.contiguous_format)
    backward = _fused(gradients.pool_windows_backward) if fused else gradients.pool_windows_backward
    last = channels_last(x)
    upstream, inputs = _lanes(dy, last), _lanes(dx, last)
    overlap = any(k > s for k, s in zip(kernel, stride, strict=True))
    for tile in _tiles(x, upstream.shape, last, kernel, stride, padding, over_channels):
        windows, valid, share = tile.gathered(x, beta)
        of_outputs = upstream[tile.outputs].to(windows.dtype).reshape(windows.shape[1:])
        to_windows, to_beta = backward(
            of_outputs, windows, share, similarity, CHANNEL_DIMS if over_channels else None, valid, exact
        )
        if nan_to_num:
            to_windows, to_beta = _without_nan(to_windows), None if to_beta is None else _without_nan(to_beta)
        tile.scatter(to_windows, inputs[tile.inputs], overlap)
        if to_beta is not None:
            rows = dbeta[tile.outputs[2]]
            rows += to_beta.sum((0, 1, 3)).reshape(rows.shape)
    return dx, dbeta


@adapool.register_fake
def _(
    x: Tensor,
    beta: Tensor | None,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    *settings: Any,
) -> Tensor:
    return like(x, (*x.shape[:2], *output_size(x.shape[2:], kernel, stride, padding, ceil_mode)))


@adapool_backward.register_fake
def _(dy: Tensor, x: Tensor, beta: Tensor | None, *settings: Any) -> tuple[Tensor, Tensor]:
    return like(x, x.shape), x.new_empty(0) if beta is None else beta.new_empty(beta.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, beta, *ctx.settings = inputs
    ctx.save_for_backward(x, beta)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, beta = ctx.saved_tensors
    kernel, stride, padding, _, *rules = ctx.settings
    if torch.is_grad_enabled():  # this pass is itself to be differentiated: leave it to autograd
        dx, dbeta = by_autograd(
            lambda *tensors: formula.twin(*tensors, *ctx.settings[:-1]), (x, beta), ctx.needs_input_grad[:2], dy
        )
    else:
        dx, dbeta = torch.ops.vo3d.adapool_backward(dy, x, beta, kernel, stride, padding, *rules)
    return dx, None if beta is None else dbeta, *(None,) * len(ctx.settings)


adapool.register_autograd(_differentiate, setup_context=_keep)


@adapool.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], x: Tensor, beta: Tensor | None, *settings: Any) -> Any:
    of_x, of_beta, *_ = in_dims
    if of_beta is None:  # one call for a batch of all items
        pooled = adapool(x.movedim(of_x, 0).flatten(0, 1), beta, *settings)
        return torch.unflatten(pooled, 0, (info.batch_size, -1)), 0
    return one_by_one(adapool, info, in_dims, x, beta, *settings)


adapool_backward.register_vmap(functools.partial(one_by_one, adapool_backward))


class Tile(NamedTuple):
    """Some neighbouring windows: where their results and their inputs lie in tensors (b, c, *size, i)."""

    outputs: tuple[slice, slice, slice]
    inputs: tuple[slice, slice, slice]
    out: tuple[int, ...]
    margin: list[tuple[int, int]]
    kernel: Sequence[int]
    stride: Sequence[int]
    last: bool

    def gathered(self, x: Tensor, beta: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Gather windows (n, b, c, positions, i), what is inside (n, 1, 1, positions, 1), and beta (positions, 1)."""
        part = _lanes(x, self.last)[self.inputs]
        windows, valid = gather(part, self.kernel, self.stride, self.out, self.margin, trailing=1)
        return (
            windows.flatten(3, -2),
            None if valid is None else valid.flatten(3, -2),
            None if beta is None else beta[self.outputs[2]].to(windows.dtype).reshape(-1, 1),
        )

    def scatter(self, windows: Tensor, onto: Tensor, overlap: bool) -> None:
        """Add gathered windows onto the inputs that they came from; write them where no two share an input."""
        planes = torch.unflatten(windows, 3, self.out)
        places = elements(self.kernel, self.stride, self.out, trailing=1)
        if not overlap and not any(map(any, self.margin)):
            for place, plane in zip(places, planes, strict=True):
                onto[place] = plane
            return
        summed = enlarge(torch.zeros_like(onto, dtype=planes.dtype), self.margin, trailing=1)
        for place, plane in zip(places, planes, strict=True):
            summed[place] += plane
        sizes = zip(self.margin, onto.shape[2:-1], strict=True)
        own: Place = (..., *(slice(before, before + size) for (before, _), size in sizes), slice(None))
        onto += summed[own]


def _tiles(
    x: Tensor,
    outputs: Sequence[int],
    last: bool,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    over_channels: bool,
) -> Iterator[Tile]:
    """Cover all windows, whose results have the shape (b, c, *out, i), by tiles of at most about TILE numbers."""
    batch, channels, rows, *rest, lanes = outputs
    if 0 in outputs:
        return
    size = x.shape[2:]
    across = margins(size, kernel, stride, padding, (rows, *rest))
    of_row = prod(kernel) * prod(rest) * lanes * (channels if over_channels else 1)
    height = min(rows, max(1, TILE // of_row))
    width = channels if over_channels else 1 if height < rows else min(channels, max(1, TILE // (of_row * height)))
    of_item = of_row * height * (1 if over_channels else width)
    depth = 1 if width < channels or height < rows else min(batch, max(1, TILE // of_item))
    for b, c, r in product(range(0, batch, depth), range(0, channels, width), range(0, rows, height)):
        until = min(r + height, rows)
        first, end = r * stride[0] - padding[0], (until - 1) * stride[0] - padding[0] + kernel[0]
        items = slice(b, b + depth), slice(c, c + width)
        yield Tile(
            (*items, slice(r, until)),
            (*items, slice(max(first, 0), min(end, size[0]))),
            (until - r, *rest),
            [(max(-first, 0), max(end - size[0], 0)), *across[1:]],
            kernel,
            stride,
            last,
        )


def _lanes(t: Tensor, last: bool) -> Tensor:
    """View (b, c, *size, i) of t (b, c, *size), whose axis i lies together in memory: channels, or nothing."""
    return t.movedim(1, -1).unsqueeze(1) if last else t.unsqueeze(-1)


def _without_nan(t: Tensor) -> Tensor:
    return t.nan_to_num(0, posinf=torch.inf, neginf=-torch.inf)


@functools.cache
def _fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile what is done to a tile to one pass: for any size, and anew for each kind of pooling and window."""
    compiled = torch.compile(function, options=ONE_PASS)

    def fused(*arguments: Any) -> Any:
        for tensor in arguments[:2]:  # windows, and what else varies with the size of the tile
            if isinstance(tensor, Tensor):
                torch._dynamo.maybe_mark_dynamic(tensor, [d for d in range(1, tensor.ndim) if tensor.shape[d] > 1])
        with torch.compiler.config.patch(recompile_limit=KINDS):  # type: ignore[attr-defined]
            return compiled(*arguments)

    return fused
