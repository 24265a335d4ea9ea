"""How an encoder halves its maps: by the stride of its convolutions, or by pooling after convolutions of stride 1."""

from typing import Literal, get_args

from torch import nn

from vo3d.errors import Vo3dError

Pool = Literal["stride", "max", "avg"]


def pooling_layer(
    pool: Pool,
    kernel_size: int | tuple[int, int] = 2,
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
) -> nn.Module:
    """The layer that pools maps (b c h w) in the way that `pool` names.

    Windows lie as those of `torch.nn.MaxPool2d` with the same arguments. Padding is left out of averages, so
    that a map's border is treated as its middle.

    Args:
        pool: "max" the largest value, "avg" the mean. "stride" has no layer.
        kernel_size: rows and columns of a window.
        stride: from window to window; None: the kernel's size.
        padding: rows and columns around the map, at most half the kernel.
        ceil_mode: give a partial window at the far border its own output; with kernel and stride 2, h rows become
            h / 2 rounded up, as under a convolution of stride 2.

    Raises:
        Vo3dError: `pool` is "stride" or unknown.
    """
    check_pool(pool)
    if pool == "stride":
        raise Vo3dError(
            "pool 'stride' leaves the halving to a convolution, and this network has a layer for it: expected one of "
            f"{', '.join(get_args(Pool)[1:])}"
        )
    if pool == "max":
        return nn.MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)
    return nn.AvgPool2d(kernel_size, stride, padding, ceil_mode, count_include_pad=False)


def check_pool(pool: str) -> None:
    """Raise Vo3dError unless `pool` is one of `Pool`."""
    if pool not in get_args(Pool):
        raise Vo3dError(f"{pool=} is unknown: expected one of {', '.join(get_args(Pool))}")
