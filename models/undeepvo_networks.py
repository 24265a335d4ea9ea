"""The networks of UnDeepVO: depth from one image, motion from two."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vo3d.layers.downsampling import Pool, pooling_layer
from vo3d.layers.pose import motion_head


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    batch_norm: bool,
    halve_by: Pool | None = None,
    activation: type[nn.Module] = nn.ELU,
) -> nn.Sequential:
    """Make a convolution that keeps the size of maps, or halves it, rounding up: by its stride, or by pooling."""
    stride = 2 if halve_by == "stride" else 1
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    layers.append(activation())
    if halve_by is not None and halve_by != "stride":
        layers.append(pooling_layer(halve_by, 2, ceil_mode=True))
    return nn.Sequential(*layers)


def _kernels(first: Sequence[int], num: int) -> list[int]:
    """List the kernels of `num` stages: the first ones as given, 3 of the others."""
    return [*first, *[3] * num][:num]


class DepthNet(nn.Module):
    """An encoder and a decoder with skips: one number a pixel, in (0, 1), from one image.

    A stage down is a convolution that keeps the size and one that halves it; a stage up doubles, convolves, joins what
    the encoder had at that size, and convolves again. Sizes need not be multiples: a doubled map takes the size of its
    partner.

    Source: UnDeepVO, figure 2; the two convolutions of a stage are those of Godard et al., CVPR 2017, whose network
    the figure resembles.

    Args:
        channels: of each stage down; the stages up have the same in reverse, and half of the first at full size.
        kernels: of the first stages down; the others have 3.
        batch_norm: normalise between convolution and activation.
        pool: see `vo3d.layers.downsampling`.
    """

    def __init__(self, channels: Sequence[int], kernels: Sequence[int], batch_norm: bool, pool: Pool) -> None:
        super().__init__()
        convolution = partial(_convolution, batch_norm=batch_norm)
        inputs = (3, *channels[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(convolution(before, after, kernel), convolution(after, after, kernel, halve_by=pool))
            for before, after, kernel in zip(inputs, channels, _kernels(kernels, len(channels)), strict=True)
        )
        skips = (0, *channels[:-1])
        outputs = (max(1, channels[0] // 2), *channels[:-1])
        self.up = nn.ModuleList(convolution(before, after) for before, after in zip(channels, outputs, strict=True))
        self.merge = nn.ModuleList(convolution(after + skip, after) for after, skip in zip(outputs, skips, strict=True))
        self.head = nn.Conv2d(outputs[0], 1, 3, padding=1)
        # faster on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """Compute the share of the way from near to far."""
        kept, features = [image], image
        for down in self.down:
            features = down(features)  # n channels ceil(h / 2^level) ceil(w / 2^level)
            kept.append(features)
        for level in reversed(range(len(self.up))):
            features = self.up[level](interpolate(features, kept[level].shape[2:], mode="nearest"))
            skip = [kept[level]] if level > 0 else []
            features = self.merge[level](torch.cat((features, *skip), dim=1))
        return torch.sigmoid(self.head(features).float())[:, 0]


class MotionNet(nn.Module):
    """Convolutions on a pair of frames, then one head for the translation and one for the angles.

    Source: UnDeepVO, figure 2; the rectifiers are not in it.

    Args:
        size: rows and columns of the frames; the first layer of either head depends on it.
        channels: of each convolution, all of stride 2.
        kernels: of the first ones; the others have 3.
        hidden: width of the two hidden layers of either head.
        batch_norm: normalise between convolution and rectifier.
        pool: see `vo3d.layers.downsampling`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: Sequence[int],
        kernels: Sequence[int],
        hidden: int,
        batch_norm: bool,
        pool: Pool,
    ) -> None:
        super().__init__()
        inputs = (6, *channels[:-1])
        self.encoder = nn.Sequential(
            *(
                _convolution(before, after, kernel, batch_norm=batch_norm, halve_by=pool, activation=nn.ReLU)
                for before, after, kernel in zip(inputs, channels, _kernels(kernels, len(channels)), strict=True)
            ),
            nn.Flatten(),
        )
        rows, columns = (-(-side // 2 ** len(channels)) for side in size)
        self.translation, self.rotation = (motion_head(rows * columns * channels[-1], hidden) for _ in range(2))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pairs: Float[Tensor, "n 6 h w"]) -> Float[Tensor, "n 6"]:
        """Compute translation and angles of each pair."""
        features = self.encoder(pairs)
        return torch.cat((self.translation(features), self.rotation(features)), dim=-1).float()
