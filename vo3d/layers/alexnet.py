"""AlexNet up to its last maps: five convolutions, with the widths and parameter names of torchvision."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.formats.weights import KeyMap
from vo3d.layers.downsampling import Pool, pooling_layer
from vo3d.layers.image_trunk import Trunk
from vo3d.layers.resnet import MEAN, STD

OUT_CHANNELS = 256
SMALLEST = 31  # rows and columns of an image that leaves something to the last pooling

# alexnet-owt-*.pth
TORCHVISION = KeyMap(
    source="weights of torchvision's AlexNet",
    signature=("features.3.weight", "features.6.weight", "features.8.weight"),
    rename={r"(features\.\d+\.(weight|bias))": r"\1"},
    drop=(r"classifier\..*",),
    keep=(r".*\.beta",),
    values={"image_mean": MEAN, "image_std": STD},
    needs="the trunk alexnet",
)


class AlexNet(Trunk):
    """AlexNet up to its 256 maps at 1/16 of the image's size, cut after conv5 and before its rectifier.

    2,469,696 weights: torchvision's widths of 64, 192, 384, 256 and 256 channels, without groups and without
    normalisation over neighbouring channels.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014; cut as in Arandjelovic
    et al., "NetVLAD", CVPR 2016, section 5.

    Args:
        pool: what halves the maps after the first two convolutions, see `vo3d.layers.downsampling`; None: the maximum,
            as published. With another, published weights are a start.

    Raises:
        Vo3dError: `pool` is unknown, or "stride".
    """

    published: ClassVar[Mapping[str, KeyMap]] = {"torchvision": TORCHVISION}

    def __init__(self, pool: Pool | None = None) -> None:
        super().__init__(OUT_CHANNELS, MEAN, STD)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(inplace=True),
            pooling_layer(pool or "max", 3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            pooling_layer(pool or "max", 3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, OUT_CHANNELS, 3, padding=1),
        )
        self.draw_for_rectifiers()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker on a CPU

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 256 rows columns"]:
        """Compute the last maps of images, RGB in [0, 1]; raises Vo3dError where they are smaller than 31 pixels."""
        self.check_least(image, SMALLEST)
        return self.features(self.normalised(image))  # type: ignore[no-any-return]
