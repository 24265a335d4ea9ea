"""Exact search for nearest descriptors, in chunks of the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.retrieval.descriptors import Descriptors

Engine = Literal["auto", "torch", "faiss"]

BLOCK, TILE = 1024, 4096  # queries and rows that are compared at once
VALUES = 2**24  # at most so many numbers of rows are in memory at once, beside what is given
PAIR = 2**20  # numbers of rows whose differences are computed at once: what a cache holds
SPARE = 16  # candidates beyond those that are asked for, since products in float32 do not order what is nearly equal


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest rows of a database for each query, nearest first; of equal ones the first in the database."""

    index: Int64[Tensor, "q k"]
    squared: Float32[Tensor, "q k"]  # distances, squared


def search(
    queries: Float[Tensor, "q c"],
    database: Float[Tensor, "n d"] | Descriptors,
    num: int,
    *,
    engine: Engine = "auto",
) -> Nearest:
    """Find the `num` rows of a database with the smallest Euclidean distance to each query; all where it has fewer.

    All is computed in float32 on the device of the queries. `num` + 16 candidates of each query come from
    |x|^2 - 2 q.x, whose rounding is below 1e-6 (|q|^2 + |x|^2); their distances are then computed from q - x, to about
    1e-6 of themselves (0 of equal vectors), and sorted. Only where more than 16 rows beyond the `num`-th are as near as
    the first bound tells may another of them be named.

    Memory: beside what is given and the result, some hundred megabytes (tiles of 1,024 queries by 4,096 rows; 16
    million numbers of rows), whatever the number of queries and rows; more only where `num` is in the thousands.

    Args:
        queries: what is looked for.
        database: what is searched, on any device, or on disk; of the width of the queries.
        num: of rows for each query.
        engine: "torch", or "faiss" (faiss-cpu, on the CPU), which find the same. "auto" is torch: faiss was not faster
            (docs/benchmarks.md).

    Raises:
        Vo3dError: queries and database are of different width, one of them is empty or has a row that is NaN, infinite
            or too large for squares in float32, `num` is not positive, or faiss is not installed.
    """
    total, width = len(database), database.dim if isinstance(database, Descriptors) else database.shape[-1]
    if num < 1 or not total or not queries.numel():
        raise Vo3dError(f"{num} nearest of {total} descriptors to {len(queries)} queries: expected at least 1 of all")
    if queries.shape[-1] != width:
        raise Vo3dError(
            f"queries of {queries.shape[-1]} values in a database of {width}: expected descriptors of the same model"
        )
    candidates = _by_faiss if engine == "faiss" else _by_torch
    index = candidates(queries, database, min(num + SPARE, total)).sort(dim=1).values  # so that the first row wins
    squared = _distances(queries, database, index)
    order = squared.sort(dim=1, stable=True).indices[:, :num]
    return Nearest(index.gather(1, order), squared.gather(1, order))


def _by_torch(
    queries: Float[Tensor, "q c"], database: Float[Tensor, "n c"] | Descriptors, num: int
) -> Int64[Tensor, "q k"]:
    """Find candidates by products of matrices, in one tile that is used again and again."""
    best = torch.full((len(queries), num), torch.inf, device=queries.device)
    index = torch.zeros(best.shape, dtype=torch.long, device=queries.device)
    tile = torch.empty(min(BLOCK, len(queries)) * min(TILE, len(database)), device=queries.device)
    for first, rows in _tiles(database, queries.device):
        norms = _norms(rows, "row", first)
        for start in range(0, len(queries), BLOCK):
            block = slice(start, start + BLOCK)
            part = queries[block].float()
            if first == 0:
                _norms(part, "query", start)
            scores = tile[: len(part) * len(rows)].view(len(part), len(rows))
            torch.addmm(norms, part, rows.T, alpha=-2, out=scores)  # |q|^2 changes no order
            _merge(scores, first, best[block], index[block])
    return index


