"""VGG-16 up to its last maps: thirteen convolutions of 3 x 3, with the parameter names of torchvision."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.formats.weights import KeyMap
from vo3d.layers.downsampling import Pool, pooling_layer
from vo3d.layers.image_trunk import Trunk
from vo3d.layers.resnet import MEAN, STD

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # their places among torchvision's `features`
SMALLEST = 16  # rows and columns of an image that leaves something to the last stage
MATCONVNET_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # of red, green and blue of ImageNet, as Caffe's VGG
MATCONVNET_STD = 1 / 255  # its images are 0 to 255

# vgg16-*.pth
TORCHVISION = KeyMap(
    source="weights of torchvision's VGG-16",
    signature=("features.17.weight", "features.24.weight", "features.26.weight"),
    rename={r"(features\.\d+\.(weight|bias))": r"\1"},
    drop=(r"classifier\..*",),
    keep=(r".*\.beta",),
    values={"image_mean": MEAN, "image_std": STD},
    needs="the trunk vgg16",
)
# vd16_offtheshelf_conv5_3_max.pth of OpenIBL, converted from MatConvNet
MATCONVNET = replace(
    TORCHVISION,
    source="weights of MatConvNet's VGG-16 as OpenIBL converted them",
    signature=("17.weight", "24.weight", "26.weight"),
    rename={r"(\d+\.(weight|bias))": r"features.\1"},
    values={"image_mean": MATCONVNET_MEAN, "image_std": [MATCONVNET_STD] * 3},
)


class VGG16(Trunk):
    """VGG-16 up to its 512 maps at 1/16 of the image's size, cut after conv5_3 and before its rectifier.

    14,714,688 weights. Each of the four halvings rounds down.

    Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
    Table 1, D; cut as in Arandjelovic et al., "NetVLAD", CVPR 2016, section 5.

    Args:
        pool: what halves the maps, see `vo3d.layers.downsampling`; None: the maximum, as published. With another,
            published weights are a start.

    Raises:
        Vo3dError: `pool` is unknown, or "stride".
    """

    published: ClassVar[Mapping[str, KeyMap]] = {"torchvision": TORCHVISION, "matconvnet": MATCONVNET}

    def __init__(self, pool: Pool | None = None) -> None:
        super().__init__(STAGES[-1][0], MEAN, STD)
        layers, channels = list[nn.Module](), 3
        for stage, (wanted, count) in enumerate(STAGES):
            if stage:
                layers.append(pooling_layer(pool or "max", 2))
            for _ in range(count):
                layers += [nn.Conv2d(channels, wanted, 3, padding=1), nn.ReLU(inplace=True)]
                channels = wanted
        self.features = nn.Sequential(*layers[:-1])
        self.draw_for_rectifiers()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker on a CPU

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 512 rows columns"]:
        """Compute the last maps of images, RGB in [0, 1]; raises Vo3dError where they are smaller than 16 pixels."""
        self.check_least(image, SMALLEST)
        return self.features(self.normalised(image))  # type: ignore[no-any-return]
