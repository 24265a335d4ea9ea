"""A U-Net whose features see most of the image, at a quarter of its size."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.layers.conv_block import ConvBlock
from vo3d.layers.downsampling import Pool, pooling_layer

WIDTHS = (8, 16, 32, 64, 128)  # channels at full size, 1/2, 1/4, 1/8, 1/16
CHANNELS = 32
STRIDE = 4


class UNet2d(nn.Module):
    """Features of a view, at every fourth pixel, from a U-Net at full size (775,928 parameters).

    Every block is a convolution without bias, group normalisation over groups of 8 channels, and a rectifier; the four
    that double have no rectifier, and the last convolution stands alone. Down, four blocks halve the image one after
    another; at each size two more keep what they see for the way up.

    Convention: feature (x, y) is centred on pixel (4 x, 4 y), for any image size, because every halving is centred on
    every other value and every doubling undoes one.

    Source: the features of the authors' program for Yao et al., "Recurrent MVSNet", CVPR 2019.

    Args:
        pool: what halves the maps: the stride of a convolution, as in the source, or pooling windows of 3 x 3 after a
            convolution of stride 1, which multiplies four times as often; see `vo3d.layers.downsampling`.

    Raises:
        Vo3dError: `pool` is unknown.
    """

    def __init__(self, *, pool: Pool = "stride") -> None:
        super().__init__()
        image_channels = 3
        self.down = nn.ModuleList(
            _halving(inputs, outputs, 3, pool)
            for inputs, outputs in zip((image_channels, *WIDTHS[1:-1]), WIDTHS[1:], strict=True)
        )
        self.beside = nn.ModuleList(_pair(image_channels if width == WIDTHS[0] else width, width) for width in WIDTHS)
        self.up = nn.ModuleList(
            ConvBlock(2 * width, width, stride=2, transposed=True, norm="group", relu=False) for width in WIDTHS[:-1]
        )
        self.merge = nn.ModuleList(_pair(2 * width, width) for width in WIDTHS[:-1])
        self.head = nn.Sequential(
            _halving(8, 16, 5, pool),
            _pair(16, 16),
            _halving(16, CHANNELS, 5, pool),
            ConvBlock(CHANNELS, CHANNELS, norm="group"),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
        )
        # nearly twice as fast on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 32 rows columns"]:
        """Compute the features of images, rows = ceil(h / 4), columns = ceil(w / 4)."""
        kept, features = [self.beside[0](image)], image
        for down, beside in zip(self.down, self.beside[1:], strict=True):
            features = down(features)  # b 16, 32, 64, 128, ceil(h / 2, 4, 8, 16), ceil(w / 2, 4, 8, 16)
            kept.append(beside(features))
        features = kept.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            skip = kept.pop()
            features = merge(torch.cat((up(features, skip.shape[2:]), skip), dim=1))  # b 64, 32, 16, 8 as beside
        return self.head(features)  # type: ignore[no-any-return]


def _halving(inputs: int, outputs: int, kernel_size: int, pool: Pool) -> nn.Module:
    if pool == "stride":
        return ConvBlock(inputs, outputs, kernel_size=kernel_size, stride=2, norm="group")
    block = ConvBlock(inputs, outputs, kernel_size=kernel_size, norm="group")
    return nn.Sequential(block, pooling_layer(pool, kernel_size=3, stride=2, padding=1))


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ConvBlock(inputs, outputs, norm="group"), ConvBlock(outputs, outputs, norm="group"))
