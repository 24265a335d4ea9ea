"""The Triton kernels of unpooling: each element of the result gathers from the windows over it.

Weights lie side by side: element i of window p at p * kernel + i, along each axis. Lanes are columns.
"""

from typing import no_type_check

import triton
import triton.language as tl

from vo3d.layers.adapool.kernels_places import (
    count,
    inside_of,
    output_offset,
    plane_offset,
    read,
    read_beta,
    vectors_of,
    window_offset,
    window_over,
    window_starts,
)


@triton.jit
@no_type_check
def read_at(x, plane, d, h, w, there, channels, strides, align: tl.constexpr, tile: tl.constexpr):
    """The elements of x (v, lanes) at d, h (v, 1) and w (v, lanes), 0 where `there` is not so."""
    row = d.to(tl.int64) * strides[2] + h.to(tl.int64) * strides[3]
    row = tl.multiple_of(row + plane_offset(plane, channels, strides, tile)[:, None], (1, align))
    return tl.load(x + (row + w.to(tl.int64) * strides[5]), mask=there, other=0.0).to(tile.dtype)


@triton.jit
@no_type_check
def unpool_forward(
    y,
    smooth,
    em,
    beta,
    out,
    out_strides,
    y_strides,
    smooth_strides,
    em_strides,
    beta_strides,
    sizes,
    rows,
    out_sizes,
    lanes,
    planes,
    channels,
    blocks,
    mean: tl.constexpr,
    tile: tl.constexpr,
):
    """Write out: of each element the sum of y * weight over the windows that cover it.

    `sizes` is (d, h, w) of out, `rows` the same as positions and vectors of a row, `out_sizes` (d, h, w) of y.
    """
    program = tl.program_id(0)
    d, h, r, vector, lane, there, _ = vectors_of(program, blocks, rows, lanes, tile)
    plane = program // blocks * tile.planes + tl.arange(0, tile.planes * tile.vectors) // tile.vectors
    there = there & (plane < planes)[:, None]
    at_d, at_h = (d + tile.padding[0])[:, None], (h + tile.padding[1])[:, None]
    at_w = lane + tile.padding[2]
    total = tl.full((tile.planes * tile.vectors, tile.lanes), 0.0, tile.dtype)
    for outer in tl.range(0, tile.outer):
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            j = tl.full((), inner, tl.int32) + outer * tile.inner
            p_d, p_h, p_w, covered = window_over(j, at_d, at_h, at_w, there, out_sizes, tile)
            # In the mask: at - p * stride + p * kernel. Where these are equal the compiler sees whole vectors.
            m_d = at_d + p_d * (tile.kernel[0] - tile.stride[0])
            m_h = at_h + p_h * (tile.kernel[1] - tile.stride[1])
            m_w = at_w + p_w * (tile.kernel[2] - tile.stride[2])
            value = read_at(y, plane, p_d, p_h, p_w, covered, channels, y_strides, 1, tile)
            if tile.similarity != "":
                weight = read_at(smooth, plane, m_d, m_h, m_w, covered, channels, smooth_strides, tile.align[2], tile)
            if tile.em:
                other = read_at(em, plane, m_d, m_h, m_w, covered, channels, em_strides, tile.align[2], tile)
                if tile.similarity != "":
                    at = p_d.to(tl.int64) * beta_strides[0] + p_h.to(tl.int64) * beta_strides[1]
                    part = tl.load(beta + (at + p_w.to(tl.int64) * beta_strides[3]), mask=covered, other=0.0)
                    weight = other + part.to(tile.dtype) * (weight - other)
                else:
                    weight = other
            if mean:
                value = value * inside_of(p_d, p_h, p_w, sizes, tile).to(tile.dtype)
            total += tl.where(covered, value * weight, 0.0)
    at = output_offset(plane, d, h, r, vector, channels, out_strides, tile.align[0], tile)
    tl.store(out + at, total, mask=there)


@triton.jit
@no_type_check
def unpool_backward(
    dout,
    smooth,
    em,
    beta,
    dy,
    dout_strides,
    dy_strides,
    smooth_strides,
    em_strides,
    beta_strides,
    sizes,
    rows,
    lanes,
    planes,
    channels,
    blocks,
    steps,
    mean: tl.constexpr,
    beside: tl.constexpr,
    tile: tl.constexpr,
):
    """Write dy: of each window the sum of dout * weight over its elements. `beside` is the tile of the weights."""
    v: tl.constexpr = tile.planes * tile.vectors
    program = tl.program_id(0)
    d, h, r, vector, lane, there, live = vectors_of(program, blocks, rows, lanes, tile)
    starts = window_starts(d, h, r, vector, tile)
    if tile.similarity != "" and tile.em:
        part = read_beta(beta, d, h, r, lane, there, beta_strides, tile)[:, :, None]
    for step in range(steps):
        plane = (program // blocks * steps + step) * tile.planes + tl.arange(0, v) // tile.vectors
        exists = (plane < planes)[:, None]
        base = window_offset(plane, d, h, r, vector, channels, dout_strides, tile.align[0], tile)
        source = (dout, base, live & exists, starts, sizes, dout_strides)
        base = window_offset(plane, d, h, r, vector, channels, smooth_strides, beside.align[0], beside)
        of_smooth = (smooth, base, live & exists, starts, sizes, smooth_strides)
        base = window_offset(plane, d, h, r, vector, channels, em_strides, beside.align[0], beside)
        of_em = (em, base, live & exists, starts, sizes, em_strides)
        total = tl.full((v, tile.lanes, tile.run), 0.0, tile.dtype)
        for outer in tl.range(0, tile.outer):
            for inner in tl.static_range(tl.constexpr(tile.inner)):
                j = tl.full((), inner, tl.int32) + outer * tile.inner
                above, _ = read(j, source, tile)
                if tile.similarity != "":
                    weight, _ = read(j, of_smooth, beside)
                if tile.em:
                    other, _ = read(j, of_em, beside)
                    weight = other + part * (weight - other) if tile.similarity != "" else other
                total += above * weight
        result = tl.sum(total, 2)
        if mean:
            result = result * count(d, h, r, vector, sizes, tile)
        at = output_offset(plane, d, h, r, vector, channels, dy_strides, tile.align[1], tile)
        tl.store(dy + at, result, mask=there & exists)
