"""The Triton kernels of pooling: forward, backward, and the gather that completes backward where windows overlap."""

from typing import no_type_check

import triton
import triton.language as tl

from vo3d.layers.adapool.kernels_places import (
    count,
    element,
    output_offset,
    read,
    read_beta,
    vectors_of,
    window_offset,
    window_over,
    window_starts,
    without_nan,
)
from vo3d.layers.adapool.kernels_weights import gradient, per_window, pull_of_mean, ruler, statistics


@triton.jit
@no_type_check
def pool_forward(
    x,
    y,
    beta,
    x_strides,
    y_strides,
    beta_strides,
    sizes,
    out_sizes,
    lanes,
    planes,
    channels,
    blocks,
    steps,
    tile: tl.constexpr,
):
    """Write y. A program owns block `program % blocks` of the positions, in tile.planes * steps planes."""
    program = tl.program_id(0)
    d, h, r, vector, lane, there, live = vectors_of(program, blocks, out_sizes, lanes, tile)
    starts = window_starts(d, h, r, vector, tile)
    number = count(d, h, r, vector, sizes, tile)
    if tile.similarity != "" and tile.em:
        part = read_beta(beta, d, h, r, lane, there, beta_strides, tile)
    for step in range(steps):
        plane = (program // blocks * steps + step) * tile.planes + tl.arange(
            0, tile.planes * tile.vectors
        ) // tile.vectors
        exists = (plane < planes)[:, None]
        base = window_offset(plane, d, h, r, vector, channels, x_strides, tile.align[0], tile)
        _, y_smooth, y_em = statistics((x, base, live & exists, starts, sizes, x_strides), number, tile)
        result = y_em if tile.similarity == "" else y_smooth
        if tile.similarity != "" and tile.em:
            result = y_em + part * (y_smooth - y_em)
        at = output_offset(plane, d, h, r, vector, channels, y_strides, tile.align[1], tile)
        tl.store(y + at, without_nan(result, tile), mask=there & exists)


