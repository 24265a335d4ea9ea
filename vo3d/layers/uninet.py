"""The feature network of MVSNet: eight convolutions from an image to 32 channels at a quarter of its size."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.layers.conv_block import ConvBlock, Norm
from vo3d.layers.downsampling import Pool, pooling_layer

# name, input and output channels, kernel, stride
LAYERS = (
    ("conv0", 3, 8, 3, 1),
    ("conv1", 8, 8, 3, 1),
    ("conv2", 8, 16, 5, 2),
    ("conv3", 16, 16, 3, 1),
    ("conv4", 16, 16, 3, 1),
    ("conv5", 16, 32, 5, 2),
    ("conv6", 32, 32, 3, 1),
)
CHANNELS = 32
STRIDE = 4


class UniNet(nn.Module):
    """Features of a view, at every fourth pixel: feature (x, y) is centred on pixel (4 x, 4 y), for any image size.

    Seven blocks of convolution, normalisation and rectifier, then one plain convolution. With a `pool` other than
    "stride" the two convolutions that would halve keep the size, and windows of 3 x 3 with their centres on every other
    pixel are pooled after the rectifier.

    Source: Yao et al., "MVSNet", ECCV 2018; with group normalisation as in "R-MVSNet", CVPR 2019.

    Args:
        out_bias: whether the last convolution has a bias: in the widely used port, not in the authors' code.
        norm: "batch" or "group", see `vo3d.layers.conv_block`.
        pool: what halves the maps, see `vo3d.layers.downsampling`.

    Raises:
        Vo3dError: `pool` is unknown.
    """

    def __init__(self, *, out_bias: bool = True, norm: Norm = "batch", pool: Pool = "stride") -> None:
        super().__init__()
        for name, in_channels, out_channels, kernel_size, stride in LAYERS:
            pooled = stride > 1 and pool != "stride"
            step = 1 if pooled else stride
            block = ConvBlock(in_channels, out_channels, kernel_size=kernel_size, stride=step, norm=norm)
            self.add_module(name, block)
            if pooled:
                self.add_module(f"{name}_pool", pooling_layer(pool, kernel_size=3, stride=stride, padding=1))
        self.feature = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=out_bias)
        # faster on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 32 rows columns"]:
        """Compute the features of images, rows = ceil(h / 4), columns = ceil(w / 4)."""
        features = image
        for layer in self.children():
            features = layer(features)
        return features
