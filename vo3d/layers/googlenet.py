"""GoogLeNet up to its last maps: as in Caffe, or with batch normalisation as in torchvision."""

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vo3d.formats.weights import KeyMap
from vo3d.layers.downsampling import Pool, pooling_layer
from vo3d.layers.image_trunk import Trunk

# input channels, then channels of: 1x1, 3x3 reduction, 3x3, 5x5 reduction, 5x5, projection of the pooled map
INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
TAP_CHANNELS, OUT_CHANNELS = (512, 528), 1024  # after 4a and 4d; after 5b
SMALLEST = 31  # rows and columns of an image that leaves something to the last pooling
CAFFE_MEAN = (123 / 255, 117 / 255, 104 / 255)  # of ImageNet in red, green, blue; bvlc_googlenet's train_val.prototxt
CAFFE_STD = 1 / 255  # Caffe's images are 0 to 255
TORCHVISION_MEAN = TORCHVISION_STD = 0.5  # what its transform_input makes of images that are normalised otherwise

_BVLC = {
    **{"1x1": "conv_1x1", "3x3_reduce": "reduce_3x3", "3x3": "conv_3x3"},
    **{"5x5_reduce": "reduce_5x5", "5x5": "conv_5x5", "pool_proj": "pool_project"},
}
_POSELSTM = {
    **{"branch_x1.0": "conv_1x1", "branch_x3.0": "reduce_3x3", "branch_x3.2": "conv_3x3"},
    **{"branch_x5.0": "reduce_5x5", "branch_x5.2": "conv_5x5", "branch_proj.1": "pool_project"},
}
_TORCHVISION = {
    **{"branch1": "conv_1x1", "branch2.0": "reduce_3x3", "branch2.1": "conv_3x3"},
    **{"branch3.0": "reduce_5x5", "branch3.1": "conv_5x5", "branch4.1": "pool_project"},
}
_BYTES = ("(?:b')?", "'?")  # around a name that was bytes in a pickle
# Blobs of bvlc_googlenet and of GoogLeNet on Places (places-googlenet.pickle): BGR, hence the turned first convolution
BVLC = KeyMap(
    source="blobs of Caffe's GoogLeNet",
    signature=("conv1/7x7_s2_0", "inception_3a/1x1_0"),
    rename={
        f"{_BYTES[0]}{theirs}_{blob}{_BYTES[1]}": f"{ours}.conv.{part}"
        for theirs, ours in (
            ("conv1/7x7_s2", "conv1"),
            ("conv2/3x3_reduce", "reduction2"),
            ("conv2/3x3", "conv2"),
            *((rf"inception_(\d\w)/{theirs}", rf"inception_\1.{ours}") for theirs, ours in _BVLC.items()),
        )
        for blob, part in ((0, "weight"), (1, "bias"))
    },
    drop=(rf"{_BYTES[0]}loss\d/.*",),
    keep=(r"pool\d\.beta",),
    convert={"conv1.conv.weight": lambda weight: weight.flip(1)},
    values={"image_mean": CAFFE_MEAN, "image_std": [CAFFE_STD] * 3},
    settings=lambda _: {"pool_padding": 0},
    needs="the trunk googlenet",
)
BVLC_BYTES = replace(BVLC, signature=tuple(f"b'{name}'" for name in BVLC.signature))
# Trained networks of poselstm-pytorch, which takes RGB less the mean image of a scene, and pools with padding
POSELSTM = KeyMap(
    source="a PoseNet of poselstm-pytorch",
    signature=("before_inception.0.weight", "inception_3a.branch_x1.0.weight"),
    rename={
        r"before_inception\.0\.(.*)": r"conv1.conv.\1",
        r"before_inception\.4\.(.*)": r"reduction2.conv.\1",
        r"before_inception\.6\.(.*)": r"conv2.conv.\1",
        **{
            rf"inception_(\d\w)\.{theirs.replace('.', chr(92) + '.')}\.(.*)": rf"inception_\1.{ours}.conv.\2"
            for theirs, ours in _POSELSTM.items()
        },
    },
    drop=(r"cls\d_fc\..*", r"model\.\d+\..*"),
    keep=(r"pool\d\.beta", "image_mean"),
    values={"image_std": [CAFFE_STD] * 3},
    settings=lambda _: {"pool_padding": 1},
    needs="the trunk googlenet with pool_padding=1, and the mean image of its scene",
)
# googlenet-1378be20.pth
TORCHVISION = KeyMap(
    source="weights of torchvision's GoogLeNet",
    signature=("conv1.bn.running_mean", "inception3a.branch1.conv.weight"),
    rename={
        rf"{theirs}\.{unit}\.(.*)": rf"{ours}.{part}.\{group}"
        for theirs, ours, group in (
            ("conv1", "conv1", 1),
            ("conv2", "reduction2", 1),
            ("conv3", "conv2", 1),
            *(
                (rf"inception(\d\w)\.{theirs.replace('.', chr(92) + '.')}", rf"inception_\1.{ours}", 2)
                for theirs, ours in _TORCHVISION.items()
            ),
        )
        for unit, part in (("conv", "conv"), ("bn", "norm"))
    },
    drop=(r"aux[12]\..*", r"fc\..*"),
    keep=(r"pool\d\.beta", r".*\.num_batches_tracked"),
    values={"image_mean": [TORCHVISION_MEAN] * 3, "image_std": [TORCHVISION_STD] * 3},
    settings=lambda _: {"pool_padding": 0},
    needs="the trunk googlenet_bn",
)


