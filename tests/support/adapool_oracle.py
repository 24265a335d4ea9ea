"""The AdaPool family as loops over items, channels, windows and elements, in NumPy float64: slow and literal."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from vo3d import layers

Array = npt.NDArray[np.float64]
Index = tuple[int, ...]
DISTANCES = ("l1", "l2", "linf", "huber")


def output_size(size: Index, kernel: Index, stride: Index, padding: Index, ceil_mode: bool) -> Index:
    """Number of windows along each axis, by the rule of torch's pooling."""
    counts = []
    for extent, k, s, p in zip(size, kernel, stride, padding, strict=True):
        starts = [start - p for start in range(0, extent + 2 * p, s)]
        whole = [start for start in starts if start + k <= extent + p]
        partial = [start for start in starts if start < extent and start - s + k < extent + p]
        counts.append(len(partial if ceil_mode else whole))
    return tuple(counts)


def windows(
    size: Index, kernel: Index, stride: Index, padding: Index, ceil_mode: bool = False
) -> Iterator[tuple[Index, list[tuple[Index, Index]]]]:
    """Each output position with its (offset in the window, position in the input) pairs; padding has no pairs."""
    for position in product(*map(range, output_size(size, kernel, stride, padding, ceil_mode))):
        pairs = []
        for offset in product(*map(range, kernel)):
            source = tuple(q * s - p + o for q, s, p, o in zip(position, stride, padding, offset, strict=True))
            if all(0 <= i < extent for i, extent in zip(source, size, strict=True)):
                pairs.append((offset, source))
        yield position, pairs


def dsc(a: Array, m: Array) -> float:
    below = float(np.dot(a, a) + np.dot(m, m))
    return 1.0 if below == 0 else 2 * abs(float(np.dot(a, m))) / below


def cosine(a: Array, m: Array) -> float:
    return float(np.dot(a, m)) / (float(np.linalg.norm(a)) * float(np.linalg.norm(m)))


def pce(a: Array, m: Array) -> float:
    """Energy of the circular correlation's value at no shift, as a share of the energy at all shifts."""
    energies = [float(np.dot(a, np.roll(m, shift))) ** 2 for shift in range(len(a))]
    return 1.0 if sum(energies) == 0 else energies[0] / sum(energies)


def distance(name: str, a: Array, m: Array) -> float:
    t = np.abs(a - m).astype(np.longdouble)  # for the difference of Huber's distance, which cancels
    if name == "l1":
        return float(t.sum())
    if name == "l2":
        return float(np.sqrt((t * t).sum()))
    if name == "linf":
        return float(t.max())
    return float((np.sqrt(1 + t * t) - 1).sum())  # huber


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [np.exp(score - top) for score in scores]
    return [float(power / sum(powers)) for power in powers]


def smooth_weights(name: str, vectors: list[Array]) -> list[float]:
    """Weights of a window's elements, each a vector over channels (of length 1 by element), sum 1."""
    mean = sum(vectors, np.zeros_like(vectors[0])) / len(vectors)
    if name not in DISTANCES:
        score: Callable[[Array, Array], float] = {"dsc": dsc, "cosine": cosine, "pce": pce}[name]
        return softmax([score(a, mean) for a in vectors])
    distances = [distance(name, a, mean) for a in vectors]
    if min(distances) == 0:
        return [float(d == 0) / distances.count(0.0) for d in distances]
    inverses = [1 / d for d in distances]
    return [inverse / sum(inverses) for inverse in inverses]


def weights(
    x: Array,
    kernel: Index,
    stride: Index,
    padding: Index,
    similarity: str | None = "dsc",
    over_channels: bool = False,
    ceil_mode: bool = False,
) -> Array:
    """Weight of each element of each window (B, C, *output, *kernel); EM where similarity is None; 0 in padding."""
    batch, channels, *size = x.shape
    out = output_size(tuple(size), kernel, stride, padding, ceil_mode)
    result = np.zeros((batch, channels, *out, *kernel))
    for b in range(batch):
        for position, pairs in windows(tuple(size), kernel, stride, padding, ceil_mode):
            vectors = [x[(b, slice(None), *source)] for _, source in pairs]
            shared = smooth_weights(similarity, vectors) if similarity and over_channels else None
            for c in range(channels):
                if similarity is None:
                    values = softmax([float(vector[c]) for vector in vectors])
                else:
                    values = shared or smooth_weights(similarity, [vector[c : c + 1] for vector in vectors])
                for (offset, _), value in zip(pairs, values, strict=True):
                    result[(b, c, *position, *offset)] = value
    return result


