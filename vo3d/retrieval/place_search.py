"""The search of sets of places: nearest images by the rules of a set, which are right, and what a report draws."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.places import Distances
from vo3d.metrics.retrieval import DEPTHS, best_views, keep_first, other_times
from vo3d.model import Model
from vo3d.recording import evenly_spaced
from vo3d.retrieval.descriptors import Descriptors
from vo3d.retrieval.search import Engine, Nearest, search
from vo3d.retrieval_set import RetrievalSet

TIMES = 10  # as many images are searched where those of the query's own time are dropped
MOST_DRAWN = 2000  # rows and columns of a matrix of distances


def right_images(places: RetrievalSet) -> list[Int64[Tensor, " _"]]:
    """List the places of the database that are right for each query.

    Raises Vo3dError where there is no image, or none is right for any query.
    """
    for recording in (places.queries, places.database):
        if not len(recording):
            raise Vo3dError(f"{recording.name} has no image: expected at least one")
    positives = [places.positives(query) for query in range(len(places.queries))]
    if not any(map(len, positives)):
        raise Vo3dError(
            f"no image of {places.database.name} is right for any query ({len(positives)}, matches "
            f"{places.matches.words}): check that both are of one world and in one unit"
        )
    return positives


def check_widths(
    model: Model, places: RetrievalSet, queries: Float32[Tensor, "q c"], database: Float32[Tensor, "n d"] | Descriptors
) -> None:
    """Raise TypeError where queries and database are not described alike: a defect of the model."""
    width = database.shape[1] if isinstance(database, Tensor) else database.dim
    if queries.shape[1] != width:
        raise TypeError(
            f"{type(model).__name__} describes the queries of {places.name} by {queries.shape[1]} values and its "
            f"database by {width}: expected one width"
        )


def most_views(places: RetrievalSet) -> int:
    """Count the views of the panorama that has most."""
    return 1 if places.panorama is None else int(torch.unique(places.panorama, return_counts=True)[1].max())


def count_places(places: RetrievalSet) -> int:
    """Count the places that may be found for a query, at least."""
    images = len(places.database) if places.panorama is None else len(torch.unique(places.panorama))
    return max(1, images - places.num_own)


def search_places(
    places: RetrievalSet,
    queries: Float32[Tensor, "q c"],
    database: Float32[Tensor, "n c"] | Descriptors,
    engine: Engine,
) -> tuple[Nearest, int]:
    """Find the nearest images by the rules of the set, and count the places that may be found.

    A query that is an image of the database is not found itself. Lists that end early go on with -1, at an infinite
    distance.
    """
    num_places = count_places(places)
    num = min(max(DEPTHS), num_places)
    timed = places.database_time is not None and places.query_time is not None
    most = num * most_views(places) * (TIMES if timed else 1) + places.num_own
    nearest = search(queries, database, most, engine=engine)
    keep = ~places.own(torch.arange(len(queries)), nearest.index)
    if places.database_time is not None and places.query_time is not None:
        keep &= other_times(nearest.index, places.database_time, places.query_time)
    if places.panorama is not None:  # of the images that are left: one that is dropped hides no other view
        left = nearest.index.where(keep, torch.full_like(nearest.index, -1))
        keep = best_views(left, places.panorama)
    at = keep_first(keep, nearest.index, num)
    index, squared = (values.gather(1, at.clamp(min=0)) for values in (nearest.index, nearest.squared))
    none = at < 0
    return Nearest(index.masked_fill(none, -1), squared.masked_fill(none, torch.inf)), num_places


def mark_right(index: Int64[Tensor, "q k"], positives: Sequence[Int64[Tensor, " _"]]) -> Bool[Tensor, "q k"]:
    """Mark the images that are right for their query."""
    return torch.stack([torch.isin(row, right) for row, right in zip(index, positives, strict=True)])


def drawn_distances(
    places: RetrievalSet,
    queries: Float32[Tensor, "q c"],
    database: Float32[Tensor, "n c"] | Descriptors,
    positives: Sequence[Int64[Tensor, " _"]],
) -> Distances:
    """Compute the distances that a report draws: all, or those of evenly spaced images."""
    query, columns = (torch.tensor(evenly_spaced(range(len(rows)), MOST_DRAWN)) for rows in (queries, database))
    if isinstance(database, Tensor):
        chosen = database[columns]
    else:
        parts = ((columns - first, rows) for first, rows in database.chunks())
        chosen = torch.cat([rows[at[(at >= 0) & (at < len(rows))]] for at, rows in parts])
    pairs = [torch.stack((torch.full_like(positives[one], one), positives[one]), 1) for one in query.tolist()]
    return Distances(
        squared=torch.cdist(queries[query], chosen).square(),
        query=query,
        database=columns,
        matches=torch.cat(pairs),
        sizes=(len(queries), len(database)),
        recordings=(places.queries.name, places.database.name),
    )
