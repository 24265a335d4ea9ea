"""Keep geometry out of mixed precision: half a pixel at 1000 pixels is already lost in bfloat16."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def full_precision(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run `function` with autocast off and its float16 and bfloat16 tensors lifted to float32.

    A network under autocast hands over bfloat16; without this, `matmul` inside the function would round as well.
    The results stay float32 (float64 for float64 arguments), which is what the losses behind them want.
    """

    @wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        args = tuple(_lift(value) for value in args)  # type: ignore[assignment]
        kwargs = {name: _lift(value) for name, value in kwargs.items()}  # type: ignore[assignment]
        device = tensors[0].device.type if tensors else "cpu"
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return wrapped


def product(left: Float[Tensor, "*#b i j"], right: Float[Tensor, "*#b j k"]) -> Float[Tensor, "*#b i k"]:
    """The product of small matrices in the precision of its arguments; batch shapes broadcast.

    `matmul` rounds float32 to TF32 on a GPU where `torch.set_float32_matmul_precision` allows it, and a pose so rounded
    is wrong by a millimetre in a metre.
    """
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


def _lift(value: object) -> object:
    """`value`, as float32 if it is a half-precision tensor."""
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16) else value
