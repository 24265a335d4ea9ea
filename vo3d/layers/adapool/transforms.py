"""The family under torch.func: which ways to differentiate are at work, and the calls that torch.vmap makes one of."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd import forward_ad


def transformed() -> bool:
    """Tell whether torch.func.grad, jvp or one of their kin, or forward-mode autograd, looks at what is computed.

    An operator of torch.library fails under the first and, worse, has a derivative of zero in forward mode; plain torch
    serves both. Under torch.vmap alone the operators have rules of their own.
    """
    if torch.compiler.is_compiling():
        return False
    stack = get_interpreter_stack() or []
    return any(level.key() != TransformType.Vmap for level in stack) or forward_ad._current_level >= 0


def one_by_one(number: int, in_dims: Sequence[Any], arguments: Sequence[Any]) -> Iterator[list[Any]]:
    """The arguments of each of `number` mapped calls; `in_dims` as a rule of torch.library gets them.

    What is not mapped stays as it is: its axis is None, or for a list a list of None.
    """
    for i in range(number):
        yield [a.select(dim, i) if isinstance(dim, int) else a for a, dim in zip(arguments, in_dims, strict=True)]
