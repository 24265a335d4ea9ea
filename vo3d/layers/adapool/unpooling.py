"""The operator `vo3d::adaunpool`: each pooled value laid back over its window, in the shares that its weights give."""

import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any

import torch
from torch import Tensor

from vo3d.layers.adapool.transforms import one_by_one
from vo3d.layers.adapool.windows import Place


@torch.library.custom_op("vo3d::adaunpool", mutates_args=())
def adaunpool(
    y: Tensor,
    smooth: Tensor | None,
    em: Tensor | None,
    beta: Tensor | None,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    extent: list[int],
    mean: bool,
) -> Tensor:
    """Lay each pooled value y_p back over its window p: out_q = sum of y_p (b_p w_pi^smooth + (1 - b_p) w_pi^EM).

    The sum is over all windows p and elements i that lie at q; it is 0 where no window lies.

    Args:
        y: pooled values (b, c, *out).
        smooth: weights of the smooth average, windows side by side (b, c or 1, *kernel * out); None: EM alone.
        em: weights of EM in the same layout; None: the smooth ones alone.
        beta: (*out), given where both weights are.
        kernel: size of a window; like all that follow, one number for each axis.
        stride: from window to window.
        padding: in front of the first element.
        extent: size of the result.
        mean: multiply by the number of elements that the window has inside the extent.

    Returns:
        (b, c, *extent) in the dtype of y; half precision is added up in float32.
    """
    if _has_kernels(y):
        from vo3d.layers.adapool import kernels  # noqa: PLC0415 (triton is optional)

        return kernels.adaunpool_forward(y, smooth, em, beta, kernel, stride, padding, extent, mean)
    out = y.new_empty((*y.shape[:2], *extent))
    for item in _items(y):
        out[item] = spread(y[item], _part(smooth, item), _part(em, item), beta, kernel, stride, padding, extent, mean)
    return out


@torch.library.custom_op("vo3d::adaunpool_backward", mutates_args=())
def adaunpool_backward(
    dout: Tensor,
    smooth: Tensor | None,
    em: Tensor | None,
    beta: Tensor | None,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    out_size: list[int],
    mean: bool,
) -> Tensor:
    """The gradient of `adaunpool` to y (b, c, *out_size), of the gradient to its result and the same arguments."""
    if _has_kernels(dout):
        from vo3d.layers.adapool import kernels  # noqa: PLC0415 (triton is optional)

        return kernels.adaunpool_backward(dout, smooth, em, beta, kernel, stride, padding, out_size, mean)
    dy = dout.new_empty((*dout.shape[:2], *out_size))
    for item in _items(dout):
        dy[item] = collect(
            dout[item], _part(smooth, item), _part(em, item), beta, kernel, stride, padding, out_size, mean
        )
    return dy


@adaunpool.register_fake
def _(y: Tensor, *rest: Any) -> Tensor:
    *_, extent, _mean = rest
    return y.new_empty((*y.shape[:2], *extent))


@adaunpool_backward.register_fake
def _(dout: Tensor, *rest: Any) -> Tensor:
    *_, out_size, _mean = rest
    return dout.new_empty((*dout.shape[:2], *out_size))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.geometry = inputs[4:]


