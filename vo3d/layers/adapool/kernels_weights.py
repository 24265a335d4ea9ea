"""What the Triton kernels compute of a window: the mathematics of formula.py and its derivatives.

Every pass over a window reads it anew; the compiler merges the loads of unrolled passes, and the window stays in
registers. `window` is a tuple of what WINDOW in tiling.py names.
"""

from typing import no_type_check

import triton
import triton.language as tl

from vo3d.layers.adapool.kernels_places import mean_of, read, without_nan

LOG2E = tl.constexpr(1.4426950408889634)
HALF_LN2 = tl.constexpr(0.34657359027997264)
HALF_LN2_SQUARED = tl.constexpr(0.12011325347955035)


@triton.jit
@no_type_check
def ruler(mean, tile: tl.constexpr):
    """Measure elements against their mean: a factor for |x| in two parts, and what is added (all like the mean).

    For "dsc" the ratio t = |x / mean|, times ln(2)/2; 0/0 counts as 1.
    """
    size = tl.abs(mean)
    zero = tl.where(size == 0, HALF_LN2, 0.0).to(tile.dtype)
    if tile.narrow:
        return tl.where(size == 0, 1e18, tl.rsqrt(size * size) * HALF_LN2).to(tile.dtype), zero, zero
    scale = tl.where(size < 1e-18, 1e24, 1.0).to(tile.dtype)  # the inverse of a denormal number overflows
    return tl.where(size == 0, 1e30, HALF_LN2 / (size * scale)).to(tile.dtype), zero, scale


@triton.jit
@no_type_check
def per_window(known):
    """Each (v, lanes) as (v, lanes, 1)."""
    apart = ()
    for i in tl.static_range(len(known)):
        apart = apart + (known[i][:, :, None],)  # noqa: RUF005 (Triton knows no unpacking)
    return apart


