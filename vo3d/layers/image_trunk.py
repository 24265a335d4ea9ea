"""The base of trunks: they take images as samples hold them, and normalise them by values in their state dict."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.formats.weights import KeyMap


class Trunk(nn.Module):
    """A convolutional network from an image to its last maps, before anything makes one vector of them.

    A trunk is called with images (n 3 h w, RGB in [0, 1]) of any size, and gives maps (n `out_channels` rows columns).
    It normalises by itself: (image - image_mean) / image_std, two buffers (3 1 1) of its state dict.

    Args:
        out_channels: channels of the last maps.
        image_mean, image_std: of red, green and blue, in [0, 1].
    """

    published: ClassVar[Mapping[str, KeyMap]] = {}  # checkpoints of others that fit, by a short name
    image_mean: Tensor
    image_std: Tensor

    def __init__(self, out_channels: int, image_mean: Sequence[float], image_std: Sequence[float]) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.register_buffer("image_mean", torch.tensor(image_mean).reshape(3, 1, 1))
        self.register_buffer("image_std", torch.tensor(image_std).reshape(3, 1, 1))

    def normalised(self, image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Compute (image - image_mean) / image_std."""
        return (image - self.image_mean) / self.image_std