def _differentiate(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    y, smooth, em, beta = ctx.saved_tensors
    kernel, stride, padding, _, mean = ctx.geometry
    needs = ctx.needs_input_grad[:4]
    rest = (None,) * len(ctx.geometry)
    if not any(needs[1:]) and not torch.is_grad_enabled():
        dy = adaunpool_backward(dout, smooth, em, beta, kernel, stride, padding, list(y.shape[2:]), mean)
        return dy, None, None, None, *rest
    # Rare: gradients to the weights, or of gradients; autograd of the plain form gives both. The views keep it from
    # walking on, out of one argument into another that the first was made from.
    with torch.enable_grad():
        y = y.view_as(y)
        smooth, em, beta = (None if t is None else t.view_as(t) for t in (smooth, em, beta))
        out = spread(y, smooth, em, beta, *ctx.geometry).to(dout.dtype)
    wanted = [t for t, need in zip((y, smooth, em, beta), needs, strict=True) if need and t is not None]
    gradients = iter(torch.autograd.grad(out, wanted, dout, create_graph=torch.is_grad_enabled()))
    return *(next(gradients) if need else None for need in needs), *rest


adaunpool.register_autograd(_differentiate, setup_context=_keep)


@adaunpool.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
    return torch.stack([adaunpool(*call) for call in one_by_one(info.batch_size, in_dims, arguments)]), 0


@adaunpool_backward.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
    return torch.stack([adaunpool_backward(*call) for call in one_by_one(info.batch_size, in_dims, arguments)]), 0


def spread(
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
    """`adaunpool` in plain torch, differentiable in y, weights and beta; half precision becomes float32."""
    value = y.to(_exact(y))
    if mean:
        value = value * counts(value, y.shape[2:], kernel, stride, padding, extent)
    run = _run(kernel, stride, padding)
    value = value.repeat_interleave(run, dim=-1)  # b c *windows
    beta = None if beta is None else beta.repeat_interleave(run, dim=-1)
    out = value.new_zeros((*y.shape[:2], *extent))
    for place, windows, inside in _elements(y.shape[2:], kernel, stride, padding, extent, run):
        out[place].addcmul_(value[windows], _weights(smooth, em, beta, windows, inside, value.dtype))
    return out


def collect(
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
    """`adaunpool_backward` in plain torch; half precision becomes float32."""
    above, extent = dout.to(_exact(dout)), dout.shape[2:]
    run = _run(kernel, stride, padding)
    beta = None if beta is None else beta.repeat_interleave(run, dim=-1)
    dvalue = above.new_zeros((*dout.shape[:2], *out_size[:-1], out_size[-1] * run))  # b c *windows
    for place, windows, inside in _elements(out_size, kernel, stride, padding, extent, run):
        dvalue[windows].addcmul_(above[place], _weights(smooth, em, beta, windows, inside, above.dtype))
    dy = dvalue[..., ::run]
    for i in range(1, run):
        dy = dy + dvalue[..., i::run]
    return dy * counts(above, out_size, kernel, stride, padding, extent) if mean else dy


def _has_kernels(tensor: Tensor) -> bool:
    return tensor.is_cuda and find_spec("triton") is not None


def _items(tensor: Tensor) -> Iterator[slice]:
    """The items of a batch, one by one: what is in work then stays in the cache, and temporaries small."""
    return (slice(item, item + 1) for item in range(tensor.shape[0]))


def _part(weights: Tensor | None, item: slice) -> Tensor | None:
    return None if weights is None else weights[item]


def _exact(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _run(kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> int:
    """Count the elements along the last axis that can be taken at once: a whole window where windows lie side by side.

    Values, repeated that often, are then in the order of the result, and memory is passed in rows instead of in steps
    (measured six times faster).
    """
    return kernel[-1] if kernel[-1] == stride[-1] and padding[-1] == 0 else 1


def _weights(
    smooth: Tensor | None, em: Tensor | None, beta: Tensor | None, windows: Place, inside: Place, dtype: torch.dtype
) -> Tensor:
    """Fused weights of one element of every window (b, c or 1, *windows)."""
    if smooth is not None and em is not None and beta is not None:
        return torch.lerp(em[inside].to(dtype), smooth[inside].to(dtype), beta[windows].to(dtype))
    (single,) = (weights for weights in (smooth, em) if weights is not None)
    return single[inside].to(dtype)


def _elements(
    out_size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    extent: Sequence[int],
    run: int,
) -> Iterator[tuple[Place, Place, Place]]:
    """For each element of a window: where it lies in the result, for which windows, and where in the mask.

    Windows whose element lies outside the extent are left out. With `run` above 1 each element along the last axis
    counts as a window of its own.
    """
    axes = []
    for axis, (o, k, s, p, e) in enumerate(zip(out_size, kernel, stride, padding, extent, strict=True)):
        last_axis_at_once = run > 1 and axis == len(kernel) - 1
        count, size, step = (o * k, 1, 1) if last_axis_at_once else (o, k, s)
        places = []
        for i in range(size):
            first, last = max(0, -((i - p) // step)), min(count - 1, (e - 1 + p - i) // step)
            if first <= last:
                place = slice(first * step - p + i, last * step - p + i + 1, step)
                places.append((place, slice(first, last + 1), slice(first * size + i, last * size + i + 1, size)))
        axes.append(places)
    for element in product(*axes):
        place, windows, inside = zip(*element, strict=True)
        yield (..., *place), (..., *windows), (..., *inside)


def counts(
    like: Tensor,
    out_size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    extent: Sequence[int],
) -> Tensor:
    """Number of elements that each window has inside the extent (*out)."""
    axes = []
    for o, k, s, p, e in zip(out_size, kernel, stride, padding, extent, strict=True):
        starts = [q * s - p for q in range(o)]
        axes.append(like.new_tensor([min(start + k, e) - max(start, 0) for start in starts]))
    return math.prod(torch.meshgrid(*axes, indexing="ij"), start=like.new_ones(()))
