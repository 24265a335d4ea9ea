"""What the AdaPool family accepts: each check raises one clear line, or returns the argument ready for use."""

from collections.abc import Sequence, Sized
from operator import index
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.layers.adapool.formula import DISTANCES, SIMILARITIES
from vo3d.layers.adapool.windows import output_size

Size = int | Sequence[int]
AXES = {1: "L", 2: "H, W", 3: "D, H, W"}
USUAL_SIMILARITY = {"adapool": "dsc", "edscwpool": "dsc", "idwpool": "l1", "empool": ""}


class EMPoolOptions(TypedDict, total=False):
    """Keyword options of every pooling function.

    padding (0): elements around the input, at most half the kernel; they have no weight in any window.
    ceil_mode (False): a partial window at the far end gets an output of its own, by the rule of torch's pooling.
    gradient ("straight_through"): dx_i = w_i dy with the weights as constants, as published; "exact": the derivative.
    nan_to_num (False): put 0 where a NaN was met, as published, instead of passing it on; its gradient is 0.
    detach_mask (True): the mask's weights are constants; False: gradients flow through them.
    """

    padding: Size
    ceil_mode: bool
    gradient: str
    nan_to_num: bool
    detach_mask: bool


class PoolOptions(EMPoolOptions, total=False):
    """Keyword options of the pooling functions that compare elements with the mean of their window.

    Those of `EMPoolOptions`, and

    similarity: "dsc" Dice-Sorensen, "cosine", "pce" peak-to-correlation energy: weights exp(similarity), normalised;
        "l1", "l2", "linf", "huber": distances, weights 1 / distance, normalised. By element the first three are one.
    similarity_over ("element"): compare the numbers of each channel; "channel": compare vectors over the channels, so
        that one weight per element serves all of them. "cosine" and "pce" need vectors.
    """

    similarity: str
    similarity_over: str


class Settings(NamedTuple):
    """How to pool, checked and complete."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool
    similarity: str  # "": EM alone
    over_channels: bool
    exact: bool
    nan_to_num: bool
    detach_mask: bool


def settings(
    name: str,
    operator: str,
    axes: int,
    kernel_size: Size,
    stride: Size | None,
    *,
    padding: Size = 0,
    ceil_mode: bool = False,
    gradient: str = "straight_through",
    similarity: str | None = None,
    similarity_over: str = "element",
    nan_to_num: bool = False,
    detach_mask: bool = True,
    **unknown: object,
) -> Settings:
    """Check and complete the settings of `operator` over `axes` axes; `name` is what errors call it.

    Raises:
        Vo3dError: an unknown word or option, a similarity of vectors by element, or sizes that make no windows.
    """
    if unknown:
        options = EMPoolOptions if operator == "empool" else PoolOptions
        check_word(name, "option", next(iter(unknown)), tuple(options.__annotations__))
    check_word(name, "gradient", gradient, ("straight_through", "exact"))
    check_word(name, "similarity_over", similarity_over, ("element", "channel"))
    if similarity is None:
        similarity = USUAL_SIMILARITY[operator]
    elif operator == "empool":
        raise Vo3dError(
            f"{name}: found similarity {similarity!r}, but the smooth maximum compares nothing: leave it out"
        )
    else:
        check_word(name, "similarity", similarity, (*SIMILARITIES, *DISTANCES))
    if similarity in ("cosine", "pce") and similarity_over == "element":
        raise Vo3dError(
            f"{name}: similarity {similarity!r} compares vectors, and of two numbers it gives only the sign: "
            "add similarity_over='channel'"
        )
    kernel = per_axis(name, "kernel_size", kernel_size, axes, 1)
    steps = kernel if stride is None else per_axis(name, "stride", stride, axes, 1)
    around = per_axis(name, "padding", padding, axes, 0)
    if any(p > k // 2 for p, k in zip(around, kernel, strict=True)):
        raise Vo3dError(
            f"{name}: found padding {padding} for kernel_size {kernel_size}, expected at most half the kernel: "
            "lessen it, or windows would lie in the padding alone"
        )
    return Settings(
        kernel,
        steps,
        around,
        ceil_mode,
        similarity,
        over_channels=similarity_over == "channel",
        exact=gradient == "exact",
        nan_to_num=nan_to_num,
        detach_mask=detach_mask,
    )


def check_word(name: str, argument: str, word: str, words: tuple[str, ...]) -> None:
    """Raise Vo3dError unless `word` is one of `words`."""
    if word not in words:
        raise Vo3dError(f"{name}: {argument} {word!r} is unknown: expected one of {', '.join(words)}")


def check_flags(name: str, **flags: bool) -> None:
    """Raise Vo3dError unless each is True or False: where torch's pooling takes a padding, the family takes a flag."""
    for flag, value in flags.items():
        if not isinstance(value, bool):
            raise Vo3dError(
                f"{name}: found {flag} {value!r}, expected True or False: padding is given by name, as padding=1"
            )


