"""Convolution, normalisation, rectifier: the block that stereo networks are built of; and its folded form."""

import copy
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

Norm = Literal["batch", "group"]
Network = TypeVar("Network", bound=nn.Module)
_CONVOLUTIONS = {
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}
_BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ConvBlock(nn.Module):
    """relu(norm(W * x)): a convolution without bias over 2 or 3 axes, zero-padded so that stride 1 keeps the size.

    Stride s gives ceil(n / s) values, the i-th centred on input s i. A `transposed` block undoes that: it gives s n
    values, or as many as `size` says.

    Args:
        in_channels, out_channels: of the maps.
        axes: 2 for maps, 3 for volumes.
        kernel_size: odd.
        stride: of the convolution.
        transposed: a transposed convolution, which enlarges.
        norm: batch normalisation, or group normalisation with 8 channels to a group.
        relu: whether to rectify.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        axes: int = 2,
        kernel_size: int = 3,
        stride: int = 1,
        transposed: bool = False,
        norm: Norm = "batch",
        relu: bool = True,
    ) -> None:
        super().__init__()
        options = {"stride": stride, "padding": kernel_size // 2, "bias": False}
        self.conv = _CONVOLUTIONS[axes, transposed](in_channels, out_channels, kernel_size, **options)
        self.norm: nn.Module = (
            _BATCH_NORMS[axes](out_channels)
            if norm == "batch"
            else nn.GroupNorm(max(1, out_channels // 8), out_channels)
        )
        self.relu = relu

    def forward(self, x: Float[Tensor, "b c *n"], size: Sequence[int] | None = None) -> Float[Tensor, "b k *m"]:
        """Transform maps or volumes; `size` is that of the result of a transposed block."""
        if isinstance(self.conv, nn.ConvTranspose2d | nn.ConvTranspose3d):
            wanted = [self.conv.stride[0] * n for n in x.shape[2:]] if size is None else list(size)
            y = self.norm(self.conv(x, output_size=wanted))
        else:
            y = self.norm(self.conv(x))
        return functional.relu_(y) if self.relu else y


@torch.no_grad()
def folded(module: Network) -> Network:
    """Copy a network for inference, with batch normalisation, by its stored statistics, made part of the convolutions.

    The values are those of evaluation mode to rounding; a pass over every map, and its memory, is saved.
    """
    module = copy.deepcopy(module).eval()
    for block in module.modules():
        if isinstance(block, ConvBlock) and isinstance(block.norm, nn.BatchNorm2d | nn.BatchNorm3d):
            transposed = isinstance(block.conv, nn.ConvTranspose2d | nn.ConvTranspose3d)
            block.conv = fuse_conv_bn_eval(block.conv, block.norm, transpose=transposed)
            block.norm = nn.Identity()
    return module
