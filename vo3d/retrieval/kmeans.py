"""Clusters of vectors by k-means."""

from dataclasses import dataclass

from jaxtyping import Float, Float32, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Clusters:
    """The centres of clusters, and the nearest one of each vector."""

    centres: Float32[Tensor, "k c"]
    nearest: Int64[Tensor, " n"]
    iterations: int  # until nothing changed any more, or as many as were allowed


def kmeans(vectors: Float[Tensor, "n c"], num_clusters: int, *, iterations: int = 100, seed: int = 43) -> Clusters:
    """Find the centres of clusters, from `num_clusters` vectors on that are drawn far from each other (k-means++).

    Raises:
        Vo3dError: there are fewer vectors than clusters, or a number is NaN or infinite.
    """
    raise NotImplementedError
