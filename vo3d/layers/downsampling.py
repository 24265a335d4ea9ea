"""How an encoder halves its maps: by the stride of its convolutions, or by pooling after convolutions of stride 1."""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

from torch import nn

from vo3d.errors import Vo3dError
from vo3d.layers.adapool import AdaPool2d, EDSCWPool2d, IDWPool2d, SoftPool2d

Pool = Literal["stride", "max", "avg", "ada", "soft", "edscw", "idw"]
_LAYERS: dict[Pool, Callable[..., nn.Module]] = {
    "max": nn.MaxPool2d,
    "avg": partial(nn.AvgPool2d, count_include_pad=False),
    "ada": partial(AdaPool2d, beta=0.5),
    "soft": SoftPool2d,
    "edscw": EDSCWPool2d,
    "idw": IDWPool2d,
}


def pooling_layer(
    pool: Pool,
    kernel_size: int | tuple[int, int] = 2,
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
) -> nn.Module:
    """Make the layer that pools maps (b c h w) in the way that `pool` names.

    Windows lie as those of `torch.nn.MaxPool2d` with the same arguments. Padding is left out of averages and
    similarities, so that a map's border is treated as its middle.

    Args:
        pool: "max" the largest value, "avg" the mean, "soft" the mean weighted by exp(value) (SoftPool), "edscw" the
            mean weighted by exp(Dice-Sorensen similarity to the window's mean), "idw" the mean weighted by inverse
            distance to the window's mean, "ada" beta edscw + (1 - beta) soft (AdaPool). "stride" has no layer.
        kernel_size: rows and columns of a window.
        stride: from window to window; None: the kernel's size.
        padding: rows and columns around the map, at most half the kernel.
        ceil_mode: give a partial window at the far border its own output; with kernel and stride 2, h rows become
            h / 2 rounded up, as under a convolution of stride 2.

    The beta of "ada" is one trainable number, 0.5 at the start and held in [0, 1], because an encoder learns the size
    of its maps only from its input.

    Source: Stergiou, Poppe, "AdaPool", IEEE Transactions on Image Processing 32, 2023; "soft": Stergiou et al.,
    "Refining activation downsampling with SoftPool", ICCV 2021.

    Raises:
        Vo3dError: `pool` is "stride" or unknown.
    """
    check_pool(pool)
    if pool == "stride":
        raise Vo3dError(
            "pool 'stride' leaves the halving to a convolution, and this network has a layer for it: expected one of "
            f"{', '.join(_LAYERS)}"
        )
    return _LAYERS[pool](kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode)


def check_pool(pool: str) -> None:
    """Raise Vo3dError unless `pool` is one of `Pool`."""
    if pool not in get_args(Pool):
        raise Vo3dError(f"{pool=} is unknown: expected one of {', '.join(get_args(Pool))}")
