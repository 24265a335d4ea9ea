"""The AdaPool family as layers: the functions with their arguments kept, and a beta that learns."""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vo3d.errors import Vo3dError
from vo3d.layers.adapool.arguments import PoolOptions, Size, check_flags, check_input, check_word, settings, windows_of
from vo3d.layers.adapool.masks import PoolMask, Published, unpool
from vo3d.layers.adapool.pooling import Pooled, pool_by

RESIZING = ("linear", "bilinear", "trilinear")


class _Layer(nn.Module):
    """A layer whose class says which operator it is, and over how many axes."""

    operator: ClassVar[str] = ""
    axes: ClassVar[int] = 0

    def __init_subclass__(cls, operator: str = "", axes: int = 0) -> None:
        """Take what the class statement says; what it leaves open stays as in the class above."""
        super().__init_subclass__()
        cls.operator, cls.axes = operator or cls.operator, axes or cls.axes


class _Pool(_Layer):
    """A pooling layer with its settings."""

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        return_mask: bool = False,
        native: bool = False,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Keep the arguments of the function.

        Args:
            kernel_size: size of a window, one number or one for each axis.
            stride: from window to window; None: the kernel's size.
            return_mask: return the weights as well, as a `PoolMask`.
            native: the same result in one compiled pass; the first call on new sizes compiles it.
            options: padding=0, ceil_mode=False, gradient="straight_through", nan_to_num=False, detach_mask=True and,
                except for EM, similarity, similarity_over="element", as `vo3d.layers.PoolOptions` explains.

        Raises:
            Vo3dError: an argument does not fit; the line says which, and what would.
        """
        super().__init__()
        check_flags(type(self).__name__, return_mask=return_mask, native=native)
        self.settings = settings(type(self).__name__, self.operator, self.axes, kernel_size, stride, **options)
        self.return_mask = return_mask
        self.native = native
        self.options = options  # as given, to be shown

    def forward(self, x: Tensor) -> Pooled:
        """Pool x (B, C, *size) or (C, *size) to (..., *out); with its mask where `return_mask` is set."""
        return pool_by(self.settings, type(self).__name__, False, x, None, self.return_mask, self.native)

    def extra_repr(self) -> str:
        shown: dict[str, object] = {"kernel_size": self.settings.kernel, "stride": self.settings.stride}
        shown |= {name: True for name in ("return_mask", "native") if getattr(self, name)}
        return ", ".join(f"{name}={value!r}" for name, value in {**shown, **self.options}.items())


class _AdaPool(_Pool, operator="adapool"):
    """AdaPool with its beta."""

    beta: Tensor

    def __init__(
        self,
        kernel_size: Size = 2,
        beta: Tensor | Sequence[int] | float | None = None,
        stride: Size | None = None,
        beta_trainable: bool = True,
        return_mask: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        native: bool = False,
        *,
        parametrisation: str = "clamp",
        resize_beta: bool = False,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Keep the arguments of the function, and make beta.

        Args:
            kernel_size: size of a window, one number or one for each axis.
            beta: share of the smooth average, in [0, 1]. A number: one value for every position, so that maps of any
                size can be pooled; a tensor of the output's size: these values, copied; a tuple: a size to be filled
                with uniform random values (the published ones are normal and cut off, which makes half of them 0).
            stride: from window to window; None: the kernel's size.
            beta_trainable: beta is a parameter; False: a buffer. Either is `beta` in the state dict.
            return_mask: return the weights as well, as a `PoolMask`.
            device: of beta.
            dtype: of beta.
            native: the same result in one compiled pass; the first call on new sizes compiles it.
            parametrisation: how beta stays in [0, 1]: "clamp" cuts it off in the forward pass while the gradient passes
                straight through; "sigmoid" stores logits (values given are converted); "none" leaves it alone.
            resize_beta: resize beta linearly to the output's size, so that one layer pools maps of all sizes.
            options: padding=0, ceil_mode=False, gradient="straight_through", similarity="dsc",
                similarity_over="element", nan_to_num=False, detach_mask=True, as `vo3d.layers.PoolOptions` explains.

        Raises:
            Vo3dError: beta is missing, or an argument does not fit; the line says what would.
        """
        super().__init__(kernel_size, stride, return_mask, native, **options)
        check_word(type(self).__name__, "parametrisation", parametrisation, ("clamp", "sigmoid", "none"))
        self.parametrisation = parametrisation
        self.resize_beta = resize_beta
        self._start = beta if isinstance(beta, int | float) else None  # None: a tensor's values, or random ones
        stored = self._stored(_first_values(type(self).__name__, beta, self.axes, device, dtype))
        if beta_trainable:
            self.beta = nn.Parameter(stored)
        else:
            self.register_buffer("beta", stored)

    def forward(self, x: Tensor) -> Pooled:
        """Pool x (B, C, *size) or (C, *size) to (..., *out); with its mask where `return_mask` is set."""
        name = type(self).__name__
        beta = self.shares()
        if self.resize_beta and beta.ndim:
            check_input(name, x, self.axes)
            out = windows_of(name, x.shape[-self.axes :], self.settings)
            if torch.compiler.is_compiling() or tuple(beta.shape) != out:  # a graph must not depend on which it is
                beta = _resized(beta, out)
        return pool_by(self.settings, name, True, x, beta, self.return_mask, self.native)

    def shares(self) -> Tensor:
        """Return beta as it is used, in [0, 1] unless `parametrisation` is "none"; in the size in which it is kept."""
        if self.parametrisation == "sigmoid":
            return self.beta.sigmoid()
        if self.parametrisation == "none":
            return self.beta
        return self.beta.detach().clamp(0, 1) + (self.beta - self.beta.detach())  # exact, of derivative 1

    def _stored(self, values: Tensor) -> Tensor:
        if self.parametrisation != "sigmoid":
            return values
        return values.logit(torch.finfo(values.dtype).eps)  # of 0 and 1 the logits would be infinite

    def reset_parameters(self) -> None:
        """Start anew: the number that beta was given as, or uniform random values in its size."""
        start = self._start if self._start is not None else tuple(self.beta.shape)
        with torch.no_grad():
            values = _first_values(type(self).__name__, start, self.axes, self.beta.device, self.beta.dtype)
            self.beta.copy_(self._stored(values))

    def extra_repr(self) -> str:
        kind = "beta" if isinstance(self.beta, nn.Parameter) else "fixed beta"
        shown = f"{super().extra_repr()}, {kind} {tuple(self.beta.shape)}, parametrisation={self.parametrisation!r}"
        return f"{shown}, resize_beta=True" if self.resize_beta else shown