class LocalResponseNorm(nn.Module):
    """y_c = x_c / (1 + alpha / 5 sum of x_k^2 over the five channels k around c)^(3/4), with alpha = 1e-4.

    What `torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 1)` computes, in a fifth of its time.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", NeurIPS 2012, section
    3.3; constants of Caffe's GoogLeNet.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalise maps; squares are summed in single precision at least, where half precision would overflow."""
        channels = x.shape[1]
        precise = x.to(torch.promote_types(x.dtype, torch.float32))
        squares = functional.pad(precise.square(), (0, 0, 0, 0, 2, 2))
        total = squares[:, :channels]
        for shift in range(1, 5):
            total = total + squares[:, shift : shift + channels]
        root = (1 + 1e-4 / 5 * total).rsqrt()
        return (precise * root * root.sqrt()).to(x.dtype)


class ConvUnit(nn.Module):
    """relu(W * x + b), or relu(norm(W * x)); zero-padded so that stride 1 keeps the size.

    Starting weights: of Caffe's GoogLeNet without normalisation (uniform, variance 1 / inputs; biases 0.2), else
    normal of variance 2 / inputs.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, batch_norm: bool
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3) if batch_norm else None
        if self.conv.bias is not None:
            bound = sqrt(3 / (in_channels * kernel_size**2))
            nn.init.uniform_(self.conv.weight, -bound, bound)
            nn.init.constant_(self.conv.bias, 0.2)
        else:
            nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k rows columns"]:
        """Transform maps."""
        y = self.conv(x)
        return functional.relu(y if self.norm is None else self.norm(y), inplace=True)


class Inception(nn.Module):
    """Look at a map through windows of 1, 3 and 5 pixels and by its maxima, and stack what is found.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, figure 2b. With batch normalisation the window
    of `conv_5x5` has 3 pixels, as in torchvision, whose published weights have that shape.
    """

    def __init__(self, name: str, *, batch_norm: bool) -> None:
        super().__init__()
        channels, one, reduce_3, three, reduce_5, five, project = INCEPTIONS[name]
        self.conv_1x1 = ConvUnit(channels, one, 1, batch_norm=batch_norm)
        self.reduce_3x3 = ConvUnit(channels, reduce_3, 1, batch_norm=batch_norm)
        self.conv_3x3 = ConvUnit(reduce_3, three, 3, batch_norm=batch_norm)
        self.reduce_5x5 = ConvUnit(channels, reduce_5, 1, batch_norm=batch_norm)
        self.conv_5x5 = ConvUnit(reduce_5, five, 3 if batch_norm else 5, batch_norm=batch_norm)
        self.pool_project = ConvUnit(channels, project, 1, batch_norm=batch_norm)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """Transform maps."""
        highest = functional.max_pool2d(x, 3, 1, 1)
        three, five = self.conv_3x3(self.reduce_3x3(x)), self.conv_5x5(self.reduce_5x5(x))
        return torch.cat([self.conv_1x1(x), three, five, self.pool_project(highest)], 1)


class GoogLeNet(Trunk):
    """GoogLeNet up to its 1024 maps at 1/32 of the image's size; `taps` gives the maps that auxiliary heads read, too.

    As in Caffe: no batch normalisation but normalisation over neighbouring channels, pooling of 3 x 3 that counts its
    windows up; images minus the mean of ImageNet, 0 to 255 (weights of Caffe want blue first: `BVLC` turns them).
    5,973,552 weights. With `batch_norm` as in torchvision: the last pooling is 2 x 2, images (x - 0.5) / 0.5.

    Source: Szegedy et al., "Going deeper with convolutions", CVPR 2015, Table 1; bvlc_googlenet of Caffe; the trunk of
    Kendall et al., "PoseNet", ICCV 2015.

    Args:
        batch_norm: torchvision's form.
        pool: what halves the maps after the first convolution, see `vo3d.layers.downsampling`; None: the maximum. Other
            than the maximum, published weights are a start.
        pool_padding: rows and columns around a map that is pooled: 0 counts windows up at the far border, as published;
            1, as poselstm-pytorch has it, shifts the windows by one.

    Raises:
        Vo3dError: `pool` is unknown, or "stride".
    """

    tap_channels = TAP_CHANNELS
    published: ClassVar[Mapping[str, KeyMap]] = {
        **{"bvlc": BVLC, "bvlc_bytes": BVLC_BYTES, "poselstm": POSELSTM, "torchvision": TORCHVISION}
    }

    def __init__(self, batch_norm: bool = False, pool: Pool | None = None, pool_padding: Literal[0, 1] = 0) -> None:
        mean, std = ([TORCHVISION_MEAN] * 3, TORCHVISION_STD) if batch_norm else (CAFFE_MEAN, CAFFE_STD)
        super().__init__(OUT_CHANNELS, mean, [std] * 3)
        self.pool_padding = pool_padding

        def halving(kernel_size: int = 3) -> nn.Module:
            return pooling_layer(pool or "max", kernel_size, 2, pool_padding, ceil_mode=pool_padding == 0)

        self.conv1 = ConvUnit(3, 64, 7, 2, batch_norm=batch_norm)
        self.pool1 = halving()
        self.norm1 = nn.Identity() if batch_norm else LocalResponseNorm()
        self.reduction2 = ConvUnit(64, 64, 1, batch_norm=batch_norm)
        self.conv2 = ConvUnit(64, 192, 3, batch_norm=batch_norm)
        self.norm2 = nn.Identity() if batch_norm else LocalResponseNorm()
        self.pool2 = halving()
        self.inception_3a = Inception("3a", batch_norm=batch_norm)
        self.inception_3b = Inception("3b", batch_norm=batch_norm)
        self.pool3 = halving()
        self.inception_4a = Inception("4a", batch_norm=batch_norm)
        self.inception_4b = Inception("4b", batch_norm=batch_norm)
        self.inception_4c = Inception("4c", batch_norm=batch_norm)
        self.inception_4d = Inception("4d", batch_norm=batch_norm)
        self.inception_4e = Inception("4e", batch_norm=batch_norm)
        self.pool4 = halving(2 if batch_norm else 3)
        self.inception_5a = Inception("5a", batch_norm=batch_norm)
        self.inception_5b = Inception("5b", batch_norm=batch_norm)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # quicker on a CPU

    def taps(
        self, image: Float[Tensor, "n 3 h w"]
    ) -> tuple[Float[Tensor, "n 512 p q"], Float[Tensor, "n 528 p q"], Float[Tensor, "n 1024 rows columns"]]:
        """Compute the maps after 4a and 4d, at 1/16 of the size of images, RGB in [0, 1], and the last ones.

        Raises:
            Vo3dError: an image is smaller than the windows reach.
        """
        self.check_least(image, SMALLEST)
        x = self.norm1(self.pool1(self.conv1(self.normalised(image))))  # n 64 h/4 w/4
        x = self.pool2(self.norm2(self.conv2(self.reduction2(x))))  # n 192 h/8 w/8
        x = self.pool3(self.inception_3b(self.inception_3a(x)))  # n 480 h/16 w/16
        after_4a = self.inception_4a(x)  # n 512 h/16 w/16
        after_4d = self.inception_4d(self.inception_4c(self.inception_4b(after_4a)))  # n 528 h/16 w/16
        x = self.pool4(self.inception_4e(after_4d))  # n 832 h/32 w/32
        return after_4a, after_4d, self.inception_5b(self.inception_5a(x))

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1024 rows columns"]:
        """Compute the last maps of images, RGB in [0, 1]; raises Vo3dError as `taps`."""
        return self.taps(image)[-1]