@triton.jit
@no_type_check
def pool_backward(
    x,
    dy,
    beta,
    dx,
    records,
    sums,
    x_strides,
    dy_strides,
    beta_strides,
    dx_strides,
    sizes,
    out_sizes,
    lanes,
    planes,
    channels,
    blocks,
    steps,
    record_size,
    tile: tl.constexpr,
):
    """Write dx where windows lie side by side, else records of windows for `pool_gather`; and partial sums of dbeta.

    `sums` (blocks of planes, blocks of positions * vectors * lanes) gets dy * (y_smooth - y_em), added up over the
    program's planes.
    """
    v: tl.constexpr = tile.planes * tile.vectors
    program = tl.program_id(0)
    d, h, r, vector, lane, there, live = vectors_of(program, blocks, out_sizes, lanes, tile)
    starts = window_starts(d, h, r, vector, tile)
    number = count(d, h, r, vector, sizes, tile)
    if tile.similarity != "" and tile.em:
        part = read_beta(beta, d, h, r, lane, there, beta_strides, tile)
    total = tl.full((v, tile.lanes), 0.0, tile.dtype)
    for step in range(steps):
        plane = (program // blocks * steps + step) * tile.planes + tl.arange(0, v) // tile.vectors
        exists = (plane < planes)[:, None]
        base = window_offset(plane, d, h, r, vector, channels, x_strides, tile.align[0], tile)
        source = (x, base, live & exists, starts, sizes, x_strides)
        at = output_offset(plane, d, h, r, vector, channels, dy_strides, tile.align[1], tile)
        above = tl.load(dy + at, mask=there & exists, other=0.0).to(tile.dtype)
        known, y_smooth, y_em = statistics(source, number, tile)
        mean, to_smooth, nearest, top, to_em, lean, lean_em = known
        if tile.similarity != "" and tile.em:
            delta = without_nan(above * (y_smooth - y_em), tile)
            total += tl.where(there & exists, delta, 0.0)
            to_smooth *= part
            to_em *= 1.0 - part
        to_smooth *= above
        to_em *= above
        unit = per_window(ruler(mean, tile))
        by_mean = mean
        if tile.exact and tile.similarity != "":
            by_mean = pull_of_mean(source, mean, nearest, lean, unit, tile) * to_smooth / number
        window = (mean, to_smooth, nearest, top, to_em, lean, lean_em, by_mean)
        if tile.overlap:
            row = ((plane.to(tl.int64) * out_sizes[0] + d) * out_sizes[1] + h) * out_sizes[2] + r
            record(records + (row * lanes)[:, None] + lane, record_size, window, there & exists, tile)
        else:
            base = window_offset(plane, d, h, r, vector, channels, dx_strides, tile.align[2], tile)
            spread(source, (dx, base, dx_strides), per_window(window), unit, tile)
    if tile.similarity != "" and tile.em:
        total = tl.sum(tl.reshape(total, (tile.planes, tile.vectors, tile.lanes)), 0)
        at = program.to(tl.int64) * (tile.vectors * tile.lanes)
        at += tl.arange(0, tile.vectors)[:, None] * tile.lanes + tl.arange(0, tile.lanes)[None, :]
        tl.store(sums + at, total)


@triton.jit
@no_type_check
def spread(source, target, window, unit, tile: tl.constexpr):
    """Write the gradient to each element of windows that share none."""
    dx, base, strides = target
    for outer in tl.range(0, tile.outer):
        # All elements first: after a store the compiler would read them anew.
        values = ()
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            j = tl.full((), inner, tl.int32) + outer * tile.inner
            values = values + (read(j, source, tile)[0],)  # noqa: RUF005 (Triton knows no unpacking)
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            result = gradient(values[inner], window, unit, tile)
            result = tl.reshape(result, (tile.planes * tile.vectors, tile.lanes * tile.run))
            j = tl.full((), inner, tl.int32) + outer * tile.inner
            at, inside = element(j, base, source[2], source[3], source[4], strides, tile.align[2], tile)
            tl.store(dx + at, result, mask=inside)


@triton.jit
@no_type_check
def record(place, size, window, mask, tile: tl.constexpr):
    """Keep of each window what the gather needs."""
    for i in tl.static_range(8):
        if tile.slots[i] >= 0:
            tl.store(place + tl.full((), tile.slots[i], tl.int64) * size, window[i], mask=mask)


@triton.jit
@no_type_check
def pool_gather(
    x,
    dx,
    records,
    x_strides,
    dx_strides,
    sizes,
    out_sizes,
    lanes,
    planes,
    channels,
    blocks,
    record_size,
    tile: tl.constexpr,
):
    """Write dx: of each element the sum over the windows that cover it, in a fixed order.

    `sizes` is (d, h, r, vectors in a row) of the input, `out_sizes` (d, h, w) of the windows.
    """
    program = tl.program_id(0)
    d, h, r, vector, lane, there, _ = vectors_of(program, blocks, sizes, lanes, tile)
    plane = program // blocks * tile.planes + tl.arange(0, tile.planes * tile.vectors) // tile.vectors
    there = there & (plane < planes)[:, None]
    value = tl.load(
        x + output_offset(plane, d, h, r, vector, channels, x_strides, tile.align[0], tile), mask=there, other=0.0
    ).to(tile.dtype)
    total = tl.full((tile.planes * tile.vectors, tile.lanes), 0.0, tile.dtype)
    at_d, at_h = (d + tile.padding[0])[:, None], (h + tile.padding[1])[:, None]
    at_w = (r[:, None] if tile.channels_last else lane) + tile.padding[2]
    for outer in tl.range(0, tile.outer):
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            j = tl.full((), inner, tl.int32) + outer * tile.inner
            p_d, p_h, p_w, covered = window_over(j, at_d, at_h, at_w, there, out_sizes, tile)
            at = ((plane.to(tl.int64)[:, None] * out_sizes[0] + p_d) * out_sizes[1] + p_h) * out_sizes[2] + p_w
            if tile.channels_last:
                at = at * lanes + lane
            window = ()
            for i in tl.static_range(8):
                window = window + (  # noqa: RUF005 (Triton knows no unpacking)
                    recall(records, at, covered, i, record_size, value, tile),
                )
            total += tl.where(covered, gradient(value, window, ruler(window[0], tile), tile), 0.0)
    at = output_offset(plane, d, h, r, vector, channels, dx_strides, tile.align[-1], tile)
    tl.store(dx + at, total, mask=there)


@triton.jit
@no_type_check
def recall(records, at, covered, i: tl.constexpr, record_size, value, tile: tl.constexpr):
    """Return what the records hold for entry i of `gradient`'s window; what they do not hold is not used either."""
    if tile.slots[i] < 0:
        return value
    slot = tl.full((), tile.slots[i], tl.int64) * record_size
    return tl.load(records + slot + at, mask=covered, other=0.0)
