"""Clusters of local descriptors: where a layer that sums them up begins."""

from collections.abc import Iterable

import torch
from jaxtyping import Float32
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.layers.netvlad import unit
from vo3d.retrieval.kmeans import kmeans

SEED = 43  # of the places of descriptors that are clustered, and of the clusters


def cluster_columns(
    maps: Iterable[Tensor], num_clusters: int, points: int, *, seed: int = SEED
) -> tuple[Float32[Tensor, "k d"], Float32[Tensor, "n d"]]:
    """Cluster the columns of the maps of some images, brought to length 1; returns centres and columns, on the CPU.

    Args:
        maps: of one image each, 1 d h w, on any device; read one by one.
        num_clusters: K.
        points: columns that are taken of each image, drawn at random; all where it has no more.
        seed: of the drawing and the clusters.

    Source: Relja/netvlad, `getClusters.m`.

    Raises:
        Vo3dError: there are fewer columns than clusters.
    """
    generator, found = torch.Generator().manual_seed(seed), list[Tensor]()
    for each in maps:
        columns = unit(each[0].flatten(1).mT.float()).cpu()  # n d
        found.append(columns[torch.randperm(len(columns), generator=generator)[:points]])
    columns = torch.cat(found) if found else torch.empty(0, 1)
    if len(columns) < num_clusters:
        raise Vo3dError(
            f"{len(columns)} local descriptors of {len(found)} training images: expected at least {num_clusters}, one "
            "for each cluster; give more or larger images, or fewer clusters"
        )
    return kmeans(columns, num_clusters, seed=seed).centres, columns
