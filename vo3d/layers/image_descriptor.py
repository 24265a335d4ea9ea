"""Whole images as vectors that are near each other where the images show the same: thumbnails, features of trunks."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from vo3d.layers.trunk import TrunkName, make_trunk
from vo3d.recording import Recording

Features = Literal["thumbnail"] | TrunkName

THUMBNAIL = (24, 32)  # rows and columns
SIDE = 224  # pixels of the shorter side of what trunks see, as they were trained
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue


class FrozenTrunk(nn.Module):
    """Maps of a trunk that never learns: its weights are buffers, which no optimiser sees.

    Args:
        name: Of the trunk.
        pretrained: Whether it has weights of ImageNet; without, they are drawn, always the same ones.

    Raises:
        Vo3dError: There are no such weights.
    """

    def __init__(self, name: TrunkName, *, pretrained: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.trunk = make_trunk(name, pretrained=pretrained)
        for layer in self.trunk.modules():
            for key, weight in list(layer.named_parameters(recurse=False)):
                delattr(layer, key)
                layer.register_buffer(key, weight.detach())
        self.train(False)

    def train(self, mode: bool = True) -> "FrozenTrunk":
        """Stay as in inference: the statistics of normalising layers are frozen, too."""
        return super().train(False)

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c i j"]:
        """Give the maps of RGB in [0, 1] of any size, resized to `SIDE` pixels on its shorter side."""
        h, w = image.shape[-2:]
        size = (round(SIDE * h / min(h, w)), round(SIDE * w / min(h, w)))
        seen = image if size == (h, w) else interpolate(image, size=size, mode="bilinear", antialias=True)
        return self.trunk(seen)  # type: ignore[no-any-return]


class ImageDescriptor(nn.Module):
    """A vector of unit length for each image: its dot products tell how much two images look alike.

    "thumbnail" is the image in grey, 24 x 32 pixels, its mean and its deviation taken off; any other word is the trunk
    whose last maps are averaged over the image.

    Args:
        features: "thumbnail" or the name of the trunk.
        pretrained: Of the trunk, see `FrozenTrunk`.
    """

    grey: Tensor  # 3 1 1

    def __init__(self, features: Features, *, pretrained: bool = True) -> None:
        super().__init__()
        self.trunk = None if features == "thumbnail" else FrozenTrunk(features, pretrained=pretrained)
        self.register_buffer("grey", torch.tensor(GREY)[:, None, None], persistent=False)

    def forward(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c"]:
        """Describe RGB in [0, 1] of any size; a thumbnail of one colour alone is zero."""
        if self.trunk is not None:
            return normalize(self.trunk(image).mean((-2, -1)), dim=-1)
        thumbnail = adaptive_avg_pool2d((image * self.grey).sum(-3), THUMBNAIL).flatten(1)
        return normalize(thumbnail - thumbnail.mean(-1, keepdim=True), dim=-1, eps=1e-4)

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
