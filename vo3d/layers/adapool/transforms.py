"""What the family's operators share: where Triton takes over, ways to differentiate, and torch.vmap, call by call."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd import forward_ad


def has_kernels(x: Tensor) -> bool:
    """Tell whether the Triton kernels may take x: on a GPU, with triton installed."""
    return x.is_cuda and find_spec("triton") is not None


def transformed() -> bool:
    """Tell whether torch.func.grad, jvp or one of their kin, or forward-mode autograd, looks at what is computed.

    An operator of torch.library fails under the first and, worse, has a derivative of zero in forward mode; plain torch
    serves both. Under torch.vmap alone the operators have rules of their own.
    """
    if torch.compiler.is_compiling():
        return False
    stack = get_interpreter_stack() or []
    return any(level.key() != TransformType.Vmap for level in stack) or forward_ad._current_level >= 0


def by_autograd(
    plain: Callable[..., Tensor], tensors: Sequence[Tensor | None], needs: Sequence[bool], dout: Tensor
) -> list[Tensor | None]:
    """Compute the gradients of dout to those of the `tensors` that `needs` names, by autograd of `plain`.

    They can be differentiated again where that is asked for. Views of the tensors keep autograd from walking on, out of
    one of them into another that the first was made from.
    """
    with torch.enable_grad():
        views = [None if t is None else t.view_as(t) for t in tensors]
        out = plain(*views).to(dout.dtype)
    wanted = [view for view, need in zip(views, needs, strict=True) if need and view is not None]
    found = iter(torch.autograd.grad(out, wanted, dout, create_graph=torch.is_grad_enabled()))
    return [next(found) if need else None for need in needs]


def one_by_one(
    operator: Callable[..., Any], info: Any, in_dims: Sequence[Any], *arguments: Any
) -> tuple[Tensor, int] | tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Call `operator` for each item that torch.vmap maps over, and stack the results: a rule of torch.library.

    What is not mapped stays as it is: its axis is None, or for a list a list of None.
    """
    results = [
        operator(*(a.select(dim, i) if isinstance(dim, int) else a for a, dim in zip(arguments, in_dims, strict=True)))
        for i in range(info.batch_size)
    ]
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])
