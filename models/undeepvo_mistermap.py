"""The networks of MisterMap/undeepvo, a public port of UnDeepVO, and where the keys of its checkpoints belong.

They are other networks than the paper's: each stage is two convolutions with batch normalisation before the maps are
halved by pooling, and a grid of 7 x 7 averages makes the heads of the motion independent of the frames' size.

Source: github.com/MisterMap/undeepvo, commit 2f19549 (undeepvo/models: depth_model.py, pose_model.py).
"""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vo3d.errors import Vo3dError
from vo3d.formats.weights import KeyMap
from vo3d.layers.downsampling import Pool, pooling_layer
from vo3d.layers.pose import motion_head

LAST = 32  # channels before the last convolution of the depth network, whatever the others have
GRID = 7  # rows and columns of averages that the heads of the motion network read


def networks(
    size: tuple[int, int],
    channels: Sequence[int],
    motion_channels: Sequence[int],
    kernels: Sequence[int],
    hidden: int,
    pool: Pool,
) -> tuple["PortDepthNet", "PortMotionNet"]:
    """Make the networks of depth and motion; the arguments are those of `UnDeepVO`, whose defaults are the port's.

    Raises:
        Vo3dError: frames of `size` have no pixel left after so many halvings; there are fewer than two stages of the
            depth network; `pool` is "stride", because the port pools.
    """
    if len(channels) < 2:
        raise Vo3dError(
            f"{channels=}: expected at least two stages of the network mistermap; the published one has seven"
        )
    most = max(len(channels) - 1, len(motion_channels))
    if min(size) < 2**most:
        raise Vo3dError(
            f"{size=} is too small for networks that halve frames {most} times, rounding down: expected at least "
            f"{2**most} rows and columns, or fewer channels or motion_channels"
        )
    return PortDepthNet(channels, kernels, pool), PortMotionNet(motion_channels, kernels, hidden, pool)


