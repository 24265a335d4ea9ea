"""The convolutions of FlowNetS and FlowNetC: what a network sees of the motion between two frames."""

from collections import OrderedDict
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.layers.correlation import check_displacements, correlation
from vo3d.layers.downsampling import Pool, pooling_layer

FlowNet = Literal["flownets", "flownetc"]

# name, output channels at width 1, kernel, stride; DeepVO's Table I, the contracting part of FlowNetS
LAYERS = (
    ("conv1", 64, 7, 2),
    ("conv2", 128, 5, 2),
    ("conv3", 256, 5, 2),
    ("conv3_1", 256, 3, 1),
    ("conv4", 512, 3, 2),
    ("conv4_1", 512, 3, 1),
    ("conv5", 512, 3, 2),
    ("conv5_1", 512, 3, 1),
    ("conv6", 1024, 3, 2),
)
REDIRECT = ("conv_redir", 32, 1, 1)  # FlowNetC: what of the first frame goes on beside the correlation
LAST = ("conv6_1", 1024, 3, 1)  # FlowNetC goes on to it


class _Convolutions(nn.Module):
    """Named layers x_l = d(p(a(n(W_l * x_(l-1) + b_l)))): what both encoders are built of; for arguments see there."""

    def __init__(
        self, width: float, batch_norm: bool, leaky_slope: float, dropout: float, conv6_dropout: float, pool: Pool
    ) -> None:
        super().__init__()
        self.width, self.batch_norm, self.leaky_slope, self.pool = width, batch_norm, leaky_slope, pool
        self._dropout, self._conv6_dropout = dropout, conv6_dropout

    def _add(self, layer: tuple[str, int, int, int], in_channels: int, *, rectified: bool = True) -> int:
        """Append a layer of `LAYERS` and return its channels; Vo3dError where `width` leaves it without one."""
        name, full_channels, kernel, stride = layer
        channels = round(full_channels * self.width)
        if channels < 1:
            least = 1 / min(REDIRECT[1], LAYERS[0][1]) if name == REDIRECT[0] else 1 / LAYERS[0][1]
            raise Vo3dError(f"width {self.width} leaves {name} without a channel: give at least {least}")
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        pooled = stride > 1 and self.pool != "stride"
        step = 1 if pooled else stride
        parts["conv"] = nn.Conv2d(in_channels, channels, kernel, step, kernel // 2, bias=not self.batch_norm)
        if self.batch_norm:
            parts["norm"] = nn.BatchNorm2d(channels)
        if rectified:
            parts["rectifier"] = nn.LeakyReLU(self.leaky_slope) if self.leaky_slope else nn.ReLU()
        if pooled:
            parts["pool"] = pooling_layer(self.pool, stride, ceil_mode=True)
        if rate := self._conv6_dropout if name.startswith("conv6") else self._dropout:
            parts["dropout"] = nn.Dropout(rate)
        self.add_module(name, nn.Sequential(parts))
        return channels

    def _through(
        self, features: Float[Tensor, "n c h w"], names: list[str]
    ) -> Float[Tensor, "n features rows columns"]:
        """Apply the layers of these names."""
        for name in names:
            features = self.get_submodule(name)(features)
        return features

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Count the rows and columns of the features of a frame of `height` x `width` pixels: each 1/64, rounded up."""
        return -(-height // 64), -(-width // 64)

    def reset_parameters(self) -> None:
        """Draw the convolutions' weights by He et al. (2015), which keeps the variance through the rectifiers."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=self.leaky_slope, nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class FlowNetSEncoder(_Convolutions):
    """Nine convolutions that turn a stacked pair of frames into motion features at 1/64 of its size.

    Layer l computes x_l = d(a(n(W_l * x_(l-1) + b_l))): a zero-padded convolution that keeps the size (or halves it,
    rounding up, at stride 2), the batch normalisation n if asked for (b_l is then 0), the rectifier
    a(x) = max(x, slope x), and dropout d. The last layer, conv6, is linear unless `conv6_activation`.

    With a `pool` other than "stride", the convolutions that would halve keep the size, and the rectified map is halved
    by pooling windows of 2 x 2, again rounding up: x_l = d(p(a(n(W_l * x_(l-1) + b_l)))). Each of these six layers then
    multiplies four times as often (the whole encoder 2.9 times at width 1 on 384 x 1280, 3.2 times at width 0.25), and
    its map before pooling takes four times the memory. Weights keep their names and shapes, so those of a strided
    network can be loaded, as a start: the features are other ones.

    Source: Fischer et al., "FlowNet", ICCV 2015, figure 2; as used by Wang et al., "DeepVO", ICRA 2017, Table I.

    Args:
        in_channels: channels of the input; 6 for two RGB frames.
        width: multiplier of every layer's channels; 1 is the published network, 0.25 a small one for a CPU.
        batch_norm: normalise between convolution and rectifier; the convolutions then have no bias.
        leaky_slope: slope of the rectifier below zero; 0 is the ReLU of DeepVO, 0.1 what FlowNetS was trained with.
        conv6_activation: rectify conv6 as well; DeepVO does not, FlowNetS does.
        dropout: probability of dropping a value after every layer but conv6.
        conv6_dropout: the same after conv6.
        pool: what halves the maps, see `vo3d.layers.downsampling`; "stride" is the published network.

    Raises:
        Vo3dError: `width` leaves a layer without a channel, or `pool` is unknown.
    """

    def __init__(
        self,
        in_channels: int = 6,
        width: float = 1.0,
        batch_norm: bool = False,
        leaky_slope: float = 0.0,
        conv6_activation: bool = False,
        dropout: float = 0.0,
        conv6_dropout: float = 0.0,
        pool: Pool = "stride",
    ) -> None:
        super().__init__(width, batch_norm, leaky_slope, dropout, conv6_dropout, pool)
        for layer in LAYERS:
            in_channels = self._add(layer, in_channels, rectified=layer is not LAYERS[-1] or conv6_activation)
        self.out_channels = in_channels
        # nearly twice as fast on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pairs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features rows columns"]:
        """Compute the features of every pair; conv6 may be negative where it is linear."""
        return self._through(pairs, [name for name, *_ in LAYERS])


class FlowNetCEncoder(_Convolutions):
    """Ten convolutions around a correlation, at 1/64 of the frames' size: features of either frame, then of both.

    conv1 to conv3 see each frame alone, with the same weights; their maps are correlated
    (`vo3d.layers.correlation.correlation`, rectified) and go on, beside 32 maps of the first frame (conv_redir),
    through conv3_1 to conv6_1. All layers are rectified.

    Source: Fischer et al., "FlowNet", ICCV 2015, figure 2 (FlowNetCorr).

    Args:
        width, batch_norm, leaky_slope, dropout, conv6_dropout, pool: see `FlowNetSEncoder`; the maps of the correlation
            are as many at any width.
        max_displacement: of the correlation, in pixels of conv3's maps, which are 1/8 of the frame's size.
        displacement_stride: of the correlation, in the same pixels.

    Raises:
        Vo3dError: `width` leaves a layer without a channel, `pool` is unknown, or a displacement is none.
    """

    def __init__(
        self,
        width: float = 1.0,
        batch_norm: bool = False,
        leaky_slope: float = 0.1,
        dropout: float = 0.0,
        conv6_dropout: float = 0.0,
        pool: Pool = "stride",
        max_displacement: int = 20,
        displacement_stride: int = 2,
    ) -> None:
        super().__init__(width, batch_norm, leaky_slope, dropout, conv6_dropout, pool)
        check_displacements(max_displacement, displacement_stride)
        self.max_displacement, self.displacement_stride = max_displacement, displacement_stride
        self._alone = LAYERS[:3]
        self._joined = (*LAYERS[3:], LAST)
        channels = 3
        for layer in self._alone:
            channels = self._add(layer, channels)
        redirected = self._add(REDIRECT, channels)
        channels = redirected + (2 * (max_displacement // displacement_stride) + 1) ** 2
        for layer in self._joined:
            channels = self._add(layer, channels)
        self.rectifier = nn.LeakyReLU(leaky_slope)
        self.out_channels = channels
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pairs: Float[Tensor, "n 6 h w"]) -> Float[Tensor, "n features rows columns"]:
        """Compute the features of every pair of RGB frames, the earlier one in the first three channels."""
        alone = self._through(
            torch.cat((pairs[:, :3], pairs[:, 3:])), [name for name, *_ in self._alone]
        )  # 2n c h/8 w/8
        first, second = alone.chunk(2)
        matched = self.rectifier(correlation(first, second, self.max_displacement, self.displacement_stride))
        joined = torch.cat((self._through(first, [REDIRECT[0]]), matched), 1)  # n redirected+displacements h/8 w/8
        return self._through(joined, [name for name, *_ in self._joined])


def flownet_encoder(
    name: FlowNet,
    width: float = 1.0,
    batch_norm: bool = False,
    leaky_slope: float = 0.1,
    dropout: float = 0.0,
    conv6_dropout: float = 0.0,
    pool: Pool = "stride",
    max_displacement: int = 20,
) -> FlowNetSEncoder | FlowNetCEncoder:
    """Make the encoder of that name as it was trained on flow: its last layer is rectified."""
    if name == "flownetc":
        return FlowNetCEncoder(width, batch_norm, leaky_slope, dropout, conv6_dropout, pool, max_displacement)
    return FlowNetSEncoder(
        6, width, batch_norm, leaky_slope, True, dropout=dropout, conv6_dropout=conv6_dropout, pool=pool
    )
