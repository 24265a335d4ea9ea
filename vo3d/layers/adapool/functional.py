"""The pooling functions of the AdaPool family, over one, two and three spatial axes.

Half precision is computed in float32. NaN and infinity make NaN of the windows that hold them.

Source: Stergiou, Poppe, "AdaPool: Exponential Adaptive Pooling for Information-Retaining Downsampling", IEEE
Transactions on Image Processing 32, 2023.
"""

from typing import Unpack

from torch import Tensor

from vo3d.layers.adapool.arguments import EMPoolOptions, PoolOptions, Size
from vo3d.layers.adapool.pooling import Pooled, pool, single, with_beta


@with_beta
def adapool1d(
    x: Tensor,
    beta: Tensor | float | None,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """AdaPool of sequences: y = beta y_smooth + (1 - beta) y_EM, the results of `edscwpool1d` and `empool1d`.

    Args:
        x: (B, C, L) or (C, L), floating point; it is not changed.
        beta: share of the smooth average, in [0, 1]: a number, or a tensor of shape (), (1,) or (oL,); its
            gradient is the sum of dy (y_smooth - y_EM) over batch and channels.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="dsc", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oL) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("adapool", 1, x, beta, kernel_size, stride, return_mask, native, **options)


@with_beta
def adapool2d(
    x: Tensor,
    beta: Tensor | float | None,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """AdaPool of maps: y = beta y_smooth + (1 - beta) y_EM, the results of `edscwpool2d` and `empool2d`.

    Args:
        x: (B, C, H, W) or (C, H, W), floating point; it is not changed.
        beta: share of the smooth average, in [0, 1]: a number, or a tensor of shape (), (1, 1) or (oH, oW); its
            gradient is the sum of dy (y_smooth - y_EM) over batch and channels.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="dsc", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("adapool", 2, x, beta, kernel_size, stride, return_mask, native, **options)


@with_beta
def adapool3d(
    x: Tensor,
    beta: Tensor | float | None,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """AdaPool of volumes: y = beta y_smooth + (1 - beta) y_EM, the results of `edscwpool3d` and `empool3d`.

    Args:
        x: (B, C, D, H, W) or (C, D, H, W), floating point; it is not changed.
        beta: share of the smooth average, in [0, 1]: a number, or a tensor of shape (), (1, 1, 1) or (oD, oH, oW); its
            gradient is the sum of dy (y_smooth - y_EM) over batch and channels.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="dsc", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oD, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("adapool", 3, x, beta, kernel_size, stride, return_mask, native, **options)


@single
def edscwpool1d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """Smooth average of sequences: w_i = exp(s_i) / sum exp(s_j), s_i = 2 |x_i m| / (x_i^2 + m^2), m the window's mean.

    Weights by the exponential of the Dice-Sorensen coefficient: each element counts, those like the mean count more.

    Args:
        x: (B, C, L) or (C, L), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="dsc", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oL) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("edscwpool", 1, x, None, kernel_size, stride, return_mask, native, **options)


@single
def edscwpool2d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """Smooth average of maps: w_i = exp(s_i) / sum exp(s_j), s_i = 2 |x_i m| / (x_i^2 + m^2), m the window's mean.

    Weights by the exponential of the Dice-Sorensen coefficient: each element counts, those like the mean count more.

    Args:
        x: (B, C, H, W) or (C, H, W), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="dsc", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("edscwpool", 2, x, None, kernel_size, stride, return_mask, native, **options)


@single
def edscwpool3d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """Smooth average of volumes: w_i = exp(s_i) / sum exp(s_j), s_i = 2 |x_i m| / (x_i^2 + m^2), m the window's mean.

    Weights by the exponential of the Dice-Sorensen coefficient: each element counts, those like the mean count more.

    Args:
        x: (B, C, D, H, W) or (C, D, H, W), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="dsc", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oD, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("edscwpool", 3, x, None, kernel_size, stride, return_mask, native, **options)


@single
def idwpool1d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """Inverse distance weighting of sequences: w_i = (1 / d_i) / sum (1 / d_j), d_i = |x_i - m|, m the window's mean.

    Outliers count little. Elements that equal the mean share all the weight, so a constant window gives its constant.

    Args:
        x: (B, C, L) or (C, L), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="l1", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oL) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("idwpool", 1, x, None, kernel_size, stride, return_mask, native, **options)


@single
def idwpool2d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """Inverse distance weighting of maps: w_i = (1 / d_i) / sum (1 / d_j), d_i = |x_i - m|, m the window's mean.

    Outliers count little. Elements that equal the mean share all the weight, so a constant window gives its constant.

    Args:
        x: (B, C, H, W) or (C, H, W), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="l1", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("idwpool", 2, x, None, kernel_size, stride, return_mask, native, **options)


@single
def idwpool3d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[PoolOptions],
) -> Pooled:
    """Inverse distance weighting of volumes: w_i = (1 / d_i) / sum (1 / d_j), d_i = |x_i - m|, m the window's mean.

    Outliers count little. Elements that equal the mean share all the weight, so a constant window gives its constant.

    Args:
        x: (B, C, D, H, W) or (C, D, H, W), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", similarity="l1", similarity_over="element",
            nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

    Returns:
        (B, C, oD, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("idwpool", 3, x, None, kernel_size, stride, return_mask, native, **options)


@single
def empool1d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[EMPoolOptions],
) -> Pooled:
    """Smooth maximum of sequences, also named SoftPool: w_i = exp(x_i) / sum exp(x_j).

    Source: Stergiou, Poppe, Kalliatakis, "Refining activation downsampling with SoftPool", ICCV 2021.

    Args:
        x: (B, C, L) or (C, L), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", nan_to_num=False, detach_mask=True, as
            `vo3d.layers.EMPoolOptions` explains.

    Returns:
        (B, C, oL) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("empool", 1, x, None, kernel_size, stride, return_mask, native, **options)