def _first_values(
    name: str,
    beta: Tensor | Sequence[int] | float | None,
    axes: int,
    device: torch.device | str | int | None,
    dtype: torch.dtype | None,
) -> Tensor:
    """Make the values that a layer's beta starts with, in memory of its own."""
    if dtype is not None and not dtype.is_floating_point:
        raise Vo3dError(f"{name}: found dtype {dtype} for beta, expected floating point")
    if beta is None:
        raise Vo3dError(f"{name}: beta is missing: give a number in [0, 1], a tensor of values, or a tuple, its size")
    if isinstance(beta, Tensor):
        if beta.ndim not in (0, axes) or not beta.is_floating_point():
            raise Vo3dError(
                f"{name}: found a beta of shape {tuple(beta.shape)} and {beta.dtype}, expected floating-point values "
                f"for {axes} axes, or a single one"
            )
        return beta.detach().to(device=device, dtype=dtype, copy=True)
    if isinstance(beta, int | float):
        if not 0 <= beta <= 1:
            size = (int(beta),) * axes if beta > 1 else (28,) * axes
            raise Vo3dError(f"{name}: found beta {beta}, expected a number in [0, 1]; a size is a tuple, as {size}")
        return torch.full((), beta, device=device, dtype=dtype or torch.get_default_dtype())
    if not isinstance(beta, Sequence):
        raise Vo3dError(f"{name}: found a beta of type {type(beta).__name__}, expected a number, a tensor or a tuple")
    if len(beta) not in (0, axes) or not all(isinstance(size, Integral) and size > 0 for size in beta):
        raise Vo3dError(f"{name}: found {tuple(beta)} as the size of beta, expected {axes} whole numbers above 0")
    return torch.rand(tuple(beta), device=device, dtype=dtype)


def _resized(beta: Tensor, size: tuple[int, ...]) -> Tensor:
    """Interpolate beta linearly between its values, for maps of another size; a resize keeps it in [0, 1]."""
    exact = beta.to(torch.promote_types(beta.dtype, torch.float32))[None, None]
    return F.interpolate(exact, size=size, mode=RESIZING[len(size) - 1], align_corners=False)[0, 0]


