"""The base of trunks: they take images as samples hold them, and normalise them by values in their state dict."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vo3d.errors import Vo3dError
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

    def cut(self, count: int) -> None:
        """Keep the first `count` parts alone: stages of a ResNet, blocks of EfficientNet-Lite0; others have no parts.

        Raises:
            Vo3dError: the trunk has not so many parts, or none.
        """
        raise Vo3dError(f"cut={count}: {type(self).__name__} is cut at its last maps alone: leave `cut` out")

    def check_cut(self, count: int, parts: int) -> None:
        """Raise Vo3dError unless at least one of `parts` parts is kept."""
        if not 1 <= count <= parts:
            raise Vo3dError(f"cut={count}: expected 1 to {parts} parts of {type(self).__name__} to keep")

    def check_least(self, image: Float[Tensor, "n 3 h w"], smallest: int) -> None:
        """Raise Vo3dError where images have fewer rows or columns than `smallest`."""
        if min(image.shape[-2:]) < smallest:
            rows, columns = image.shape[-2:]
            raise Vo3dError(
                f"images of {rows} rows and {columns} columns: {type(self).__name__} needs {smallest} of each at "
                "least: choose a larger size"
            )

    def draw_for_rectifiers(self) -> None:
        """Draw the weights of all convolutions with variance 2 / outputs of a window; biases are 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
