"""Parts of networks that never learn."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vo3d.layers.trunk import TrunkName, make_trunk

SIDE = 224  # pixels of the shorter side of what trunks see, as they were trained


class FrozenTrunk(nn.Module):
    """Maps of a trunk that never learns: its weights are buffers, which no optimiser sees.

    Args:
        name: Of the trunk.
        pretrained: Whether it has weights of ImageNet; without, they are drawn, always the same ones.
        cut: Parts of it that are kept, see `vo3d.layers.trunk.make_trunk`; None: all.

    Raises:
        Vo3dError: There are no such weights, or no such parts.
    """

    def __init__(self, name: TrunkName, *, pretrained: bool = True, cut: int | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.trunk = make_trunk(name, pretrained=pretrained, cut=cut)
        as_buffers(self.trunk)
        self.out_channels = self.trunk.out_channels
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


def as_buffers(module: nn.Module) -> None:
    """Turn the parameters of a module into buffers of the same names, which no optimiser sees."""
    for layer in module.modules():
        for key, weight in list(layer.named_parameters(recurse=False)):
            delattr(layer, key)
            layer.register_buffer(key, weight.detach())