@single
def empool2d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[EMPoolOptions],
) -> Pooled:
    """Smooth maximum of maps, also named SoftPool: w_i = exp(x_i) / sum exp(x_j).

    Source: Stergiou, Poppe, Kalliatakis, "Refining activation downsampling with SoftPool", ICCV 2021.

    Args:
        x: (B, C, H, W) or (C, H, W), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", nan_to_num=False, detach_mask=True, as
            `vo3d.layers.EMPoolOptions` explains.

    Returns:
        (B, C, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("empool", 2, x, None, kernel_size, stride, return_mask, native, **options)


@single
def empool3d(
    x: Tensor,
    kernel_size: Size = 2,
    stride: Size | None = None,
    return_mask: bool = False,
    native: bool = False,
    **options: Unpack[EMPoolOptions],
) -> Pooled:
    """Smooth maximum of volumes, also named SoftPool: w_i = exp(x_i) / sum exp(x_j).

    Source: Stergiou, Poppe, Kalliatakis, "Refining activation downsampling with SoftPool", ICCV 2021.

    Args:
        x: (B, C, D, H, W) or (C, D, H, W), floating point; it is not changed.
        kernel_size: size of a window, one number or one for each axis.
        stride: from window to window; None: the kernel's size.
        return_mask: return the weights as well, as a `PoolMask`.
        native: the same result in one compiled pass; the first call on new sizes compiles it.
        options: padding=0, ceil_mode=False, gradient="straight_through", nan_to_num=False, detach_mask=True, as
            `vo3d.layers.EMPoolOptions` explains.

    Returns:
        (B, C, oD, oH, oW) in the dtype of x, or this and the mask. Under autocast float32.

    Raises:
        Vo3dError: an argument does not fit; the line says which, and what would.
    """
    return pool("empool", 3, x, None, kernel_size, stride, return_mask, native, **options)


soft_pool1d, soft_pool2d, soft_pool3d = empool1d, empool2d, empool3d
