"""Descriptors of fewer values, of equal variance: a linear map that is found, not learnt."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.geometry.precision import full_precision
from vo3d.layers.netvlad import unit


class Whitening(nn.Module):
    """Computes W x + b, of length 1; two buffers, `weight` (n c) and `bias` (n), which are zero until they are set.

    Args:
        before: values c of a descriptor.
        after: values n after whitening.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(after, before))
        self.register_buffer("bias", torch.zeros(after))

    @property
    def known(self) -> bool:
        """Tell whether the map was set."""
        return bool(self.weight[0].any())  # a whitening has no row of zeros

    def forget(self) -> None:
        """Be as before the map was set."""
        self.weight.zero_()
        self.bias.zero_()

    @full_precision
    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b n"]:
        """Whiten descriptors."""
        return unit(x @ self.weight.mT + self.bias)