class _AdaUnpool(_Layer):
    """Unpooling with a mask that is kept, or given with each input."""

    def __init__(
        self,
        mask: PoolMask | Published | None = None,
        interpolate: bool = True,
        *,
        normalise: str = "sum",
        output_size: Sequence[int] | None = None,
    ) -> None:
        """Keep the arguments of `vo3d.layers.adaunpool`.

        Args:
            mask: what a pooling returned with return_mask=True; or weights with windows side by side, (edscw, em, beta)
                or one tensor; None: each call brings its own. It moves with the layer, but is not in the state dict.
            interpolate: False: inputs have the mask's size already and are only multiplied by its weights.
            normalise: "sum": the sum over a window is its value; "mean": the mean is.
            output_size: spatial size of the result, larger than what the windows cover by zeros at the far ends.

        Raises:
            Vo3dError: `normalise` is unknown.
        """
        super().__init__()
        check_word(type(self).__name__, "normalise", normalise, ("sum", "mean"))
        self.mask = mask
        self.interpolate = interpolate
        self.normalise = normalise
        self.output_size = output_size

    def forward(self, x: Tensor, mask: PoolMask | Published | None = None) -> Tensor:
        """Enlarge pooled values x (B, C, *out) or (C, *out) by `mask`, or else by the layer's own.

        Raises:
            Vo3dError: there is no mask, or it does not fit x.
        """
        mask = self.mask if mask is None else mask
        if mask is None:
            raise Vo3dError(f"{type(self).__name__}: there is no mask: give one to the layer or with the values")
        return unpool(x, mask, self.interpolate, self.normalise, self.output_size, self.axes)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "_AdaUnpool":
        """Move the mask as well where torch moves a layer's tensors."""
        mask = self.mask
        if isinstance(mask, tuple):
            parts: list[Any] = [fn(part) if isinstance(part, Tensor) else part for part in mask]
            self.mask = PoolMask(*parts) if isinstance(mask, PoolMask) else (parts[0], parts[1], parts[2])
        elif mask is not None:
            self.mask = fn(mask)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        return f"interpolate={self.interpolate}, normalise={self.normalise!r}, output_size={self.output_size}"


class AdaPool1d(_AdaPool, axes=1):
    """AdaPool of sequences (B, C, L): `vo3d.layers.adapool1d` with a beta that can learn."""


class AdaPool2d(_AdaPool, axes=2):
    """AdaPool of maps (B, C, H, W): `vo3d.layers.adapool2d` with a beta that can learn."""


class AdaPool3d(_AdaPool, axes=3):
    """AdaPool of volumes (B, C, D, H, W): `vo3d.layers.adapool3d` with a beta that can learn."""


class EDSCWPool1d(_Pool, operator="edscwpool", axes=1):
    """Smooth average of sequences (B, C, L) as a layer: `vo3d.layers.edscwpool1d`."""


class EDSCWPool2d(_Pool, operator="edscwpool", axes=2):
    """Smooth average of maps (B, C, H, W) as a layer: `vo3d.layers.edscwpool2d`."""


class EDSCWPool3d(_Pool, operator="edscwpool", axes=3):
    """Smooth average of volumes (B, C, D, H, W) as a layer: `vo3d.layers.edscwpool3d`."""


class IDWPool1d(_Pool, operator="idwpool", axes=1):
    """Inverse distance weighting of sequences (B, C, L) as a layer: `vo3d.layers.idwpool1d`."""


class IDWPool2d(_Pool, operator="idwpool", axes=2):
    """Inverse distance weighting of maps (B, C, H, W) as a layer: `vo3d.layers.idwpool2d`."""


class IDWPool3d(_Pool, operator="idwpool", axes=3):
    """Inverse distance weighting of volumes (B, C, D, H, W) as a layer: `vo3d.layers.idwpool3d`."""


class EMPool1d(_Pool, operator="empool", axes=1):
    """Smooth maximum of sequences (B, C, L) (SoftPool) as a layer: `vo3d.layers.empool1d`."""


class EMPool2d(_Pool, operator="empool", axes=2):
    """Smooth maximum of maps (B, C, H, W) (SoftPool) as a layer: `vo3d.layers.empool2d`."""


class EMPool3d(_Pool, operator="empool", axes=3):
    """Smooth maximum of volumes (B, C, D, H, W) (SoftPool) as a layer: `vo3d.layers.empool3d`."""


class AdaUnpool1d(_AdaUnpool, axes=1):
    """Enlarges pooled sequences (B, C, L) by the weights that pooled them: `vo3d.layers.adaunpool`."""


class AdaUnpool2d(_AdaUnpool, axes=2):
    """Enlarges pooled maps (B, C, H, W) by the weights that pooled them: `vo3d.layers.adaunpool`."""


class AdaUnpool3d(_AdaUnpool, axes=3):
    """Enlarges pooled volumes (B, C, D, H, W) by the weights that pooled them: `vo3d.layers.adaunpool`."""


SoftPool1d, SoftPool2d, SoftPool3d = EMPool1d, EMPool2d, EMPool3d
AdaUnPool1d, AdaUnPool2d, AdaUnPool3d = AdaUnpool1d, AdaUnpool2d, AdaUnpool3d
