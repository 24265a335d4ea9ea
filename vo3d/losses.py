"""Losses before any mean or sum: one value per pose; the method decides what to do with the axes."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def wrap_angle(angle: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """The same angle in [-pi, pi], in radians; its gradient is 1."""
    turn = 2 * math.pi
    return angle - turn * torch.round(angle / turn)


def squared_translation_error(estimate: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    """||p' - p||^2 in square metres, for every pose.

    Source: Wang et al., "DeepVO", ICRA 2017, equation 5, first term.
    """
    return (estimate - target).square().sum(dim=-1)


def squared_euler_error(estimate: Float[Tensor, "*b 3"], target: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    """||phi' - phi||^2 in square radians, for every pose; the differences are taken the short way round.

    Without the wrapping, two nearly equal headings on either side of +-180 degrees would count as a whole turn.

    Source: Wang et al., "DeepVO", ICRA 2017, equation 5, second term, without its factor kappa.
    """
    return wrap_angle(estimate - target).square().sum(dim=-1)
