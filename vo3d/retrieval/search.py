"""Exact search for nearest descriptors, in chunks of the database."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.retrieval.descriptors import Descriptors

Engine = Literal["auto", "torch", "faiss"]


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest rows of a database for each query, nearest first; of equal ones the first in the database."""

    index: Int64[Tensor, "q k"]
    squared: Float32[Tensor, "q k"]  # distances, squared


def search(
    queries: Float[Tensor, "q c"],
    database: Float[Tensor, "n c"] | Descriptors,
    num: int,
    *,
    engine: Engine = "auto",
) -> Nearest:
    """Find the `num` rows of a database with the smallest Euclidean distance to each query; all where it has fewer.

    Raises:
        Vo3dError: queries and database are of different width, the database is empty, or `num` is not positive.
    """
    if num < 1 or not len(database):
        raise Vo3dError(f"{num} nearest of {len(database)} descriptors: expected at least 1 of both")
    rows = database if isinstance(database, Tensor) else torch.cat([rows for _, rows in database.chunks()])
    squared = torch.cdist(queries.float(), rows.float()).square()
    found = squared.topk(min(num, len(rows)), largest=False)
    return Nearest(found.indices, found.values)
