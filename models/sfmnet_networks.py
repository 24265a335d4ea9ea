"""The networks of SfM-Net: depth from one image; masks, their motions and the camera's from two."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from vo3d.layers.downsampling import Pool, pooling_layer

Up = Literal["depth_to_space", "deconv"]
PIVOTS = (20, 30)  # rows and columns of the places that a pivot is an average of


class Convolution(nn.Module):
    """A 3x3 convolution, batch normalisation and a rectifier; `stride` 2 halves maps, rounding up, as `pool` says."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, pool: Pool = "stride") -> None:
        super().__init__()
        strided = pool == "stride"
        self.conv = nn.Conv2d(inputs, outputs, 3, stride if strided else 1, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.pool = nn.Identity() if strided or stride == 1 else pooling_layer(pool, ceil_mode=True)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        """Compute the features."""
        features: Tensor = self.pool(torch.relu(self.norm(self.conv(x))))
        return features


class DepthToSpace(nn.Module):
    """Spreads channels over blocks of 2 x 2 pixels, joins the features of that size, and convolves."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.merge = Convolution(inputs // 4 + skip, outputs)
        self.outputs = outputs

    def forward(self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b d rows columns"]) -> Tensor:
        """Compute the features at the size of `skip`."""
        rows, columns = skip.shape[-2:]
        features: Tensor = self.merge(torch.cat((skip, pixel_shuffle(x, 2)[..., :rows, :columns]), dim=1))
        return features


class Deconvolution(nn.Module):
    """Doubles maps by a transposed 3x3 convolution, as the ports do, and joins the features of that size."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.outputs = outputs + skip

    def forward(self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b d rows columns"]) -> Tensor:
        """Compute the features at the size of `skip`."""
        rows, columns = skip.shape[-2:]
        return torch.cat((skip, torch.relu(self.norm(self.conv(x)))[..., :rows, :columns]), dim=1)


class Trunk(nn.Module):
    """The convolutions down and up again that both networks have, with weights of their own.

    The first stage is one convolution at full size, each of the others two, of which the first halves the maps.

    Source: SfM-Net, figure 2, as two public ports build it.

    Args:
        inputs: channels of the image, or of two.
        channels: of each stage.
        up: how maps grow, see `DepthToSpace` and `Deconvolution`.
        pool: see `vo3d.layers.downsampling`.
    """

    def __init__(self, inputs: int, channels: Sequence[int], up: Up, pool: Pool) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.first = Convolution(inputs, channels[0])
        self.down = nn.ModuleList(
            nn.Sequential(Convolution(before, after, 2, pool), Convolution(after, after)) for before, after in pairs
        )
        grow = DepthToSpace if up == "depth_to_space" else Deconvolution
        self.up, features = nn.ModuleList(), channels[-1]
        for before, _ in reversed(pairs):
            stage = grow(features, before, before)
            self.up.append(stage)
            features = stage.outputs
        self.outputs = features

    def forward(self, image: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b e i j"]]:
        """Compute the features at full size, and those at the smallest, i = ceil(h / 2^stages) by j."""
        features = self.first(image)
        kept = []
        for down in self.down:
            kept.append(features)
            features = down(features)
        smallest = features
        for up in self.up:
            features = up(features, kept.pop())
        return features, smallest


class StructureNet(nn.Module):
    """One number a pixel from one image, by a 1x1 convolution on the features of the trunk."""

    def __init__(self, channels: Sequence[int], up: Up, pool: Pool) -> None:
        super().__init__()
        self.trunk = Trunk(3, channels, up, pool)
        self.head = nn.Conv2d(self.trunk.outputs, 1, 1)
        # faster on a CPU; shapes stay what they are
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """Compute the numbers, before any bound."""
        numbers: Tensor = self.head(self.trunk(image)[0]).float()
        return numbers[:, 0]


@dataclass(frozen=True, kw_only=True)
class Motions:
    """Holds the answer of the motion network for n pairs: 1 + k motions each, the camera's first."""

    masks: Float[Tensor, "n k h w"]  # logits
    rotation: Float[Tensor, "n m 3"]  # as the last layers give them
    translation: Float[Tensor, "n m 3"]
    pivot: Float[Tensor, "n m p"]  # shares of the places, which sum to 1


class MotionNet(nn.Module):
    """Masks from the features of two frames at full size, motions from those at the smallest.

    Args:
        size: rows and columns of the frames; the first linear layer depends on it.
        num_masks: k.
        channels, up, pool: of the trunk.
        hidden: width of the two linear layers that all motions share.
        camera_hidden: widths of further layers of the camera's rotation and translation; the paper has none.
    """

    def __init__(
        self,
        size: tuple[int, int],
        num_masks: int,
        channels: Sequence[int],
        up: Up,
        pool: Pool,
        hidden: int,
        camera_hidden: Sequence[int],
    ) -> None:
        super().__init__()
        self.num_masks = num_masks
        self.trunk = Trunk(6, channels, up, pool)
        self.mask_head = nn.Conv2d(self.trunk.outputs, num_masks, 1)
        rows, columns = (-(-side // 2 ** (len(channels) - 1)) for side in size)
        self.dense = nn.Sequential(
            nn.Linear(rows * columns * channels[-1], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        places = PIVOTS[0] * PIVOTS[1]
        camera = partial(_layers, hidden, camera_hidden)
        self.camera = nn.ModuleDict(
            {"rotation": camera(3), "translation": camera(3), "pivot": nn.Linear(hidden, places)}
        )
        self.objects = nn.ModuleDict(
            {
                "rotation": nn.Linear(hidden, 3 * num_masks),
                "translation": nn.Linear(hidden, 3 * num_masks),
                "pivot": nn.Linear(hidden, places * num_masks),
            }
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pairs: Float[Tensor, "n 6 h w"]) -> Motions:
        """Compute what the pairs show; batches of both orders keep the statistics of the normalisation stable."""
        features, smallest = self.trunk(pairs)
        hidden = self.dense(smallest.flatten(1))
        parts = {
            name: torch.cat(
                (self.camera[name](hidden)[:, None], self.objects[name](hidden).unflatten(1, (self.num_masks, -1))),
                dim=1,
            ).float()
            for name in self.camera
        }
        return Motions(
            masks=self.mask_head(features).float(),
            rotation=parts["rotation"],
            translation=parts["translation"],
            pivot=parts["pivot"].softmax(-1),
        )

    def last_layers(self) -> Iterator[tuple[str, nn.Linear]]:
        """List the layers that give motions, by the names of what they give."""
        for heads in (self.camera, self.objects):
            for name, head in heads.items():
                yield name, [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]


def _layers(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Make linear layers, rectified between."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
