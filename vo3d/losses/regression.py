"""Losses of numbers that a network regresses: the distance of vectors, and weights that are learnt."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Norm = Literal["l1", "l2", "squared"]


def vector_error(
    estimate: Float[Tensor, "*b n"], target: Float[Tensor, "*#b n"], norm: Norm = "l2"
) -> Float[Tensor, "*b"]:
    """Compute the distance of vectors: "l1" sum |e|, "l2" the length of e, "squared" half of its square.

    The half is that of Caffe's EuclideanLoss, with which the weights of PoseNet's release were chosen.

    Source: Kendall et al., "PoseNet", ICCV 2015, equation 2 ("l2"); its released solver ("squared").
    """
    apart = estimate - target
    if norm == "l1":
        return apart.abs().sum(-1)
    if norm == "l2":
        length: Tensor = torch.linalg.vector_norm(apart, dim=-1)
        return length
    return apart.square().sum(-1) / 2


def weighted_by_uncertainty(loss: Float[Tensor, "*b"], log_variance: Float[Tensor, ""]) -> Float[Tensor, "*b"]:
    """Compute loss exp(-s) + s with a learnt s, the logarithm of the variance of a task.

    Source: Kendall and Cipolla, "Geometric loss functions for camera pose regression with deep learning", CVPR 2017,
    equation 5.
    """
    return loss * torch.exp(-log_variance) + log_variance
