"""Whole images as vectors that are near each other where the images show the same: thumbnails, features of trunks."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, normalize, pad

from vo3d.errors import Vo3dError
from vo3d.layers.frozen import FrozenTrunk
from vo3d.layers.trunk import TrunkName
from vo3d.recording import Recording

Features = Literal["thumbnail", "patch_thumbnail"] | TrunkName
Pooling = Literal["mean", "max", "grid"]

THUMBNAIL = (24, 32)  # rows and columns
PATCH = 7  # pixels of a thumbnail across, by which each pixel is normalised
BLANK = 1e-3  # a hundredth of the length of a thumbnail whose deviation is one grey level
NOISE = 5 / 255  # added to the deviation of a patch: what is flat stays so
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue


class ImageDescriptor(nn.Module):
    """A vector of unit length for each image: its dot products tell how much two images look alike.

    "thumbnail" is the image in grey, 24 x 32 pixels, its mean and its deviation taken off; "patch_thumbnail" takes off
    those of the pixels around each pixel, so that light and shade over parts of the image count less. One number more
    is near 0, and 1 where an image has one colour alone: it looks like others of the kind, and like nothing else. Any
    other word is a trunk, whose last maps are pooled.

    Source: patches: Milford and Wyeth, "SeqSLAM", ICRA 2012, section III.B.

    Args:
        features: a thumbnail, or the name of the trunk.
        pretrained, cut: of the trunk, see `FrozenTrunk`.
        pooling, grid: of its last maps, see `pooled`.

    Raises:
        Vo3dError: the trunk has no such weights or parts, or the grid is empty.
    """

    grey: Tensor  # 3 1 1

    def __init__(
        self,
        features: Features,
        *,
        pretrained: bool = True,
        cut: int | None = None,
        pooling: Pooling = "mean",
        grid: tuple[int, int] = (6, 8),
    ) -> None:
        super().__init__()
        check_grid(grid)
        self.patches, self.pooling, self.grid = features == "patch_thumbnail", pooling, (grid[0], grid[1])
        thumbnail = features in {"thumbnail", "patch_thumbnail"}
        self.trunk = None if thumbnail else FrozenTrunk(features, pretrained=pretrained, cut=cut)  # type: ignore[arg-type]
        self.register_buffer("grey", torch.tensor(GREY)[:, None, None], persistent=False)

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c"]:
        """Describe RGB in [0, 1] of any size."""
        if self.trunk is not None:
            return normalize(pooled(self.trunk(image), self.pooling, self.grid), dim=-1)
        thumbnail = adaptive_avg_pool2d((image * self.grey).sum(-3, keepdim=True), THUMBNAIL)
        if self.patches:
            mean = _patch_mean(thumbnail)
            apart = thumbnail - mean
            # of each patch about its own mean; where the image is flat, rounding alone is left
            deviation = (_patch_mean(thumbnail.square()) - mean.square()).clamp(min=0).sqrt()
            apart = apart / (deviation + NOISE)
        else:
            apart = thumbnail - thumbnail.mean((-2, -1), keepdim=True)
        return normalize(pad(apart.flatten(1), (0, 1), value=BLANK), dim=-1)

    def of_all(self, recordings: Iterable[Recording]) -> Float[Tensor, "n c"]:
        """Describe all views of recordings, one after the other."""
        return of_all_views(self, recordings, self.grey.device)


@torch.no_grad()
def of_all_views(
    function: Callable[[Tensor], Tensor], recordings: Iterable[Recording], device: torch.device
) -> Float[Tensor, "n *c"]:
    """Apply a function of one image (1 3 h w, on `device`) to all views of recordings, one after the other."""
    views = ((recording, index) for recording in recordings for index in range(len(recording)))
    return torch.cat([function(recording.clip((index,)).image.to(device)) for recording, index in views])


def check_grid(grid: tuple[int, int]) -> None:
    """Raise Vo3dError unless a grid has cells."""
    if min(grid) < 1:
        raise Vo3dError(f"grid {tuple(grid)}: expected at least 1 row and 1 column")


def pooled(maps: Float[Tensor, "n c h w"], pooling: Pooling, grid: tuple[int, int]) -> Float[Tensor, "n d"]:
    """Make one vector of maps of any size: the mean or the maximum of each map, or its means in the cells of a grid.

    A grid keeps what is where in the image, and so knows a place from one side alone; d = c * rows * columns, channel
    after channel.
    """
    if pooling == "max":
        return maps.amax((-2, -1))
    return maps.mean((-2, -1)) if pooling == "mean" else adaptive_avg_pool2d(maps, grid).flatten(1)


def _patch_mean(thumbnail: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Average the pixels around each pixel; at borders they are mirrored."""
    return avg_pool2d(pad(thumbnail, [PATCH // 2] * 4, mode="reflect"), PATCH, 1)