def per_axis(name: str, argument: str, value: Size, axes: int, smallest: int) -> tuple[int, ...]:
    """Give one whole number for each axis, none below `smallest`."""
    try:
        numbers = tuple(map(index, value if isinstance(value, Sequence) else (value,) * axes))
    except TypeError:
        numbers = ()
    if len(numbers) != axes or min(numbers) < smallest:
        raise Vo3dError(
            f"{name}: found {argument} {value}, expected a whole number of at least {smallest}, or {axes} of them"
        )
    return numbers


def check_input(name: str, x: Tensor, axes: int) -> None:
    """Raise Vo3dError unless `x` is floating and has `axes` spatial axes after its channels, and a batch or none."""
    if not isinstance(x, Tensor):
        raise Vo3dError(f"{name}: found an input of type {type(x).__name__}, expected a tensor: try torch.as_tensor")
    if x.ndim not in (axes + 1, axes + 2):
        raise Vo3dError(
            f"{name}: found an input of shape {tuple(x.shape)}, expected (B, C, {AXES[axes]}) or (C, {AXES[axes]}): "
            "choose the function by the number of spatial axes"
        )
    if not x.is_floating_point():
        raise Vo3dError(f"{name}: found an input of {x.dtype}, expected floating point: convert it, as by x.float()")


def windows_of(name: str, size: Sequence[int], how: Settings) -> tuple[int, ...]:
    """Count the windows along each axis of an input of `size`; Vo3dError where an axis has none."""
    out = output_size(size, how.kernel, how.stride, how.padding, how.ceil_mode)
    if min(out) < 1:
        padded = tuple(extent + 2 * p for extent, p in zip(size, how.padding, strict=True))
        raise Vo3dError(
            f"{name}: the kernel {how.kernel} is larger than the input, {padded} with its padding: "
            "give a larger input or a smaller kernel"
        )
    return out


def expand_beta(name: str, beta: Tensor | float | None, like: Tensor, out: tuple[int, ...]) -> Tensor:
    """Give each output position its beta (*out), in float32, or float64 where `like` is; nothing is copied for that."""
    exact = torch.promote_types(like.dtype, torch.float32)
    if beta is None:
        raise Vo3dError(f"{name}: beta is missing: give a number in [0, 1], or a tensor of the output's size {out}")
    if not isinstance(beta, Tensor):
        if isinstance(beta, Sized):
            raise Vo3dError(f"{name}: found a beta of type {type(beta).__name__}, expected a number or a tensor {out}")
        if not 0 <= beta <= 1:  # as the kernel's size is, when it is given in beta's place
            raise Vo3dError(f"{name}: found beta {beta}, expected a number in [0, 1], before kernel_size and stride")
        return torch.full((), beta, dtype=exact, device=like.device).expand(out)
    if not beta.is_floating_point():
        raise Vo3dError(f"{name}: found a beta of {beta.dtype}, expected floating point: convert it by beta.float()")
    # not `b in (1, o)`: it is wrong where a compiler traces sizes as symbols
    fits = beta.ndim == len(out) and all(b == 1 or b == o for b, o in zip(beta.shape, out, strict=True))  # noqa: PLR1714
    if beta.ndim and not fits:
        raise Vo3dError(
            f"{name}: found a beta of shape {tuple(beta.shape)}, expected the output's size {out} or a single value: "
            "give that, or use a module with resize_beta=True"
        )
    if beta.device != like.device:
        raise Vo3dError(f"{name}: beta is on {beta.device} and the input on {like.device}: move one to the other")
    return beta.to(exact).expand(out)
