"""What every pooling function of the AdaPool family does, over any number of spatial axes, and their types."""

from collections.abc import Callable
from typing import Literal, Protocol, Unpack, cast, overload, runtime_checkable

import torch
from torch import Tensor

from vo3d.layers.adapool.arguments import (
    PoolOptions,
    Settings,
    Size,
    check_flags,
    check_input,
    expand_beta,
    settings,
    windows_of,
)
from vo3d.layers.adapool.formula import twin
from vo3d.layers.adapool.masks import PoolMask, pool_mask
from vo3d.layers.adapool.operator import adapool
from vo3d.layers.adapool.transforms import transformed

Pooled = Tensor | tuple[Tensor, PoolMask]


@runtime_checkable
class AdaPool(Protocol):
    """Types of `adapool*`: a mask comes with the output where `return_mask` is True."""

    __name__: str

    @overload
    def __call__(
        self,
        x: Tensor,
        beta: Tensor | float | None,
        kernel_size: Size = 2,
        stride: Size | None = None,
        return_mask: Literal[False] = False,
        native: bool = False,
        **options: Unpack[PoolOptions],
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: Tensor,
        beta: Tensor | float | None,
        kernel_size: Size = 2,
        stride: Size | None = None,
        return_mask: Literal[True] = ...,
        native: bool = False,
        **options: Unpack[PoolOptions],
    ) -> tuple[Tensor, PoolMask]: ...


@runtime_checkable
class SinglePool(Protocol):
    """Types of `edscwpool*`, `idwpool*` and `empool*`: a mask comes with the output where `return_mask` is True."""

    __name__: str

    @overload
    def __call__(
        self,
        x: Tensor,
        kernel_size: Size = 2,
        stride: Size | None = None,
        return_mask: Literal[False] = False,
        native: bool = False,
        **options: Unpack[PoolOptions],
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: Tensor,
        kernel_size: Size = 2,
        stride: Size | None = None,
        return_mask: Literal[True] = ...,
        native: bool = False,
        **options: Unpack[PoolOptions],
    ) -> tuple[Tensor, PoolMask]: ...


def pool(
    operator: str,
    axes: int,
    x: Tensor,
    beta: Tensor | float | None,
    kernel_size: Size,
    stride: Size | None,
    return_mask: bool,
    native: bool,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """Do as the function of the family that is named `operator` and `axes`; `beta` is for "adapool" alone."""
    name = f"{operator}{axes}d"
    check_flags(name, return_mask=return_mask, native=native)
    how = settings(name, operator, axes, kernel_size, stride, **options)
    return pool_by(how, name, operator == "adapool", x, beta, return_mask, native)


def pool_by(
    how: Settings, name: str, blend: bool, x: Tensor, beta: Tensor | float | None, return_mask: bool, native: bool
) -> Pooled:
    """Pool by settings that are checked already; with `blend` both averages, in the shares that beta gives."""
    axes = len(how.kernel)
    check_input(name, x, axes)
    out = windows_of(name, x.shape[-axes:], how)
    share = expand_beta(name, beta, x, out) if blend else None  # *out
    maps = x if x.ndim == axes + 2 else x.unsqueeze(0)
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):  # sums and exponentials want float32
        maps = maps.to(torch.promote_types(x.dtype, torch.float32))
    # Within a compiled graph the operator compiles its own body too; an exported program has to run without a compiler.
    fused = native or (torch.compiler.is_compiling() and not torch.compiler.is_exporting())
    geometry = (list(how.kernel), list(how.stride), list(how.padding), how.ceil_mode)
    rules = (how.similarity, how.over_channels, how.exact, how.nan_to_num)
    y = twin(maps, share, *geometry, *rules) if transformed() else adapool(maps, share, *geometry, *rules, fused)
    pooled = y if x.ndim == maps.ndim else y.squeeze(0)
    return (pooled, pool_mask(maps.to(y.dtype), share, out, how)) if return_mask else pooled


def with_beta(function: Callable[..., Pooled]) -> AdaPool:
    """Return the function itself; its type tells when a mask is returned."""
    return cast(AdaPool, function)


def single(function: Callable[..., Pooled]) -> SinglePool:
    """Return the function itself; its type tells when a mask is returned."""
    return cast(SinglePool, function)
