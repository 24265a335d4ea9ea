"""Losses of rankings: what is near must be nearer than what is far, by a margin."""

import torch
from jaxtyping import Float
from torch import Tensor, distributed

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

    The batch is that of all processes: while they learn together, violations are counted over all of them, and the sum
    is multiplied by their number, since DDP averages gradients. They so learn what one process with all tuples learns,
    whichever of them have violations; all of them have to call this. The values of the processes are no means of their
    own tuples then, but their average is the loss of the whole batch. Under `accumulate_grad_batches` each part is
    divided by its own count, and the parts are averaged: a part with few violations weighs as much as one with many.

    Source: Relja/netvlad, `trainWeakly.m`.
    """
    count = (hinge > 0).sum()
    processes = 1
    if torch.is_grad_enabled() and distributed.is_available() and distributed.is_initialized():
        processes = distributed.get_world_size()
        distributed.all_reduce(count)
    return processes * hinge.sum() / count.clamp(min=1)


def _distance(query: Float[Tensor, "*b c"], others: Float[Tensor, "*b n c"], squared: bool) -> Float[Tensor, "*b n"]:
    apart = query[..., None, :] - others
    return apart.square().sum(-1) if squared else torch.linalg.vector_norm(apart, dim=-1)
