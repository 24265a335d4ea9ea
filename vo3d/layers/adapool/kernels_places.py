"""Where the Triton kernels find their elements.

A tensor is seen as planes (batch and channels) of positions (d, h, r) that hold rows of lanes; lanes lie side by side
in memory. Lanes are columns (then r is a dummy) or, with the channels last, channels (then r is the column, and planes
are the batch alone). A program owns vectors of `tile.lanes` outputs: `tile.vectors` of them in each of `tile.planes`
planes, v in all, and then walks over further planes; what depends on the position alone is computed once.

Where windows lie side by side and have a power of two of columns, `tile.run` columns of a window are loaded at once, so
that the inputs of a vector of outputs are contiguous: (v, lanes * run) in memory, (v, lanes, run) in computations.

Functions in Triton's language are marked `no_type_check`: what a checker of types wraps, Triton cannot read.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def divide(first, step, size, tile: tl.constexpr):
    """Divide `first + step` by `size`: first // size, what the steps add to that, and the remainder.

    Below 2 * SMALL the division is exact in floating point, and much cheaper than that of integers.
    """
    index = first % size + step
    over = index // size if tile.long else ((index + 0.5) * (1.0 / size)).to(tl.int32)
    return first // size, over, index - over * size


@triton.jit
@no_type_check
def vectors_of(program, blocks, sizes, lanes, tile: tl.constexpr):
    """Position d, h, r of the program's vectors, which vector of its row each is, their lanes; and what exists of them.

    That is which lanes (v, lanes), and which inputs (v, lanes * run).
    """
    v = tl.arange(0, tile.planes * tile.vectors)
    first, step, vector = divide(program % blocks * tile.vectors, v % tile.vectors, sizes[3], tile)
    r = step * 0
    if tile.channels_last:
        first, step, r = divide(first, step, sizes[2], tile)
    d = step * 0
    if tile.deep:
        first, step, h = divide(first, step, sizes[1], tile)
        d = first + step
        there = (d < sizes[0])[:, None]
    else:
        h = first + step
        there = (h < sizes[1])[:, None]
    live = there
    lane = vector[:, None] * tile.lanes + tl.arange(0, tile.lanes)[None, :]
    if not tile.full:
        column = vector[:, None] * (tile.lanes * tile.run) + tl.arange(0, tile.lanes * tile.run)[None, :]
        live = there & (column < lanes * tile.run)
        there = there & (lane < lanes)
    return d, h, r, vector, lane, there, live


@triton.jit
@no_type_check
def plane_offset(plane, channels, strides, tile: tl.constexpr):
    """Find where a plane starts (v)."""
    if tile.batched:
        return (plane // channels).to(tl.int64) * strides[0] + (plane % channels).to(tl.int64) * strides[1]
    return plane.to(tl.int64) * strides[1]


@triton.jit
@no_type_check
def output_offset(plane, d, h, r, vector, channels, strides, align: tl.constexpr, tile: tl.constexpr):
    """Of the windows themselves (v, lanes), in a tensor of the output's size."""
    at = plane_offset(plane, channels, strides, tile)
    at += d.to(tl.int64) * strides[2] + h.to(tl.int64) * strides[3] + r.to(tl.int64) * strides[4]
    at = tl.multiple_of(at + (vector * tile.lanes).to(tl.int64) * strides[5], align)
    return at[:, None] + (tl.arange(0, tile.lanes).to(tl.int64) * strides[5])[None, :]