def _merge(
    scores: Float32[Tensor, "q m"], first: int, best: Float32[Tensor, "q k"], index: Int64[Tensor, "q k"]
) -> None:
    """Put rows that are nearer than the last of the best among them, in place."""
    limit = best[:, -1:]
    if first == 0 and scores.shape[1] > best.shape[1]:
        least = scores.topk(best.shape[1], largest=False, sorted=False).values.amax(1, keepdim=True)
        limit = least.nextafter(torch.full_like(least, torch.inf))
    query, row = (scores < limit).nonzero(as_tuple=True)  # few, but for the first tiles
    counts = query.bincount(minlength=len(scores))
    place = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    near = scores.new_full((len(scores), int(counts.max())), torch.inf)
    near[query, place] = scores[query, row]
    which = torch.zeros(near.shape, dtype=torch.long, device=near.device)
    which[query, place] = first + row
    both = torch.cat([best, near], 1).sort(dim=1, stable=True)
    order = both.indices[:, : best.shape[1]]
    best.copy_(both.values[:, : best.shape[1]])
    index.copy_(torch.cat([index, which], 1).gather(1, order))


def _by_faiss(
    queries: Float[Tensor, "q c"], database: Float[Tensor, "n c"] | Descriptors, num: int
) -> Int64[Tensor, "q k"]:
    """Find candidates by faiss, tile by tile, so that a database on disk never is whole in memory."""
    try:
        import faiss  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise Vo3dError('engine faiss: faiss is missing: pip install "vo3d[faiss]", or take engine torch') from error
    wanted = queries.float().cpu().contiguous()
    for start in range(0, len(wanted), BLOCK):
        _norms(wanted[start : start + BLOCK], "query", start)
    best, index = torch.empty(len(wanted), 0), torch.empty(len(wanted), 0, dtype=torch.long)
    for first, rows in _tiles(database, torch.device("cpu")):
        _norms(rows, "row", first)
        near, which = faiss.knn(wanted.numpy(), rows.contiguous().numpy(), min(num, len(rows)))
        both = torch.cat([best, torch.from_numpy(near)], 1).sort(dim=1, stable=True)
        best = both.values[:, :num]
        index = torch.cat([index, first + torch.from_numpy(which)], 1).gather(1, both.indices[:, :num])
    return index.to(queries.device)


def _distances(
    queries: Float[Tensor, "q c"], database: Float[Tensor, "n c"] | Descriptors, index: Int64[Tensor, "q k"]
) -> Float32[Tensor, "q k"]:
    """Compute squared distances from differences, in the order of the rows, as a disk reads them best."""
    flat = index.flatten()
    squared = torch.empty(flat.shape, device=queries.device)
    for part in torch.split(flat.argsort(), max(1, PAIR // queries.shape[1])):
        if isinstance(database, Descriptors):
            rows = database.take(flat[part].cpu())
        else:
            rows = database[flat[part].to(database.device)]
        wanted = queries[part // index.shape[1]].float()
        squared[part] = (wanted - rows.to(queries.device, torch.float32)).square_().sum(1)
    return squared.view(index.shape)


def _tiles(
    database: Float[Tensor, "n c"] | Descriptors, device: torch.device
) -> Iterator[tuple[int, Float32[Tensor, "m c"]]]:
    """Yield the number of the first row, and rows, on a device."""
    if isinstance(database, Descriptors):
        for first, rows in database.chunks(max(1, min(TILE, VALUES // database.dim))):
            yield first, rows.to(device)
        return
    most = max(1, min(TILE, VALUES // database.shape[1]))
    for first in range(0, len(database), most):
        yield first, database[first : first + most].to(device, torch.float32)


def _norms(rows: Float32[Tensor, "m c"], what: str, first: int) -> Float32[Tensor, " m"]:
    """Compute squared lengths; Vo3dError where one is no number, counted from `first`."""
    norms = rows.square().sum(1)
    if not bool(norms.isfinite().all()):
        bad = first + int((~norms.isfinite()).nonzero()[0])
        raise Vo3dError(f"{what} {bad} has values that are NaN, infinite or too large: expected finite descriptors")
    return norms
