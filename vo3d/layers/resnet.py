"""ResNet-18 and ResNet-34 up to their last maps, with the parameter names of torchvision."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vo3d.formats.weights import KeyMap
from vo3d.layers.downsampling import Pool, pooling_layer
from vo3d.layers.image_trunk import Trunk

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # of each stage, by depth
CHANNELS = (64, 128, 256, 512)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's of ImageNet, red, green, blue

# resnet18-*.pth, resnet34-*.pth
TORCHVISION = KeyMap(
    source="weights of torchvision's ResNet",
    signature=("conv1.weight", "bn1.running_mean", "layer1.0.bn2.weight", "layer4.1.conv2.weight"),
    rename={r"((conv1|bn1|layer\d)\..*)": r"\1"},
    drop=(r"fc\.(weight|bias)",),
    keep=(r"(.*\.)?(shortcut_)?pool\.beta", r".*\.num_batches_tracked"),  # files of before 2018 count no batches
    values={"image_mean": MEAN, "image_std": STD},
    needs="the trunk resnet18 or resnet34, as the file has it",
)


class BasicBlock(nn.Module):
    """relu(shortcut(x) + bn2(conv2(p(relu(bn1(conv1(x))))))): two convolutions of 3 x 3 around which the input passes.

    Where the block halves, conv1 and the shortcut's convolution have stride 2 and p does nothing; with a `pool` other
    than "stride" they keep the size, p pools windows of 2 x 2, and the shortcut pools its input.

    Source: He et al., "Deep residual learning", CVPR 2016, figure 5 left.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, pool: Pool) -> None:
        super().__init__()
        pooled = stride > 1 and pool != "stride"
        step = 1 if pooled else stride
        self.conv1 = nn.Conv2d(in_channels, channels, 3, step, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pool = pooling_layer(pool, stride, ceil_mode=True) if pooled else None
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut_pool = pooling_layer(pool, stride, ceil_mode=True) if pooled else None
        self.downsample: nn.Module | None = None
        if stride > 1 or in_channels != channels:
            shortcut = nn.Conv2d(in_channels, channels, 1, step, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k rows columns"]:
        """Transform maps."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y if self.pool is None else self.pool(y)))
        shortcut = x if self.shortcut_pool is None else self.shortcut_pool(x)
        shortcut = shortcut if self.downsample is None else self.downsample(shortcut)
        return functional.relu(y.add_(shortcut), inplace=True)


class ResNet(Trunk):
    """ResNet-18 or ResNet-34 up to its 512 maps at 1/32 of the image's size (each halving rounds up).

    11,176,512 or 21,284,672 weights. Weights of torchvision load with their names; what follows the last maps (`fc`)
    is left out.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016, Table 1.

    Args:
        depth: 18 or 34.
        pool: what halves the maps after the first convolution, see `vo3d.layers.downsampling`; None: as published, a
            maximum over 3 x 3 and then strided convolutions. With another the maximum's windows are pooled by it, and
            convolutions keep the size; published weights are a start.

    Raises:
        Vo3dError: `pool` is unknown, or "stride".
    """

    published: ClassVar[Mapping[str, KeyMap]] = {"torchvision": TORCHVISION}

    def __init__(self, depth: Literal[18, 34], pool: Pool | None = None) -> None:
        super().__init__(CHANNELS[-1], MEAN, STD)
        self.conv1 = nn.Conv2d(3, CHANNELS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS[0])
        self.pool = pooling_layer(pool or "max", 3, 2, 1)
        in_channels = CHANNELS[0]
        for stage, (channels, count) in enumerate(zip(CHANNELS, BLOCKS[depth], strict=True), start=1):
            blocks = list[nn.Module]()
            for index in range(count):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(BasicBlock(in_channels, channels, stride, pool or "stride"))
                in_channels = channels
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.stages = len(CHANNELS)
        self.draw_for_rectifiers()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker on a CPU

    def cut(self, count: int) -> None:
        """Keep the first stages alone: 1 to 4, with maps of 64, 128, 256 and 512 channels at 1/4 to 1/32."""
        self.check_cut(count, self.stages)
        for stage in range(count + 1, self.stages + 1):
            delattr(self, f"layer{stage}")
        self.stages, self.out_channels = count, CHANNELS[count - 1]

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c rows columns"]:
        """Compute the last maps of images, RGB in [0, 1]."""
        y = functional.relu(self.bn1(self.conv1(self.normalised(image))), inplace=True)  # n 64 h/2 w/2
        x: Tensor = self.pool(y)  # n 64 h/4 w/4
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)  # n 64, 128, 256, 512, at 1/4, 1/8, 1/16, 1/32
        return x
