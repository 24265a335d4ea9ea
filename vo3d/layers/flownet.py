"""The convolutions of FlowNetS: what a network sees of the motion between two frames laid on each other."""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.errors import Vo3dError
from vo3d.layers.downsampling import Pool, pooling_layer

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


class FlowNetSEncoder(nn.Module):
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
        super().__init__()
        self.leaky_slope = leaky_slope
        for name, full_channels, kernel, stride in LAYERS:
            last = name == LAYERS[-1][0]
            channels = round(full_channels * width)
            if channels < 1:
                raise Vo3dError(f"width {width} leaves {name} without a channel: give at least {1 / LAYERS[0][1]}")
            layer: OrderedDict[str, nn.Module] = OrderedDict()
            pooled = stride > 1 and pool != "stride"
            step = 1 if pooled else stride
            layer["conv"] = nn.Conv2d(in_channels, channels, kernel, step, kernel // 2, bias=not batch_norm)
            if batch_norm:
                layer["norm"] = nn.BatchNorm2d(channels)
            if not last or conv6_activation:
                layer["rectifier"] = nn.LeakyReLU(leaky_slope) if leaky_slope else nn.ReLU()
            if pooled:
                layer["pool"] = pooling_layer(pool, stride, ceil_mode=True)
            if rate := conv6_dropout if last else dropout:
                layer["dropout"] = nn.Dropout(rate)
            self.add_module(name, nn.Sequential(layer))
            in_channels = channels
        self.out_channels = in_channels
        # nearly twice as fast on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Count the rows and columns of the features of a frame of `height` x `width` pixels: each 1/64, rounded up."""
        return -(-height // 64), -(-width // 64)

    def forward(self, pairs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features rows columns"]:
        """Compute the features of every pair; conv6 may be negative where it is linear."""
        features = pairs
        for name, *_ in LAYERS:
            features = self.get_submodule(name)(features)  # n channels ceil(h / stride so far) ceil(w / stride so far)
        return features

    def reset_parameters(self) -> None:
        """Draw the convolutions' weights by He et al. (2015), which keeps the variance through the rectifiers."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=self.leaky_slope, nonlinearity="leaky_relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
