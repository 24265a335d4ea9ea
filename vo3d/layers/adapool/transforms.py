"""Which of torch's ways to differentiate is at work: operators of torch.library know backward passes alone."""

import torch
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd import forward_ad


def transformed() -> bool:
    """Whether torch.func.grad, jvp or one of their kin, or forward-mode autograd, looks at what is computed.

    An operator of torch.library fails under the first and, worse, has a derivative of zero in forward mode; plain torch
    serves both. Under torch.vmap alone the operators have rules of their own.
    """
    if torch.compiler.is_compiling():
        return False
    stack = get_interpreter_stack() or []
    return any(level.key() != TransformType.Vmap for level in stack) or forward_ad._current_level >= 0
