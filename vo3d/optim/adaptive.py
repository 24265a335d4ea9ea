"""Optimisers that give each parameter a rate of its own, by the squares of its past gradients. Notation: `classic`."""

import torch

from vo3d.optim.first_order import Buffers, FirstOrder, Group, Parameters, Steps, Tensors
from vo3d.optim.settings import Checked, check_settings


class Adagrad(Checked, torch.optim.Adagrad):
    """G_t = G_{t-1} + g_t^2, theta <- theta - eta g_t / sqrt(G_t + eps).

    The rate only falls; often by less for parameters whose gradients are rare, which suits sparse data.

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        eps: Added inside of the root. `torch.optim.Adagrad` adds it outside, and does the same as this one when its
            sums begin at eps instead.
        weight_decay: lambda.

    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 2011; Ruder, section 4.3. Takes sparse gradients.
    """

    def __init__(self, params: Parameters, lr: float = 0.01, eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        check_settings("Adagrad", {"lr": lr, "eps": eps, "weight_decay": weight_decay})
        super().__init__(params, lr=lr, eps=0.0, initial_accumulator_value=eps, weight_decay=weight_decay)


class Adadelta(Checked, torch.optim.Adadelta):
    """E_t = rho E_{t-1} + (1 - rho) g_t^2, d_t = - RMS[D_{t-1}] / RMS[E_t] g_t, theta <- theta + eta d_t.

    RMS[x] = sqrt(x + eps), and D_t = rho D_{t-1} + (1 - rho) d_t^2: the size of past steps replaces the rate, and eta
    stays 1.

    Args:
        params: Tensors, or parameter groups.
        lr: eta. Some libraries begin with 0.001, which is another method.
        rho: Decay of both averages.
        eps: Also the square of the first step's size; larger values start faster.
        weight_decay: lambda.

    Source: Zeiler, "ADADELTA", arXiv:1212.5701, 2012; Ruder, section 4.4. `torch.optim.Adadelta` does the same.
    """

    def __init__(
        self, params: Parameters, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0
    ) -> None:
        check_settings("Adadelta", {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)


class RMSprop(FirstOrder):
    """E_t = alpha E_{t-1} + (1 - alpha) g_t^2, theta <- theta - eta g_t / sqrt(E_t + eps).

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        alpha: Decay of the average; 0.9 where `torch.optim.RMSprop` has 0.99.
        eps: Keeps the root from 0.
        eps_inside: Add eps inside of the root, as the formula has it; False adds it to the root, as torch does.
        weight_decay: lambda.

    Source: Hinton's lecture 6e, as in Ruder, section 4.5.
    """

    buffers = ("square_average",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        alpha: float = 0.9,
        eps: float = 1e-8,
        eps_inside: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "eps_inside": eps_inside, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, steps: Steps, buffers: Buffers) -> None:
        """One step of the rule."""
        (average,) = buffers
        torch._foreach_mul_(average, group["alpha"])
        torch._foreach_addcmul_(average, gradients, gradients, value=1 - group["alpha"])
        roots = torch._foreach_add(average, group["eps"]) if group["eps_inside"] else torch._foreach_sqrt(average)
        if group["eps_inside"]:
            torch._foreach_sqrt_(roots)
        else:
            torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(parameters, gradients, roots, value=-group["lr"])
