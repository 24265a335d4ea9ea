"""The heads of PoseNet: position and rotation from the maps of its trunk.

Source: Kendall et al., "PoseNet", ICCV 2015, and its release (caffe-posenet: layers cls1, cls2, cls3).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.errors import Vo3dError

AUXILIARY_WIDTH = 128  # channels of an auxiliary head's maps
AUXILIARY_HIDDEN = 1024
AUXILIARY_DROPOUT = 0.7


class PoseHead(nn.Module):
    """Position and rotation from the last maps: averages, a rectified layer, a linear layer for each.

    Args:
        channels: of the maps.
        grid: rows and columns of the averages.
        hidden: outputs of the rectified layer.
        numbers: of the rotation.
        feature_dropout: of the averages.
        dropout: of the rectified layer.
    """

    def __init__(
        self,
        channels: int,
        grid: tuple[int, int],
        hidden: int,
        numbers: int,
        feature_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.feature_dropout = nn.Dropout(feature_dropout)
        self.fc = nn.Linear(channels * grid[0] * grid[1], hidden)
        self.dropout = nn.Dropout(dropout)
        self.xyz = nn.Linear(hidden, 3)
        self.rotation = nn.Linear(hidden, numbers)

    def features(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        """Average the maps on the grid."""
        return nn.functional.adaptive_avg_pool2d(maps, self.grid).flatten(1)

    def forward(self, features: Float[Tensor, "n features"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n numbers"]]:
        """Regress position and rotation."""
        hidden = self.dropout(self.fc(self.feature_dropout(features)).relu())
        return self.xyz(hidden), self.rotation(hidden)

    def thinned(
        self, features: Float[Tensor, "n features"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n numbers"]]:
        """Regress them by a network thinned out by dropout: one drawn mask of each layer for all images."""
        hidden = self.fc(features * _mask(features, self.feature_dropout.p, generator)).relu()
        hidden = hidden * _mask(hidden, self.dropout.p, generator)
        return self.xyz(hidden), self.rotation(hidden)

    def draw(self, position_std: float) -> None:
        """Draw first weights as the release does: Gaussian, of 0.01, and of another deviation for the position."""
        _draw(self, position_std)


class AuxiliaryHead(nn.Module):
    """Position and rotation from maps in the middle of GoogLeNet, in training alone.

    Args:
        maps: channels, rows and columns.
        numbers: of the rotation.
    """

    def __init__(self, maps: tuple[int, int, int], numbers: int) -> None:
        super().__init__()
        channels, *sides = maps
        if min(sides) < 5:
            raise Vo3dError(f"auxiliary heads average 5 x 5 pixels of maps of {sides}: give a larger size")
        rows, columns = ((side - 5) // 3 + 1 for side in sides)
        self.pool = nn.AvgPool2d(5, 3)
        self.conv = nn.Conv2d(channels, AUXILIARY_WIDTH, 1)
        self.fc = nn.Linear(AUXILIARY_WIDTH * rows * columns, AUXILIARY_HIDDEN)
        self.dropout = nn.Dropout(AUXILIARY_DROPOUT)
        self.xyz = nn.Linear(AUXILIARY_HIDDEN, 3)
        self.rotation = nn.Linear(AUXILIARY_HIDDEN, numbers)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n numbers"]]:
        """Regress position and rotation."""
        features = self.conv(self.pool(maps)).relu().flatten(1)
        hidden = self.dropout(self.fc(features).relu())
        return self.xyz(hidden), self.rotation(hidden)

    def draw(self, position_std: float) -> None:
        """Draw first weights as the release does, the convolution's as torch does."""
        _draw(self, position_std)


def _draw(head: PoseHead | AuxiliaryHead, position_std: float) -> None:
    """Draw Gaussian weights of the linear layers, and set their biases to zero."""
    for layer, std in ((head.fc, 0.01), (head.xyz, position_std), (head.rotation, 0.01)):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)


def _mask(values: Float[Tensor, "n c"], rate: float, generator: torch.Generator) -> Float[Tensor, " c"]:
    """Draw which of c values stay, at 1 / (1 - rate), all of them at rate 0."""
    kept = torch.rand(values.shape[1], generator=generator) >= rate
    return kept.to(values) / (1 - rate)
