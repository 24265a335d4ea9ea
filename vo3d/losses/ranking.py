"""Losses of rankings: what is near must be nearer than what is far, by a margin."""

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.geometry.precision import full_precision


@full_precision
def ranking_loss(
    query: Float[Tensor, "*b c"],
    positives: Float[Tensor, "*b p c"],
    negatives: Float[Tensor, "*b n c"],
    margin: float = 0.1,
    squared: bool = True,
) -> Float[Tensor, "*b n"]:
    """Compute max(0, min_i d(q, p_i) + margin - d(q, n_j)) of each negative j: 0 of those that are far enough.

    The positives are only potential ones: the nearest counts, as those that look elsewhere should not.

    Args:
        query, positives, negatives: descriptors of unit length.
        margin: in the unit of d.
        squared: d is the squared distance, as in the paper; else the distance, as Nanne/pytorch-NetVlad has it, with
            a margin of sqrt(0.1).

    Source: Arandjelovic et al., "NetVLAD", CVPR 2016, equation 7.
    """
    near, far = (_distance(query, others, squared) for others in (positives, negatives))
    return (near.amin(-1, keepdim=True) + margin - far).clamp(min=0)


def mean_of_violations(hinge: Float[Tensor, "*b n"]) -> Float[Tensor, ""]:
    """Compute the sum divided by the number of values above 0 in the whole batch; 0 where there are none.

    Source: Relja/netvlad, `trainWeakly.m`.
    """
    return hinge.sum() / (hinge > 0).sum().clamp(min=1)


def _distance(query: Float[Tensor, "*b c"], others: Float[Tensor, "*b n c"], squared: bool) -> Float[Tensor, "*b n"]:
    apart = query[..., None, :] - others
    return apart.square().sum(-1) if squared else torch.linalg.vector_norm(apart, dim=-1)