@triton.jit
@no_type_check
def ratio(x, unit, tile: tl.constexpr):
    """|x / mean| ln(2)/2, with the mean's `ruler`."""
    t = tl.abs(x) if tile.narrow else tl.abs(x) * unit[2]
    t = t * unit[0] + unit[1]
    # Above 1e15 the similarity is 0 to all digits, and far above the square overflows.
    return t if tile.narrow else tl.minimum(t, 1e15, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
@no_type_check
def distance(x, mean, tile: tl.constexpr):
    """Distance of elements from their mean."""
    t = tl.abs(x - mean)
    if tile.similarity == "huber":
        # sqrt(1 + t^2) - 1 without cancellation; far out it is t - 1, where the square could overflow.
        near = tl.minimum(t, 1e9, propagate_nan=tl.PropagateNan.ALL)
        return tl.where(t < 1e9, near * (near / (tl.sqrt(1.0 + near * near) + 1.0)), t)
    return t


@triton.jit
@no_type_check
def likeness(x, mean, unit, nearest, tile: tl.constexpr):
    """Weight of elements in the smooth average, before it is normalised.

    "dsc": exp(2 t / (1 + t^2)), t = |x / mean|. One root and one power: with u = t ln(2)/2 that is
    2^(u / (u^2 + (ln(2)/2)^2)). Else: nearest / distance, nearest being the least distance of the window.
    """
    if tile.similarity == "dsc":
        t = ratio(x, unit, tile)
        root = tl.rsqrt(t * t + HALF_LN2_SQUARED)
        return tl.exp2(t * root * root)
    away = distance(x, mean, tile)
    return tl.where(away == 0, 1.0, nearest / away)


@triton.jit
@no_type_check
def above_origin(x, mean, tile: tl.constexpr):
    """`x` from where the smooth average is counted: with distances from the mean, near which weights are steep."""
    return x if tile.similarity == "dsc" else x - mean


@triton.jit
@no_type_check
def slopes(x, mean, unit, tile: tl.constexpr):
    """Derivatives of log(likeness) with respect to the element and to the mean; 0 where there is a kink."""
    if tile.similarity == "dsc":
        t = ratio(x, unit, tile) * (1.0 / HALF_LN2)
        root = tl.rsqrt(t * t + 1.0)
        cosine = root * root
        inverse = unit[0] * (unit[2] if not tile.narrow else 1.0) * (1.0 / HALF_LN2)  # of |mean|
        steep = tl.where(mean == 0, 0.0, 2.0 * cosine * (2.0 * cosine - 1.0) * inverse)
        by_x = tl.where(x > 0, steep, tl.where(x < 0, -steep, 0.0))
        by_mean = tl.where(mean > 0, -t * steep, t * steep)
        return by_x, by_mean
    t = x - mean
    away = tl.where(t == 0, 1.0, t)
    by_x = -1.0 / away
    if tile.similarity == "huber":
        by_x *= 1.0 + tl.rsqrt(1.0 + t * t)
    by_x = tl.where(t == 0, 0.0, by_x)
    return by_x, -by_x


@triton.jit
@no_type_check
def powers(x, top):
    """Weight of elements in EM, before it is normalised."""
    return tl.exp2((x - top) * LOG2E)


@triton.jit
@no_type_check
def inverse(z, tile: tl.constexpr):
    """1 / z for sums of weights, which are neither tiny nor huge: two instructions instead of a division's eight."""
    if tile.dtype == tl.float64:
        return 1.0 / z
    root = tl.rsqrt(z)
    return root * root


@triton.jit
@no_type_check
def nothing(tile: tl.constexpr):
    """-0 (v, lanes, run), for which `full` has no way: adding to it changes nothing, and the compiler leaves it out."""
    v: tl.constexpr = tile.planes * tile.vectors
    return tl.full((v, tile.lanes, tile.run), 0.0, tile.dtype) * -1.0


@triton.jit
@no_type_check
def mean_and_top(source, number, tile: tl.constexpr):
    """Mean and largest value of each window (v, lanes)."""
    total = nothing(tile)
    top, inside = read(tl.full((), 0, tl.int32), source, tile)
    if tile.overhang:
        top = tl.where(inside, top, float("-inf"))
    for outer in tl.range(0, tile.outer):
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            value, inside = read(tl.full((), inner, tl.int32) + outer * tile.inner, source, tile)
            total += value
            if tile.em:
                top = tl.maximum(top, tl.where(inside, value, float("-inf")) if tile.overhang else value)
    return mean_of(tl.sum(total, 2), number, tile), tl.max(top, 2)


@triton.jit
@no_type_check
def least_distance(source, mean, tile: tl.constexpr):
    """Of the elements of each window from its mean (v, lanes)."""
    least = nothing(tile) + float("inf")
    for outer in tl.range(0, tile.outer):
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            value, inside = read(tl.full((), inner, tl.int32) + outer * tile.inner, source, tile)
            away = distance(value, mean[:, :, None], tile)
            least = tl.minimum(least, tl.where(inside, away, float("inf")) if tile.overhang else away)
    return tl.min(least, 2)


@triton.jit
@no_type_check
def statistics(source, number, tile: tl.constexpr):
    """Compute WINDOW's terms of each window (v, lanes) but by_mean, inverse sums as shares; and both averages."""
    mean, top = mean_and_top(source, number, tile)
    nearest = least_distance(source, mean, tile) if tile.ruled else mean
    unit = per_window(ruler(mean, tile))
    z_smooth, sum_smooth, z_em, sum_em = nothing(tile), nothing(tile), nothing(tile), nothing(tile)
    for outer in tl.range(0, tile.outer):
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            value, inside = read(tl.full((), inner, tl.int32) + outer * tile.inner, source, tile)
            if tile.similarity != "":
                weight = likeness(value, mean[:, :, None], unit, nearest[:, :, None], tile)
                weight = tl.where(inside, weight, 0.0) if tile.overhang else weight
                z_smooth += weight
                sum_smooth += weight * above_origin(value, mean[:, :, None], tile)
            if tile.em:
                weight = powers(value, top[:, :, None])
                weight = tl.where(inside, weight, 0.0) if tile.overhang else weight
                z_em += weight
                sum_em += weight * (value - top[:, :, None])
    z_smooth, z_em = tl.sum(z_smooth, 2), tl.sum(z_em, 2)
    if tile.similarity != "" and tile.em:
        both = inverse(z_smooth * z_em, tile)
        z_smooth, z_em = z_em * both, z_smooth * both
    else:
        z_smooth, z_em = inverse(z_smooth, tile), inverse(z_em, tile)
    lean, lean_em = tl.sum(sum_smooth, 2) * z_smooth, tl.sum(sum_em, 2) * z_em
    y_smooth = lean if tile.similarity == "dsc" else mean + lean
    return (mean, z_smooth, nearest, top, z_em, lean, lean_em), y_smooth, top + lean_em


@triton.jit
@no_type_check
def pull_of_mean(source, mean, nearest, lean, unit, tile: tl.constexpr):
    """Sum over each window (v, lanes) of what its weights gain as the mean moves, times what they weigh."""
    pull = nothing(tile)
    for outer in tl.range(0, tile.outer):
        for inner in tl.static_range(tl.constexpr(tile.inner)):
            value, inside = read(tl.full((), inner, tl.int32) + outer * tile.inner, source, tile)
            gain = likeness(value, mean[:, :, None], unit, nearest[:, :, None], tile)
            gain *= above_origin(value, mean[:, :, None], tile) - lean[:, :, None]
            gain *= slopes(value, mean[:, :, None], unit, tile)[1]
            pull += tl.where(inside, gain, 0.0) if tile.overhang else gain
    return tl.sum(pull, 2)


@triton.jit
@no_type_check
def gradient(x, window, unit, tile: tl.constexpr):
    """Of the pooled value to an element x, times the gradient that arrives; `window` has what WINDOW names."""
    mean, to_smooth, nearest, top, to_em, lean, lean_em, by_mean = window
    result = x * 0.0
    if tile.similarity != "":
        result = to_smooth * likeness(x, mean, unit, nearest, tile)
        if tile.exact:
            result = result + result * (above_origin(x, mean, tile) - lean) * slopes(x, mean, unit, tile)[0] + by_mean
    if tile.em:
        share_em = to_em * powers(x, top)
        if tile.exact:
            share_em = share_em * (1.0 + ((x - top) - lean_em))
        result = result + share_em if tile.similarity != "" else share_em
    return without_nan(result, tile)
