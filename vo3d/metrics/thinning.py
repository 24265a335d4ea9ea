"""Thin a point cloud to a smallest distance between points, as the DTU evaluation does: first come, first served.

The rule is sequential: walk through the points in a random order; a point that is still there stays, and takes away all
others within the radius. Here it runs on whole arrays and gives the same points. A slice of the order is taken at a
time. What lies near a point that stayed before is gone; among the rest, every point without an earlier neighbour stays,
its neighbours go, and so on in rounds. The slices double, so that trees are built a few times only, and
halve where points are so dense that the pairs of neighbours would fill the memory.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vo3d.errors import Vo3dError
from vo3d.formats.ply import check_finite
from vo3d.metrics.clouds import nearest

FIRST_SLICE = 4096  # points: all pairs of them fit in memory, however dense they are
MOST_PAIRS = 4_000_000  # 16 bytes each, and about as much again while they are looked at
_MARGIN = 1 + 1e-9  # of the trees' radius: which pairs are within it is then decided in one place, `_within`

Array = NDArray[Any]


def thin_points(
    points: Float[np.ndarray, "n 3"], radius: float, seed: int = 0, *, workers: int = -1
) -> Int64[np.ndarray, " m"]:
    """Return the rows of `points` that stay, ascending.

    No two of them are within `radius`, and every other point is within it of one of them.

    The order of the walk is `numpy.random.default_rng(seed).permutation(n)`; a distance equal to `radius` counts as
    within it. Lengths are in the cloud's unit. `workers` is the number of threads, -1 for all cores; it changes nothing
    else.

    Raises:
        Vo3dError: the radius is not positive, or a point is NaN or infinite.

    Source: the program `reducePts_haa` of the DTU evaluation; rounds as in Luby, "A simple parallel algorithm for the
    maximal independent set problem", 1986, with the priorities of the one order.
    """
    if not 0 < radius < np.inf:
        raise Vo3dError(f"thinning radius {radius}: expected a positive number in the cloud's unit")
    check_finite(points, "points of the cloud to thin")
    order = np.random.default_rng(seed).permutation(len(points))
    stayed = np.empty(0, np.int64)
    start, size = 0, FIRST_SLICE
    while start < len(order):
        batch = order[start : start + size]
        if len(stayed):
            batch = batch[~_near(points[batch], points[stayed], radius, workers)]
        candidates = points[batch].astype(np.float64)  # c 3
        tree = cKDTree(candidates)
        if size > FIRST_SLICE and tree.count_neighbors(tree, radius * _MARGIN) > 2 * MOST_PAIRS + len(batch):
            size //= 2
            continue
        stayed = np.concatenate((stayed, batch[_first_come(candidates, tree, radius)]))
        start, size = start + size, 2 * size
    return np.sort(stayed)


def _near(
    points: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"], radius: float, workers: int
) -> Bool[np.ndarray, " n"]:
    """Tell whether one of the `others` is within `radius` of each point."""
    _, rows = nearest(points, others, bound=radius * _MARGIN, workers=workers)
    near = rows < len(others)
    (found,) = np.nonzero(near)
    near[found] = _within(points, found, others, rows[found], radius)
    return near


def _first_come(points: Float64[np.ndarray, "n 3"], tree: cKDTree, radius: float) -> Bool[np.ndarray, " n"]:
    """Tell which of the points, in the order of the walk, stay among each other."""
    pairs = tree.query_pairs(radius * _MARGIN, output_type="ndarray")  # p 2, the earlier first
    pairs = pairs[_within(points, pairs[:, 0], points, pairs[:, 1], radius)]
    alive, stays = np.ones(len(points), bool), np.zeros(len(points), bool)
    while len(pairs):
        earlier, later = pairs.T
        first = alive.copy()
        first[later] = False  # an earlier neighbour is alive: wait for what becomes of it
        stays |= first
        alive[first] = False
        alive[later[first[earlier]]] = False
        pairs = pairs[alive[earlier] & alive[later]]
    return stays | alive


def _within(a: Array, rows_a: Array, b: Array, rows_b: Array, radius: float) -> Bool[np.ndarray, " p"]:
    """Tell whether the points of each pair are within `radius` of each other."""
    squares = np.zeros(len(rows_a))
    for axis in range(3):
        difference = a[rows_a, axis].astype(np.float64) - b[rows_b, axis]
        squares += difference * difference
    return np.asarray(squares <= radius * radius)