def fuse(smooth: Array, em: Array, beta: Array | float, dims: int) -> Array:
    """The weights beta * smooth + (1 - beta) * em, beta of the size of the output or a number."""
    b = np.asarray(beta)
    if b.ndim:
        b = b.reshape(*b.shape, *(1,) * dims)
    return b * smooth + (1 - b) * em


def apply(x: Array, w: Array, kernel: Index, stride: Index, padding: Index, ceil_mode: bool = False) -> Array:
    """The weighted sum of each window: (B, C, *output)."""
    size = x.shape[2:]
    y = np.zeros(w.shape[: x.ndim])
    for b, c in product(*map(range, x.shape[:2])):
        for position, pairs in windows(size, kernel, stride, padding, ceil_mode):
            y[(b, c, *position)] = sum(w[(b, c, *position, *offset)] * x[(b, c, *source)] for offset, source in pairs)
    return y


def spread(
    y: Array, w: Array, size: Index, kernel: Index, stride: Index, padding: Index, ceil_mode: bool = False
) -> Array:
    """Each window's value times its weights, summed where windows overlap: straight-through gradient and unpooling."""
    x = np.zeros((*y.shape[:2], *size))
    for b, c in product(*map(range, y.shape[:2])):
        for position, pairs in windows(size, kernel, stride, padding, ceil_mode):
            for offset, source in pairs:
                x[(b, c, *source)] += w[(b, c, *position, *offset)] * y[(b, c, *position)]
    return x


def side_by_side(w: Array, kernel: Index) -> Array:
    """Weights (B, C, *output, *kernel) as the mask (B, C, k*output): windows beside each other."""
    dims = len(kernel)
    out = w.shape[2 : 2 + dims]
    mask = np.zeros((*w.shape[:2], *(k * o for k, o in zip(kernel, out, strict=True))))
    for position in product(*map(range, out)):
        for offset in product(*map(range, kernel)):
            place = tuple(p * k + o for p, k, o in zip(position, kernel, offset, strict=True))
            mask[(slice(None), slice(None), *place)] = w[(slice(None), slice(None), *position, *offset)]
    return mask


def pool(
    x: Array,
    kernel: Index,
    stride: Index | None = None,
    padding: Index | None = None,
    *,
    similarity: str | None = "dsc",
    beta: Array | float = 1.0,
    over_channels: bool = False,
    ceil_mode: bool = False,
) -> Array:
    """Beta 1: the smooth average alone; beta 0 or similarity None: EM alone; else AdaPool."""
    stride, padding = stride or kernel, padding or (0,) * len(kernel)
    em = weights(x, kernel, stride, padding, None, ceil_mode=ceil_mode)
    smooth = weights(x, kernel, stride, padding, similarity, over_channels, ceil_mode)
    return apply(x, fuse(smooth, em, beta, len(kernel)), kernel, stride, padding, ceil_mode)


def finite_difference(function: Callable[[Array], float], x: Array, step: float = 1e-5) -> Array:
    """The gradient of a scalar function by central differences, one element at a time."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        above, below = np.array(x), np.array(x)
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient


class Operator(NamedTuple):
    """One member of the family: its name, what makes its weights, and whether that is shared by the channels."""

    name: str
    similarity: str | None = None
    over_channels: bool = False

    @property
    def beta(self) -> float | None:
        """What the loops take as beta when the operator takes none."""
        return {"em": 0.0, "ada": None}.get(self.name, 1.0)

    def __call__(
        self,
        x: torch.Tensor,
        kernel: int | Index,
        beta: torch.Tensor | float = 0.3,
        dims: int | None = None,
        **options: Any,
    ) -> Any:
        """The toolkit's function of that name, for as many axes as the kernel has."""
        pool = getattr(layers, f"{self.name}pool{dims or (len(kernel) if isinstance(kernel, tuple) else 2)}d")
        if self.similarity is not None:
            options |= {
                "similarity": self.similarity,
                "similarity_over": "channel" if self.over_channels else "element",
            }
        return pool(x, beta, kernel, **options) if self.name == "ada" else pool(x, kernel, **options)


EM, EDSCW, IDW, ADA = Operator("em"), Operator("edscw", "dsc"), Operator("idw", "l1"), Operator("ada", "dsc")
FOUR = (EM, EDSCW, IDW, ADA)
ALL = (
    *FOUR,
    *(Operator("idw", name) for name in ("l2", "linf", "huber")),
    *(Operator("edscw", name, True) for name in ("dsc", "cosine", "pce")),
    *(Operator("idw", name, True) for name in DISTANCES),
    Operator("ada", "dsc", True),
    Operator("ada", "huber"),
)
