"""Measure how well images are found: recall among the first N, and what the distance of the best match is worth.

Convention: lists of found images are places in the database, nearest first; -1 stands behind the last one of a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError

DEPTHS = (1, 2, 3, 4, *range(5, 101, 5))  # the N of recall@N (Arandjelovic et al., CVPR 2016)
NEVER = torch.iinfo(torch.int64).max  # rank of a right image that is not in a list


def depths_of(num_places: int) -> tuple[int, ...]:
    """List the N of recall@N that a database of so many places defines; of one place, 1."""
    return tuple(depth for depth in DEPTHS if depth <= num_places)


def first_right(right: Bool[Tensor, "q k"]) -> Int64[Tensor, " q"]:
    """Compute the rank of the first right image of each list, from 1 on; `NEVER` where there is none."""
    if not right.shape[1]:
        return torch.full((len(right),), NEVER)
    rank = right.int().argmax(1) + 1  # of equal ones argmax takes the first
    return rank.where(right.any(1), torch.full_like(rank, NEVER))


def recalls(rank: Int64[Tensor, " q"], depths: Sequence[int]) -> dict[int, float]:
    """Compute for each N the percentage of queries with a right image among the first N.

    A query that no image of the database is right for is a miss, as in the official program of NetVLAD: leaving such
    queries out would raise the value.

    Raises:
        Vo3dError: there is no query.
    """
    if not len(rank):
        raise Vo3dError("no query to measure: expected at least one")
    return {depth: 100 * (rank <= depth).double().mean().item() for depth in depths}


def keep_first(keep: Bool[Tensor, "q k"], index: Int64[Tensor, "q k"], num: int) -> Int64[Tensor, "q n"]:
    """Give the places within each list of its first `num` images that are kept, in their order; -1 behind them.

    Images that are none (-1) are never kept.
    """
    keep = keep & (index >= 0)
    order = (~keep).int().argsort(dim=1, stable=True)[:, :num]
    return order.where(keep.gather(1, order), torch.full_like(order, -1))


def best_views(index: Int64[Tensor, "q k"], panorama: Int64[Tensor, " n"]) -> Bool[Tensor, "q k"]:
    """Mark the first image of each panorama in each list: a place that is seen in twelve directions counts once."""
    of = panorama[index.clamp(min=0)].where(index >= 0, panorama.min() - 1)
    order = of.argsort(dim=1, stable=True)  # equal ones stay in the order of the list
    ordered = of.gather(1, order)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(new).scatter(1, order, new) & (index >= 0)


def other_times(
    index: Int64[Tensor, "q k"], database_time: Float64[Tensor, " n"], query_time: Float64[Tensor, " q"]
) -> Bool[Tensor, "q k"]:
    """Mark the images that were not taken at the query's own time (seconds, equal to the last bit)."""
    return (database_time[index.clamp(min=0)] != query_time[:, None]) & (index >= 0)


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """A point for each distance up to which a best match is believed, ascending; shares from 0 to 1."""

    squared: Float64[Tensor, " t"]
    precision: Float64[Tensor, " t"]  # right ones of the matches that are believed
    recall: Float64[Tensor, " t"]  # queries whose match is believed and right, of those that can be found


def precision_recall(
    squared: Float[Tensor, " q"], right: Bool[Tensor, " q"], findable: Bool[Tensor, " q"]
) -> PrecisionRecall:
    """Compute precision and recall of believing the best match of a query up to a squared distance.

    Matches of one distance are believed together, so that the order of queries changes nothing. A query without a right
    image (not `findable`) cannot be recalled, and is right only while its match is not believed; one without any match
    (an infinite distance) is never believed. The last recall is recall@1 of the findable queries.

    Raises:
        Vo3dError: no query is findable.
    """
    if not findable.any():
        raise Vo3dError("no query has a right image in the database: there is no recall over thresholds")
    matched = squared.isfinite()
    levels, which = torch.unique(squared[matched].double(), return_inverse=True)  # ascending
    believed = which.bincount(minlength=len(levels)).cumsum(0)
    good = torch.bincount(which, right[matched].double(), minlength=len(levels)).cumsum(0)
    return PrecisionRecall(levels, good / believed, good / findable.sum())


def average_precision(curve: PrecisionRecall) -> float:
    """Compute the area under the steps of the curve: the sum of (R_i - R_i-1) P_i, from 0 to 1.

    Not the trapezoid's: precision does not run on a straight line between two points, and that would flatter (Davis and
    Goadrich, ICML 2006). The recall that no threshold reaches counts as precision 0.
    """
    steps = torch.diff(curve.recall, prepend=curve.recall.new_zeros(1))
    return (steps * curve.precision).sum().item()


def recall_at_full_precision(curve: PrecisionRecall) -> float:
    """Compute the largest recall, from 0 to 1, before the first wrong match is believed."""
    return curve.recall[curve.precision == 1].max().item() if (curve.precision == 1).any() else 0.0


def retrieval_metrics(
    rank: Int64[Tensor, " q"],
    squared: Float[Tensor, " q"],
    findable: Bool[Tensor, " q"],
    depths: Sequence[int],
) -> dict[str, float | None]:
    """Summarise queries by the rank of their first right image, and the squared distance of their best match.

    Keys: `recall_at_<N>_percent` for each of `depths`; `pr_auc` (`average_precision`, 0 to 1) and
    `recall_at_100_precision_percent`, None where no query is `findable`; `num_queries`, `queries_without_positive`.

    Raises:
        Vo3dError: there is no query.
    """
    found: dict[str, float | None] = {
        f"recall_at_{depth}_percent": share for depth, share in recalls(rank, depths).items()
    }
    curve = precision_recall(squared, rank == 1, findable) if findable.any() else None
    return found | {
        "pr_auc": None if curve is None else average_precision(curve),
        "recall_at_100_precision_percent": None if curve is None else 100 * recall_at_full_precision(curve),
        "num_queries": float(len(rank)),
        "queries_without_positive": float((~findable).sum()),
    }
