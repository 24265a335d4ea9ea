"""The NetVLAD layer: local descriptors of an image, summed up as their distances from the centres of clusters.

Source: R. Arandjelovic, P. Gronat, A. Torii, T. Pajdla, J. Sivic, "NetVLAD: CNN architecture for weakly supervised
place recognition", CVPR 2016, section 3; its release Relja/netvlad (versions 1 and 2, initialisation, epsilons).
"""

from math import log
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.geometry.precision import full_precision

Version = Literal[1, 2]
EPS = 1e-12  # added to sums of squares before their roots
RATIO = 100.0  # of the two largest assignments of a descriptor after initialisation, on average


def unit(x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
    """Compute x / sqrt(sum x^2 + 1e-12) along the last axis, as the release does: zeros stay zeros."""
    return x * (x.square().sum(-1, keepdim=True) + EPS).rsqrt()


class NetVLADPool(nn.Module):
    """Describes maps by V_k = sum_i a_k(x_i) (x_i - c_k) over all places i, each V_k and then all together of length 1.

    The x_i are the maps' columns, of length 1; a = softmax(W x + b) tells how much x_i belongs to each of the K
    clusters. `assignment.weight` W (K d), `assignment.bias` b (K) and `centres` c (K d) are learnt apart from each
    other. What is stored beside the maps does not grow with K d n: V = (a r) X^T - (sum a) C, where r are the inverse
    lengths of the columns of the maps X as they come.

    Args:
        dim: channels d of the maps.
        num_clusters: K, at least 2.
        version: 1 without b, as in all experiments of the authors; 2 with b, so that a = softmax(-alpha |x - c|^2) at
            the start.

    Raises:
        Vo3dError: there are fewer than 2 clusters, or the version is neither.
    """

    def __init__(self, dim: int, num_clusters: int = 64, version: Version = 1) -> None:
        super().__init__()
        if num_clusters < 2 or version not in (1, 2):
            raise Vo3dError(
                f"num_clusters {num_clusters}, version {version}: expected at least 2 clusters, version 1 or 2"
            )
        self.dim, self.num_clusters, self.version = dim, num_clusters, version
        self.out_channels = num_clusters * dim
        self.assignment = nn.Linear(dim, num_clusters, bias=version == 2)
        self.centres = nn.Parameter(unit(torch.randn(num_clusters, dim)))

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b kd"]:
        """Describe maps of any size by vectors of unit length, cluster after cluster; in float32 under autocast."""
        return self._described(x.flatten(2))

    @full_precision
    def _described(self, x: Float[Tensor, "b d n"]) -> Float[Tensor, "b kd"]:
        """Describe the columns of a matrix."""
        inverse = (torch.linalg.vector_norm(x, dim=1, keepdim=True).square() + EPS).rsqrt()  # b 1 n
        W = self.assignment.weight.expand(len(x), -1, -1)  # b k d: `matmul` of a single matrix would copy x
        logits = (W @ x) * inverse  # b k n
        if self.assignment.bias is not None:
            logits = logits + self.assignment.bias[:, None]
        a = logits.softmax(1)  # b k n
        vlad = (a * inverse) @ x.mT - a.sum(-1, keepdim=True) * self.centres  # b k d
        return unit(unit(vlad).flatten(1))

    @torch.no_grad()
    def initialise(self, centres: Float[Tensor, "k d"], descriptors: Float[Tensor, "n d"]) -> float:
        """Begin at the centres of clusters, with assignments as sharp as suits some descriptors; returns alpha.

        Version 1: W = alpha c / |c|. Version 2: W = 2 alpha c and b = -alpha |c|^2. Alpha makes the logarithm of the
        ratio of a descriptor's two largest assignments ln 100 on average.

        Args:
            centres: of clusters of descriptors of length 1.
            descriptors: such as they come; they are brought to length 1.

        Source: Relja/netvlad, `layerVLAD.m`, `layerVLADv2.m`.

        Raises:
            Vo3dError: shapes do not fit, there is no descriptor, or all are equally far from their two nearest centres.
        """
        if centres.shape != self.centres.shape or descriptors.shape[1:] != (self.dim,) or not len(descriptors):
            raise Vo3dError(
                f"centres {tuple(centres.shape)} and descriptors {tuple(descriptors.shape)}: expected "
                f"({self.num_clusters}, {self.dim}) and at least one of {self.dim} values"
            )
        x, c = unit(descriptors.double()), centres.double()
        direction = unit(c) if self.version == 1 else 2 * c  # k d
        offset = torch.zeros_like(c[:, 0]) if self.version == 1 else -c.square().sum(-1)  # k
        nearest = (x @ direction.mT + offset).topk(2).values  # n 2
        gap = (nearest[:, 0] - nearest[:, 1]).mean().item()
        if not gap > EPS:
            raise Vo3dError(
                f"{len(descriptors)} descriptors are on average {gap:.2g} nearer to one centre than to the next: "
                "expected some difference; take images that are not all alike, or fewer clusters"
            )
        alpha = log(RATIO) / gap
        self.centres.copy_(c)
        self.assignment.weight.copy_(alpha * direction)
        if self.version == 2:
            self.assignment.bias.copy_(alpha * offset)
        return alpha