@triton.jit
@no_type_check
def window_starts(d, h, r, vector, tile: tl.constexpr):
    """First element of each window along d and h (v, 1), and along w (v, lanes * run), its run included."""
    if tile.channels_last:
        w = (r * tile.stride[2] - tile.padding[2])[:, None]
    else:
        columns = vector[:, None] * (tile.lanes * tile.run) + tl.arange(0, tile.lanes * tile.run)[None, :]
        w = columns * (tile.stride[2] // tile.run) - tile.padding[2]
    return (d * tile.stride[0] - tile.padding[0])[:, None], (h * tile.stride[1] - tile.padding[1])[:, None], w


@triton.jit
@no_type_check
def window_offset(plane, d, h, r, vector, channels, strides, align: tl.constexpr, tile: tl.constexpr):
    """Find where the windows of each vector start."""
    at_d = (d * tile.stride[0] - tile.padding[0]).to(tl.int64) * strides[2]
    at_h = (h * tile.stride[1] - tile.padding[1]).to(tl.int64) * strides[3]
    if tile.channels_last:
        at_w = (r * tile.stride[2] - tile.padding[2]).to(tl.int64) * strides[4]
        at_w += (vector * tile.lanes).to(tl.int64) * strides[5]
    else:
        at_w = (vector * (tile.lanes * tile.stride[2]) - tile.padding[2]).to(tl.int64) * strides[5]
    return tl.multiple_of(plane_offset(plane, channels, strides, tile) + (at_d + at_h + at_w), align)


@triton.jit
@no_type_check
def element(j, base, live, starts, sizes, strides, align: tl.constexpr, tile: tl.constexpr):
    """Offset (v, lanes * run) of element j, or run j, of each window, and whether it lies in the input."""
    kw: tl.constexpr = tile.kernel[2] // tile.run
    j = j.to(tl.int64)
    d = j // (tile.kernel[1] * kw)
    h = j // kw % tile.kernel[1]
    w = j % kw
    inside = live
    if tile.overhang:
        at_d, at_h, at_w = starts[0] + d.to(tl.int32), starts[1] + h.to(tl.int32), starts[2] + w.to(tl.int32)
        inside = live & (at_d >= 0) & (at_d < sizes[0]) & (at_h >= 0) & (at_h < sizes[1])
        inside = inside & (at_w >= 0) & (at_w < sizes[2])
    across = strides[4] if tile.channels_last else strides[5]
    # Both sums carry the hint: where this one adds 0, it vanishes together with its hint.
    start = tl.multiple_of(base + (d * strides[2] + h * strides[3] + w * across), align)
    lane = tl.arange(0, tile.lanes * tile.run).to(tl.int64)
    lane = lane * (strides[5] if tile.channels_last else tile.stride[2] // tile.run * strides[5])
    return start[:, None] + lane[None, :], inside


@triton.jit
@no_type_check
def fold(values, tile: tl.constexpr):
    """From (v, lanes * run) to (v, lanes, run)."""
    v: tl.constexpr = tile.planes * tile.vectors
    return tl.reshape(tl.broadcast_to(values, (v, tile.lanes * tile.run)), (v, tile.lanes, tile.run))


@triton.jit
@no_type_check
def read(j, source, tile: tl.constexpr):
    """Element j of each window (v, lanes, run), 0 outside, and whether it is inside.

    `source` is the tensor, where its windows start (v), which lanes live, `window_starts`, sizes and strides.
    """
    x, base, live, starts, sizes, strides = source
    offset, inside = element(j, base, live, starts, sizes, strides, tile.align[0], tile)
    values = tl.load(x + offset, mask=inside, other=0.0).to(tile.dtype)
    return fold(values, tile), fold(inside, tile) if tile.overhang else inside


@triton.jit
@no_type_check
def window_over(j, at_d, at_h, at_w, there, out_sizes, tile: tl.constexpr):
    """The j-th window (d, h, w) over elements at these places of the padded input, and whether it covers them."""
    d = at_d // tile.stride[0] - j // (tile.reach[1] * tile.reach[2])
    h = at_h // tile.stride[1] - j // tile.reach[2] % tile.reach[1]
    w = at_w // tile.stride[2] - j % tile.reach[2]
    covered = there & (d >= 0) & (d < out_sizes[0]) & (at_d - d * tile.stride[0] < tile.kernel[0])
    covered = covered & (h >= 0) & (h < out_sizes[1]) & (at_h - h * tile.stride[1] < tile.kernel[1])
    return d, h, w, covered & (w >= 0) & (w < out_sizes[2]) & (at_w - w * tile.stride[2] < tile.kernel[2])


@triton.jit
@no_type_check
def read_beta(beta, d, h, r, lane, there, strides, tile: tl.constexpr):
    """Beta of each window (v, lanes)."""
    row = d.to(tl.int64) * strides[0] + h.to(tl.int64) * strides[1] + r.to(tl.int64) * strides[2]
    return tl.load(beta + row[:, None] + lane.to(tl.int64) * strides[3], mask=there, other=0.0).to(tile.dtype)


@triton.jit
@no_type_check
def span(p, axis: tl.constexpr, sizes, tile: tl.constexpr):
    """Number of elements that window p has inside the input, along an axis."""
    start = p * tile.stride[axis] - tile.padding[axis]
    return tl.minimum(start + tile.kernel[axis], sizes[axis]) - tl.maximum(start, 0)


@triton.jit
@no_type_check
def inside_of(d, h, w, sizes, tile: tl.constexpr):
    """Number of elements that windows d, h, w have inside the input."""
    return span(d, 0, sizes, tile) * span(h, 1, sizes, tile) * span(w, 2, sizes, tile)


@triton.jit
@no_type_check
def count(d, h, r, vector, sizes, tile: tl.constexpr):
    """Number of elements that each window has inside the input: (v, lanes) where that varies, else one number."""
    number = tl.full((), tile.kernel[0] * tile.kernel[1] * tile.kernel[2], tile.dtype)
    if tile.overhang:
        lane = vector[:, None] * tile.lanes + tl.arange(0, tile.lanes)[None, :]
        w = r[:, None] if tile.channels_last else lane
        number = tl.maximum(inside_of(d[:, None], h[:, None], w, sizes, tile), 1).to(tile.dtype)
    return number


@triton.jit
@no_type_check
def mean_of(total, number, tile: tl.constexpr):
    """Divide as exactly as torch does: an element that equals the mean is one at no distance, and takes all weight."""
    n: tl.constexpr = tile.kernel[0] * tile.kernel[1] * tile.kernel[2]
    if n & (n - 1) == 0 and not tile.overhang:
        return total * (1.0 / n)
    return total / number if tile.dtype == tl.float64 else tl.div_rn(total, number)


@triton.jit
@no_type_check
def without_nan(values, tile: tl.constexpr):
    """0 in place of NaN, where that is asked for."""
    return tl.where(values == values, values, 0.0) if tile.nan_to_zero else values  # noqa: PLR0124
