"""Optimisers that give each parameter a rate of its own, by the squares of its past gradients. Notation: `classic`.

Adam and its kin take averages of gradients, too: m_t = b1 m_{t-1} + (1 - b1) g_t and v_t = b2 v_{t-1} + (1 - b2) g_t^2
begin at 0 and are corrected for that: mh_t = m_t / (1 - b1^t), vh_t = v_t / (1 - b2^t).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.optim.base import Buffers, Checked, FirstOrder, Group, Parameters, Steps, Tensors
from vo3d.optim.checks import check_settings


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

    buffers = ("sum",)

    def __init__(self, params: Parameters, lr: float = 0.01, eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        check_settings("Adagrad", {"lr": lr, "eps": eps, "weight_decay": weight_decay})
        super().__init__(params, lr=lr, eps=0.0, initial_accumulator_value=eps, weight_decay=weight_decay)
        for group in self.param_groups:  # torch begins all of them at the constructor's eps
            for parameter in group["params"]:
                self.state[parameter]["sum"].fill_(group["initial_accumulator_value"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose sums begin at its eps; raises Vo3dError for settings or parameters that cannot be."""
        if "eps" in param_group and "initial_accumulator_value" not in param_group:
            param_group = {**param_group, "eps": 0.0, "initial_accumulator_value": param_group["eps"]}
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"]:
            step = torch.tensor(0.0, dtype=torch.float32, device=parameter.device if group["fused"] else "cpu")
            total = torch.full_like(parameter, group["initial_accumulator_value"], requires_grad=False)
            self.state[parameter] = {"step": step, "sum": total}

    def check_group(self, group: Group) -> None:
        """Check a group; raises Vo3dError for an eps outside of the root, too, which torch's class has."""
        check_settings("Adagrad", {"eps": group["initial_accumulator_value"]})
        super().check_group(group)
        if group["eps"] != 0:
            raise Vo3dError(
                f"Adagrad: eps is {group['eps']} outside of the root, as torch.optim.Adagrad has it: expected 0 there, "
                "and eps as initial_accumulator_value"
            )

    def eps_of(self, group: Group) -> tuple[float, float]:
        """Give the eps of a group, at which its sums begin."""
        eps = float(group["initial_accumulator_value"])
        return eps, eps


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

    buffers = ("square_avg", "acc_delta")

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
        super().__init__(
            params, {"lr": lr, "alpha": alpha, "eps": eps, "eps_inside": eps_inside, "weight_decay": weight_decay}
        )

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


class Adam(Checked, torch.optim.Adam):
    """theta <- theta - eta mh_t / (sqrt(vh_t) + eps).

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        betas: b1 and b2.
        eps: Keeps the denominator from 0.
        amsgrad: Divide by the largest vh so far (Reddi et al., 2018).
        weight_decay: lambda, as everywhere here a part of the gradient; `torch.optim.AdamW` has the other kind.

    Source: Kingma, Ba, "Adam", ICLR 2015; Ruder, section 4.6. `torch.optim.Adam` does the same.
    """

    buffers = ("exp_avg", "exp_avg_sq")
    extras = ("max_exp_avg_sq",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        amsgrad: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        check_settings("Adam", {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        super().__init__(params, lr=lr, betas=betas, eps=eps, amsgrad=amsgrad, weight_decay=weight_decay)


class AdaMax(Checked, torch.optim.Adamax):
    """u_t = max(b2 u_{t-1}, |g_t| + eps), theta <- theta - eta mh_t / u_t.

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        betas: b1 and b2.
        eps: 0 in the paper, which divides 0 by 0 where a gradient has been 0 from the start.
        weight_decay: lambda.

    Source: Kingma, Ba, "Adam", ICLR 2015, section 7.1; Ruder, section 4.7. `torch.optim.Adamax` does the same.
    """

    buffers = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        check_settings("AdaMax", {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)


class Nadam(FirstOrder):
    """Adam with Nesterov's look ahead: theta <- theta - eta (a_t m_t + c_t g_t) / (sqrt(vh_t) + eps).

    ruder: a_t = b1 / (1 - b1^t), c_t = (1 - b1) / (1 - b1^t), the survey's formula b1 mh_t + (1 - b1) g_t / (1 - b1^t).
    dozat: the same but a_t = b1 / (1 - b1^(t+1)), the correction of the step to come.
    torch: b1 grows towards its value by mu_t = b1 (1 - 0.96^(0.004 t) / 2), and with P_t = mu_1 ... mu_t,
    a_t = mu_{t+1} / (1 - P_{t+1}), c_t = (1 - mu_t) / (1 - P_t), as `torch.optim.NAdam` has it.

    Args:
        params: Tensors, or parameter groups.
        lr: eta.
        betas: b1 and b2.
        eps: Keeps the denominator from 0.
        variant: Which of the three.
        weight_decay: lambda.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016; Ruder, section 4.8.
    """

    buffers = ("average", "square_average")
    extras = ("product",)
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"variant": ("ruder", "dozat", "torch")}

    def __init__(
        self,
        params: Parameters,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        variant: Literal["ruder", "dozat", "torch"] = "ruder",
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "variant": variant, "weight_decay": weight_decay}
        )

    def eps_of(self, group: Group) -> tuple[float, float]:
        """Give the eps of a group, and what the first step makes of it, which corrects the root's average."""
        eps = float(group["eps"])
        return eps, eps * (1 - float(group["betas"][1])) ** 0.5

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, steps: Steps, buffers: Buffers) -> None:
        """One step of the rule."""
        average, square_average = buffers
        eta, (b1, b2) = group["lr"], group["betas"]
        torch._foreach_lerp_(average, gradients, 1 - b1)
        torch._foreach_mul_(square_average, b2)
        torch._foreach_addcmul_(square_average, gradients, gradients, value=1 - b2)
        corrections = [(1 - b2**t) ** 0.5 for t in steps]
        roots = torch._foreach_sqrt(square_average)
        torch._foreach_add_(roots, [group["eps"] * correction for correction in corrections])
        weights = [
            self._weights(parameter, t, b1, group["variant"]) for parameter, t in zip(parameters, steps, strict=True)
        ]
        for terms, place in ((average, 0), (gradients, 1)):
            scales = [-eta * both[place] * c for both, c in zip(weights, corrections, strict=True)]
            torch._foreach_addcdiv_(parameters, terms, roots, scales)

    def _weights(self, parameter: Tensor, t: int, b1: float, variant: str) -> tuple[float, float]:
        """a_t and c_t."""
        if variant == "torch":
            now, following = (b1 * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in (t, t + 1))
            product = self.state[parameter]["product"] = self.state[parameter].get("product", 1.0) * now
            return following / (1 - product * following), (1 - now) / (1 - product)
        ahead = t if variant == "ruder" else t + 1
        return b1 / (1 - b1**ahead), (1 - b1) / (1 - b1**t)
