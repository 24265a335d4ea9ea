"""Clusters of vectors by k-means."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.precision import full_precision

VALUES = 2**22  # numbers of vectors that are looked at at once


@dataclass(frozen=True, eq=False)
class Clusters:
    """The centres of clusters, and the nearest one of each vector."""

    centres: Float32[Tensor, "k c"]
    nearest: Int64[Tensor, " n"]
    iterations: int  # until nothing changed any more, or as many as were allowed


def kmeans(vectors: Float[Tensor, "n c"], num_clusters: int, *, iterations: int = 100, seed: int = 43) -> Clusters:
    """Find the centres of clusters, from `num_clusters` vectors on that are drawn far from each other (k-means++).

    An iteration assigns vectors to their nearest centres, and moves each centre to the mean of its vectors (Lloyd). A
    cluster without vectors starts anew from the vector that is farthest from its centre; where there are fewer distinct
    vectors than clusters, some stay empty. The sum of squared distances never rises. Memory beside the vectors: some
    ten megabytes. The same seed gives the same clusters, on the device of the vectors.

    Source: S. Lloyd, Least squares quantization in PCM, 1982; D. Arthur and S. Vassilvitskii, k-means++, 2007.

    Raises:
        Vo3dError: there are fewer vectors than clusters, a number is NaN or infinite, or a count is not positive.
    """
    if num_clusters < 1 or iterations < 1:
        raise Vo3dError(f"{num_clusters} clusters in {iterations} iterations: expected at least 1 of both")
    if len(vectors) < num_clusters:
        raise Vo3dError(
            f"{len(vectors)} descriptors for {num_clusters} clusters: expected at least as many: take more images, or "
            "fewer clusters"
        )
    if not all(bool(part.isfinite().all()) for _, part in _parts(vectors)):
        raise Vo3dError("descriptors to cluster are NaN or infinite: expected numbers")
    centres = _start(vectors, num_clusters, torch.Generator().manual_seed(seed))
    nearest = torch.full((len(vectors),), -1, device=vectors.device)
    for iteration in range(iterations):
        before, nearest = nearest, _assign(vectors, centres)
        if torch.equal(before, nearest):
            return Clusters(centres, nearest, iteration)
        centres = _means(vectors, centres, nearest)
    return Clusters(centres, _assign(vectors, centres), iterations)


def _parts(vectors: Float[Tensor, "n c"]) -> Iterator[tuple[slice, Float32[Tensor, "m c"]]]:
    """Yield vectors in float32, and where they stand."""
    most = max(1, VALUES // max(1, vectors.shape[1]))
    for first in range(0, len(vectors), most):
        part = slice(first, first + most)
        yield part, vectors[part].float()


def _squared(
    vectors: Float[Tensor, "n c"], centres: Float32[Tensor, "k c"], nearest: Int64[Tensor, " n"]
) -> Float32[Tensor, " n"]:
    """Compute the squared distance of each vector to its centre, by differences: exactly 0 of equal ones."""
    return torch.cat([(part - centres[nearest[where]]).square_().sum(1) for where, part in _parts(vectors)])


def _start(vectors: Float[Tensor, "n c"], num: int, generator: torch.Generator) -> Float32[Tensor, "k c"]:
    """Draw vectors, each with a probability that grows with its squared distance to those drawn before."""
    chosen = [int(torch.randint(len(vectors), (), generator=generator))]
    nothing = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    least = torch.full((len(vectors),), torch.inf, device=vectors.device)
    for _ in range(1, num):
        least = least.minimum(_squared(vectors, vectors[chosen[-1:]].float(), nothing))
        total = least.double().cumsum(0)
        draw = torch.rand((), generator=generator, dtype=torch.float64).to(total.device) * total[-1]
        # right: a vector at distance 0 adds nothing to the sum, and is passed over
        chosen.append(min(int(torch.searchsorted(total, draw, right=True)), len(vectors) - 1))
    return vectors[chosen].float()


def _assign(vectors: Float[Tensor, "n c"], centres: Float32[Tensor, "k c"]) -> Int64[Tensor, " n"]:
    """Find the nearest centre of each vector; of equal ones the first."""
    return torch.cat([_nearest(part, centres) for _, part in _parts(vectors)])


@full_precision
def _nearest(part: Float32[Tensor, "m c"], centres: Float32[Tensor, "k c"]) -> Int64[Tensor, " m"]:
    middle = centres.mean(0)  # differences from it: products of large numbers would round away small distances
    moved = centres - middle
    return (moved.square().sum(1) - 2 * (part - middle) @ moved.T).argmin(1)


def _means(
    vectors: Float[Tensor, "n c"], centres: Float32[Tensor, "k c"], nearest: Int64[Tensor, " n"]
) -> Float32[Tensor, "k c"]:
    """Compute the means of clusters, summed in float64; empty ones get the vectors that are farthest from theirs."""
    sums = torch.zeros(centres.shape, dtype=torch.float64, device=centres.device)
    for where, part in _parts(vectors):
        sums.index_add_(0, nearest[where], part.double())
    counts = nearest.bincount(minlength=len(centres))
    means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres.double()).float()
    if empty := (counts == 0).nonzero()[:, 0].tolist():
        far = _squared(vectors, means, nearest).topk(len(empty))
        for cluster, row, squared in zip(empty, far.indices.tolist(), far.values.tolist(), strict=True):
            if squared > 0:
                means[cluster] = vectors[row].float()
    return means
