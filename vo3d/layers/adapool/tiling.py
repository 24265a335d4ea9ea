"""How the Triton kernels share out their work: what a program owns, for which a kernel is compiled."""

from collections.abc import Sequence
from math import gcd, prod
from typing import NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from vo3d.layers.adapool.windows import channels_last

THREADS = 128
PROGRAMS = 4096  # enough for several waves on a large GPU; more would only repeat what a program does once
VECTOR_BYTES = 16  # what a thread loads at once
UNROLLED = 32  # steps of a pass over a window; longer passes are loops
SMALL = 2**19  # an axis of fewer positions may be divided in floating point

# What backward knows of a window: its mean, the gradient times what normalises the smooth weights, the least distance;
# its largest value, the gradient times what normalises EM's weights; both averages, from the mean or 0 and from the
# largest value; and what the mean's motion gives each element. Where windows overlap, what is needed of it is kept for
# the gather.
WINDOW = ("mean", "to_smooth", "nearest", "top", "to_em", "lean", "lean_em", "by_mean")


class Windows(NamedTuple):
    """Where windows lie, over the axes d, h, w; missing axes come first and have size 1."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    size: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def overlap(self) -> bool:
        """Tell whether windows share elements."""
        return any(k > s and o > 1 for k, s, o in zip(self.kernel, self.stride, self.out, strict=True))

    @property
    def gaps(self) -> bool:
        """Tell whether elements lie between windows."""
        return any(k < s and o > 1 for k, s, o in zip(self.kernel, self.stride, self.out, strict=True))

    @property
    def ends(self) -> tuple[int, ...]:
        """One past the last element of the last window."""
        axes = zip(self.kernel, self.stride, self.padding, self.out, strict=True)
        return tuple((o - 1) * s - p + k for k, s, p, o in axes)

    @property
    def overhang(self) -> bool:
        """Tell whether a window reaches beyond the input."""
        return any(self.padding) or any(end > size for end, size in zip(self.ends, self.size, strict=True))

    @property
    def reach(self) -> tuple[int, ...]:
        """Count the most windows that cover an element."""
        return tuple(-(-k // s) for k, s in zip(self.kernel, self.stride, strict=True))


class Tile(NamedTuple):
    """What a kernel is compiled for; sizes over d, h, w."""

    similarity: str
    ruled: bool  # weights are inverse distances
    em: bool
    exact: bool
    nan_to_zero: bool
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    reach: tuple[int, ...]
    lanes: int  # outputs of a vector
    run: int  # columns of a window that a vector of inputs holds
    planes: int  # of a program at a time
    vectors: int  # of each of these planes
    outer: int  # looped and ...
    inner: int  # ... unrolled steps of a pass over a window, or over the windows of an element
    channels_last: bool
    batched: bool  # batch and channels do not merge into one stride
    deep: bool  # more than one position along d
    long: bool  # numbers of positions are not SMALL
    full: bool  # rows are whole vectors
    overhang: bool
    overlap: bool
    align: tuple[int, ...]  # numbers of elements that offsets are multiples of, for each tensor
    slots: tuple[int, ...]  # where records keep each of WINDOW; -1: nowhere
    narrow: bool  # values as small and as large as those of float16 need no scaling
    dtype: tl.dtype  # computed in


class Launch(NamedTuple):
    """How a kernel is started."""

    tile: Tile
    strides: tuple[tuple[int, ...], ...]  # of each tensor: batch, plane, d, h, r, lane
    sizes: tuple[int, ...]  # positions d, h, r; vectors of a row
    counts: tuple[int, ...]  # lanes of a row, planes, channels, blocks of positions, steps over planes
    programs: int


def plan(
    windows: Windows,
    tensors: Sequence[Tensor],
    similarity: str,
    *,
    blend: bool,
    nan_to_num: bool = False,
    exact: bool = False,
    over_inputs: bool = False,
    by_columns: bool = False,
) -> Launch:
    """Lay programs over the windows, or over the inputs.

    `tensors` are x, one of the output's size (over inputs: any), and others that are read or written like x. Lanes are
    channels where x has them last, unless `by_columns`.
    """
    x, name = tensors[0], {"l2": "l1", "linf": "l1"}.get(similarity, similarity)  # of numbers these are the same
    last = channels_last(x) and not by_columns
    depth, height, width = windows.size if over_inputs else windows.out
    lanes, r = (x.shape[1], width) if last else (width, 1)
    batched = not last and not all(_planes_merge(t) for t in tensors)
    strides = [_strides(t, last, batched) for t in tensors]

    vector = max(1, VECTOR_BYTES // x.element_size())
    like_x = (strides[0], *strides[2:])
    run = 1 if last or over_inputs else _run(windows, like_x)
    of_vector = _lanes_of_vector(lanes, max(1, vector // run))
    row = -(-lanes // of_vector)
    n = prod(windows.kernel)
    passes = prod(windows.reach) if over_inputs else n // run
    most = 4 if over_inputs else UNROLLED if passes <= UNROLLED else 8
    inner = max(i for i in range(1, most + 1) if passes % i == 0)

    in_plane, planes = depth * height * r * row, x.shape[0] * (1 if last else x.shape[1])
    # The windows of a thread stay in registers: large ones are fewer.
    outputs = 4 if over_inputs else of_vector if n <= 8 else 2 if n <= 16 else 1
    per_plane, per_step = _vectors(in_plane, planes, max(1, THREADS * outputs // of_vector))
    blocks, of_planes = -(-in_plane // per_plane), -(-planes // per_step)
    steps = 1 if over_inputs else min(8, max(1, blocks * of_planes // PROGRAMS))

    smooth, em = name != "", blend or name == ""
    ruled = name in ("l1", "huber")
    needed = (smooth, smooth, ruled, em, em, smooth and exact, em and exact, smooth and exact)
    slots = tuple(sum(needed[:i]) if needed[i] else -1 for i in range(len(WINDOW)))
    step = of_vector * run if run > 1 or last or over_inputs else of_vector * windows.stride[2]
    inputs = gcd(vector, step, 0 if last or over_inputs else windows.padding[2])
    align = tuple(
        1 if t[5] != 1 else gcd(vector, of_vector, *t[:5]) if i == 1 and not over_inputs else gcd(inputs, *t[:5])
        for i, t in enumerate(strides)
    )
    tile = Tile(
        similarity=name,
        ruled=ruled,
        em=em,
        exact=exact,
        nan_to_zero=nan_to_num,
        kernel=windows.kernel,
        stride=windows.stride,
        padding=windows.padding,
        reach=windows.reach,
        lanes=of_vector,
        run=run,
        planes=per_step,
        vectors=per_plane,
        outer=passes // inner,
        inner=inner,
        channels_last=last,
        batched=batched,
        deep=depth > 1,
        long=max(depth, height, r, row) >= SMALL,
        full=lanes % of_vector == 0,
        overhang=windows.overhang,
        overlap=windows.overlap,
        align=align,
        slots=slots,
        narrow=x.dtype == torch.float16,
        dtype=tl.float64 if x.dtype == torch.float64 else tl.float32,
    )
    counts = (lanes, planes, x.shape[1], blocks, steps)
    return Launch(tile, tuple(strides), (depth, height, r, row), counts, blocks * -(-of_planes // steps))


def _planes_merge(t: Tensor) -> bool:
    """Tell whether one stride leads through batch and channels."""
    return 1 in t.shape[:2] or t.stride(0) == t.shape[1] * t.stride(1)


def _strides(t: Tensor, last: bool, batched: bool) -> tuple[int, ...]:
    """Give those of batch, plane, d, h, r, lane; 0 where there is but one, since torch lets that be anything."""
    batch, channel, *spatial = (0 if n == 1 else stride for n, stride in zip(t.shape, t.stride(), strict=True))
    d, h, w = (*(0,) * (3 - len(spatial)), *spatial)
    if last:
        return 0, batch, d, h, w, channel
    return (batch if batched else 0), (channel if batched or t.shape[1] > 1 else batch), d, h, 0, w


def _run(windows: Windows, strides: Sequence[Sequence[int]]) -> int:
    """Count columns of a window to load at once: all, where windows lie side by side, at multiples of these."""
    k, padding = windows.kernel[2], windows.padding[2]
    beside = k == windows.stride[2] and k in (2, 4, 8, 16) and all(t[5] == 1 for t in strides)
    return k if beside and gcd(padding, *(step for t in strides for step in t[:5])) % k == 0 else 1


def _lanes_of_vector(lanes: int, widest: int) -> int:
    """Find a power of two that divides the row if any does: a row of whole vectors needs no mask inside of them."""
    whole = gcd(lanes, widest)
    return whole if whole > 1 else min(widest, _power_of_two(lanes))


def _vectors(in_plane: int, planes: int, vectors: int) -> tuple[int, int]:
    """Choose vectors of a plane, and planes, that a program owns at a time: powers of two that leave fewest idle.

    At least 8 vectors of a plane, where there are so many, and up to 32, since these lie together in memory.
    """
    vectors = min(vectors, _power_of_two(in_plane) * _power_of_two(planes))
    least = min(8, _power_of_two(in_plane), vectors)
    choices = [2**i for i in range(12) if least <= 2**i <= max(least, min(32, vectors))]
    best = min(
        choices, key=lambda own: (-(-in_plane // own) * own * -(-planes // (vectors // own)) * (vectors // own), -own)
    )
    return best, vectors // best


def _power_of_two(n: int) -> int:
    """Find the least power of two that is not below n."""
    return 1 << (n - 1).bit_length()
