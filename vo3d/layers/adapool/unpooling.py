"""The operator `vo3d::adaunpool`: each pooled value laid back over its window, in the shares that its weights give."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from itertools import product
from typing import Any

import torch
from torch import Tensor

from vo3d.layers.adapool.transforms import by_autograd, has_kernels, one_by_one
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
    if has_kernels(y):
        from vo3d.layers.adapool import kernels  # noqa: PLC0415 (triton is optional)

        return kernels.adaunpool_forward(y, smooth, em, beta, kernel, stride, padding, extent, mean)
    return _by_items(spread, extent, y, smooth, em, beta, kernel, stride, padding, extent, mean)


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
    """Differentiate `adaunpool`: to y (b, c, *out_size), of the gradient to its result and the same arguments."""
    if has_kernels(dout):
        from vo3d.layers.adapool import kernels  # noqa: PLC0415 (triton is optional)

        return kernels.adaunpool_backward(dout, smooth, em, beta, kernel, stride, padding, out_size, mean)
    return _by_items(collect, out_size, dout, smooth, em, beta, kernel, stride, padding, out_size, mean)


@adaunpool.register_fake
@adaunpool_backward.register_fake
def _(values: Tensor, *rest: Any) -> Tensor:
    *_, size, _mean = rest
    return values.new_empty((*values.shape[:2], *size))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.geometry = inputs[4:]


def _differentiate(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    y, *weights = ctx.saved_tensors
    needs = ctx.needs_input_grad[:4]
    if any(needs[1:]) or torch.is_grad_enabled():  # rare: gradients to the weights, or of gradients
        gradients = by_autograd(lambda *tensors: spread(*tensors, *ctx.geometry), (y, *weights), needs, dout)
    else:
        kernel, stride, padding, _, mean = ctx.geometry
        dy = adaunpool_backward(dout, *weights, kernel, stride, padding, list(y.shape[2:]), mean)
        gradients = [dy, None, None, None]
    return *gradients, *(None,) * len(ctx.geometry)


adaunpool.register_autograd(_differentiate, setup_context=_keep)


adaunpool.register_vmap(partial(one_by_one, adaunpool))
adaunpool_backward.register_vmap(partial(one_by_one, adaunpool_backward))


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
    """Do as `adaunpool` in plain torch, differentiable in y, weights and beta; half precision becomes float32."""
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
    """Do as `adaunpool_backward` in plain torch; half precision becomes float32."""
    above, extent = dout.to(_exact(dout)), dout.shape[2:]
    run = _run(kernel, stride, padding)
    beta = None if beta is None else beta.repeat_interleave(run, dim=-1)
    dvalue = above.new_zeros((*dout.shape[:2], *out_size[:-1], out_size[-1] * run))  # b c *windows
    for place, windows, inside in _elements(out_size, kernel, stride, padding, extent, run):
        dvalue[windows].addcmul_(above[place], _weights(smooth, em, beta, windows, inside, above.dtype))
    dy = reduce(Tensor.add, (dvalue[..., i::run] for i in range(run)))
    return dy * counts(above, out_size, kernel, stride, padding, extent) if mean else dy


def _by_items(
    function: Callable[..., Tensor],
    size: Sequence[int],
    values: Tensor,
    smooth: Tensor | None,
    em: Tensor | None,
    *rest: Any,
) -> Tensor:
    """Go through a batch item by item: what is in work then stays in the cache, and temporaries small."""
    result = values.new_empty((*values.shape[:2], *size))
    for i in range(values.shape[0]):
        value, *weights = (None if t is None else t[i : i + 1] for t in (values, smooth, em))
        result[i : i + 1] = function(value, *weights, *rest)
    return result


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
    """Fuse the weights of one element of every window (b, c or 1, *windows)."""
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
    """Tell for each element of a window where it lies in the result, for which windows, and where in the mask.

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
    """Count the elements that each window has inside the extent (*out)."""
    axes = [
        like.new_tensor([min(q * s - p + k, e) - max(q * s - p, 0) for q in range(o)])
        for o, k, s, p, e in zip(out_size, kernel, stride, padding, extent, strict=True)
    ]
    return math.prod(torch.meshgrid(*axes, indexing="ij"), start=like.new_ones(()))
