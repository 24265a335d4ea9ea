"""Bilinear pooling: how the channels of a map go together, whatever its size."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-12  # of the root's argument and of the norm: no gradient is larger than 1 / (2 sqrt(EPS))


class BilinearPool2d(nn.Module):
    """Products of all pairs of channels, averaged over the positions, rooted with their signs, scaled to length 1.

    y = sum_p x_p x_p^T / (h w), then sign(y) sqrt(|y|), then y / ||y||, for every map of a batch; two maps of equal
    size give the products of each channel of the one with each of the other. The root is sign(y) (sqrt(|y| + eps) -
    sqrt(eps)) with eps = 1e-12, whose derivative at 0 is finite; an empty map (all zeros) gives zeros.

    Source: Lin, RoyChowdhury and Maji, "Bilinear CNN models for fine-grained visual recognition", ICCV 2015,
    section 3, with a mean in place of the sum, which the scaling makes equal.
    """

    def forward(
        self, x: Float[Tensor, "b c h w"], other: Float[Tensor, "b k h w"] | None = None
    ) -> Float[Tensor, "b products"]:
        """Compute the descriptor (b c*c, or c*k of two maps) of each map: product i, j is at i * k + j."""
        x, other = x.flatten(2), (x if other is None else other).flatten(2)  # b c n, b k n
        mean = torch.einsum("bin,bjn->bij", x, other) / x.shape[-1]  # b c k
        rooted = mean.sign() * ((mean.abs() + EPS).sqrt() - EPS**0.5)
        return functional.normalize(rooted.flatten(1), eps=EPS)