def _pair(inputs: int, outputs: int, kernel: int = 3, *, norm: bool = False) -> nn.Sequential:
    """Make two convolutions, each rectified and, with `norm`, then normalised; the size of maps stays."""
    layers = [
        (nn.Conv2d(before, outputs, kernel, padding=kernel // 2), nn.ReLU(), *([nn.BatchNorm2d(outputs)] * norm))
        for before in (inputs, outputs)
    ]
    return nn.Sequential(*chain(*layers))


class PortDepthNet(nn.Module):
    """A U-Net: one number a pixel, in (0, 1), from one image.

    A stage up doubles what is below it by repeating values, joins what the stage down of that size had before it was
    halved, and convolves twice. The port wants rows and columns that are multiples of 64; here a doubled map takes the
    size of its partner, which is the same for those, and works for others.

    Args:
        channels: of each stage down; the stages up have the same in reverse, and half of the first at full size.
        kernels: of the first stages down; the others have 3.
        pool: see `vo3d.layers.downsampling`; the port has "max".
    """

    def __init__(self, channels: Sequence[int], kernels: Sequence[int], pool: Pool) -> None:
        super().__init__()
        stages = zip((3, *channels), channels, chain(kernels, repeat(3)), strict=False)
        self.down = nn.ModuleList(_pair(before, after, kernel, norm=True) for before, after, kernel in stages)
        self.pool = nn.ModuleList(pooling_layer(pool) for _ in channels[1:])
        outputs = (max(1, channels[0] // 2), *channels[:-1])
        below = (*channels[:-2], channels[-1])  # what comes up to each stage
        self.up = nn.ModuleList(
            _pair(lower + skip, after)
            for lower, skip, after in reversed(list(zip(below, channels[:-1], outputs, strict=False)))
        )
        self.last = nn.Sequential(nn.Conv2d(outputs[0], LAST, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(LAST, 1, 1)
        # faster on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """Compute the share of the way from near to far."""
        kept = [self.down[0](image)]
        for pool, down in zip(self.pool, self.down[1:], strict=True):
            kept.append(down(pool(kept[-1])))  # n channels floor(h / 2^level) floor(w / 2^level)
        features = kept.pop()
        for up in self.up:
            skip = kept.pop()
            features = up(torch.cat((interpolate(features, skip.shape[2:], mode="nearest"), skip), dim=1))
        return torch.sigmoid(self.head(self.last(features)).float())[:, 0]


class PortMotionNet(nn.Module):
    """Convolutions on a pair of frames, then one head for the translation and one for the angles.

    Args:
        channels: of each stage, two convolutions whose result is halved.
        kernels: of the first stages; the others have 3.
        hidden: width of the two hidden layers of either head.
        pool: see `vo3d.layers.downsampling`; the port has "max".
    """

    def __init__(self, channels: Sequence[int], kernels: Sequence[int], hidden: int, pool: Pool) -> None:
        super().__init__()
        self.encoder = nn.Sequential()
        for before, after, kernel in zip((6, *channels), channels, chain(kernels, repeat(3)), strict=False):
            for inputs, halving in ((before, []), (after, [pooling_layer(pool)])):
                convolution = nn.Conv2d(inputs, after, kernel, padding=kernel // 2)
                self.encoder.append(nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(), *halving))
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(GRID), nn.Flatten())
        self.translation, self.rotation = (motion_head(GRID**2 * channels[-1], hidden) for _ in range(2))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pairs: Float[Tensor, "n 6 h w"]) -> Float[Tensor, "n 6"]:
        """Compute translation and angles of each pair."""
        features = self.average(self.encoder(pairs))
        return torch.cat((self.translation(features), self.rotation(features)), dim=-1).float()


def _settings(ours: Mapping[str, Tensor]) -> dict[str, object]:
    """Give what the port's weights need and no shape shows."""
    return {"network": "mistermap", "pool": "max", "focal": None, "motion_scale": 0.01}


# Its training normalises images by the statistics of ImageNet (utils/result_data_point.py), warps the current frame
# into the next by the motion of (current, next), so that this is current_T_next (the temporal criterion), and makes
# rotations as Rx Ry Rz (utils/math.py). It knows no K. Whether depth or its inverse is spread, and between which
# metres, was an argument that its checkpoints do not tell.
MISTERMAP = KeyMap(
    source="UnDeepVO (MisterMap/undeepvo)",
    signature=("pose_net.vgg_part.0.conv.0.weight", "depth_net.down_blocks.0.convs.0.weight"),
    rename={
        r"depth_net\.down_blocks\.(\d)\.convs\.(.*)": r"depth_net.down.\1.\2",
        r"depth_net\.up_blocks\.(\d)\.convs\.(.*)": r"depth_net.up.\1.\2",
        r"depth_net\.last_up\.convs\.0\.(.*)": r"depth_net.last.0.\1",
        r"depth_net\.last_up\.convs\.2\.(.*)": r"depth_net.head.\1",
        r"pose_net\.vgg_part\.(\d+)\.conv\.(.*)": r"motion_net.encoder.\1.\2",
        **{
            rf"pose_net\.{theirs}{layer}\.(.*)": rf"motion_net.{ours}.{2 * layer - 2}.\1"
            for theirs, ours in (("transl", "translation"), ("rot", "rotation"))
            for layer in (1, 2, 3)
        },
    },
    keep=(r".*\.num_batches_tracked",),  # which torch before 0.4.1 did not write
    values={"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)},
    settings=_settings,
    needs="network mistermap, pool max, focal null, motion_scale 0.01, and otherwise as it was trained: output depth "
    "(inverse_depth after inverse_sigmoid), min_depth 1 and max_depth 100 unless it says others, size (128, 384)",
)
RESNET = KeyMap(
    source="UnDeepVO on a ResNet-18 (MisterMap/undeepvo with resnet)",
    signature=("pose_net._first_layer.weight",),
    rename={},
    refused="vo3d has no UnDeepVO on torchvision's ResNet-18; take a checkpoint of that port's other networks, made "
    "with resnet=False (its keys begin with pose_net.vgg_part and depth_net.down_blocks)",
)
