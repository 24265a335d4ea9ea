"""How near two point clouds are to each other: accuracy, completeness, precision, recall and F-score.

All lengths are in the clouds' own unit, which must be the same for both; nothing is aligned, thinned or masked here
(`vo3d.metrics.dtu` does, by the rules of that benchmark).
"""

from collections.abc import Sequence
from math import inf, isfinite, nan

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.spatial import cKDTree

from vo3d.errors import Vo3dError
from vo3d.formats.ply import PointCloud, check_finite

CHUNK = 1 << 18  # points asked about at once


def cloud_metrics(
    prediction: Float[np.ndarray, "n 3"],
    reference: Float[np.ndarray, "m 3"],
    distances: Sequence[float],
    *,
    cut: float = inf,
    workers: int = -1,
) -> dict[str, float | int]:
    """Compute distances between a predicted and a reference cloud, and the shares of points within each of `distances`.

    | key | value |
    |---|---|
    | `cloud_accuracy`, `cloud_accuracy_median` | from the predicted points to the reference: mean, median |
    | `cloud_completeness`, `cloud_completeness_median` | from the reference points to the prediction |
    | `cloud_precision_<d>_percent` | predicted points nearer than d to the reference, of all predicted points |
    | `cloud_recall_<d>_percent` | reference points nearer than d to the prediction, of all reference points |
    | `cloud_f_score_<d>_percent` | harmonic mean of the two; 0 where both are 0 |
    | `cloud_num_predicted`, `cloud_num_reference` | the two denominators |

    Means and medians leave out distances of `cut` or more; shares never do. NaN where nothing is left to average.

    Raises:
        Vo3dError: a distance or the cut is not positive, a distance exceeds the cut, or a point is NaN or infinite.

    Source: precision, recall and F-score as in Knapitsch et al., "Tanks and Temples", 2017, section 4, without its
    alignment, cropping and resampling.
    """
    check_distances(distances, cut)
    return distance_metrics(*cloud_distances(prediction, reference, cut=cut, workers=workers), distances, cut=cut)


def cloud_distances(
    prediction: Float[np.ndarray, "n 3"], reference: Float[np.ndarray, "m 3"], *, cut: float = inf, workers: int = -1
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " m"]]:
    """Measure from each predicted point to the nearest reference point, and back; infinity for `cut` or more.

    Raises:
        Vo3dError: a point is NaN or infinite.
    """
    check_finite(prediction, "points of the prediction")
    check_finite(reference, "points of the reference")
    to_reference, _ = nearest(prediction, reference, bound=cut, workers=workers)
    to_prediction, _ = nearest(reference, prediction, bound=cut, workers=workers)
    return to_reference, to_prediction


def nearest(
    points: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"], *, bound: float = inf, workers: int = -1
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Find the nearest of `others` to each point: distance and row; infinity and m where none is below `bound`.

    A bound makes it much faster where clouds lie apart. Beside its result it needs about 100 bytes for each of the
    others. `workers` is the number of threads, -1 for all cores; the result does not depend on it.
    """
    distances, rows = np.full(len(points), inf), np.full(len(points), len(others), np.int64)
    if not len(points) or not len(others):
        return distances, rows
    place = _by_place(others)
    tree = cKDTree(others[place].astype(np.float64))
    place = np.append(place, len(others))
    order = _by_place(points)
    for start in range(0, len(points), CHUNK):
        asked = order[start : start + CHUNK]
        distance, row = tree.query(points[asked].astype(np.float64), distance_upper_bound=bound, workers=workers)
        distances[asked], rows[asked] = distance, place[row]
    return distances, rows


def _by_place(points: Float[np.ndarray, "n 3"]) -> Int64[np.ndarray, " n"]:
    """Return an order in which neighbours in space are mostly neighbours in memory.

    Trees over points in random order, and questions about such points, wait for the memory: without this the DTU
    evaluation of a million points took twice as long.
    """
    return np.asarray(cKDTree(points, balanced_tree=False, compact_nodes=False).indices)


def distance_metrics(
    to_reference: Float64[np.ndarray, " n"],
    to_prediction: Float64[np.ndarray, " m"],
    distances: Sequence[float],
    *,
    cut: float = inf,
) -> dict[str, float | int]:
    """Compute the numbers of `cloud_metrics` out of `cloud_distances` with the same `cut`."""
    check_distances(distances, cut)
    metrics: dict[str, float | int] = {
        "cloud_num_predicted": len(to_reference),
        "cloud_num_reference": len(to_prediction),
    }
    for name, values in (("accuracy", to_reference), ("completeness", to_prediction)):
        kept = values[np.isfinite(values) & (values < cut)]
        metrics |= {
            f"cloud_{name}": float(kept.mean()) if len(kept) else nan,
            f"cloud_{name}_median": float(np.median(kept)) if len(kept) else nan,
        }
    for distance in distances:
        precision, recall = percent_within(to_reference, distance), percent_within(to_prediction, distance)
        metrics |= {
            f"cloud_precision_{distance:g}_percent": precision,
            f"cloud_recall_{distance:g}_percent": recall,
            f"cloud_f_score_{distance:g}_percent": f_score(precision, recall),
        }
    return metrics


def error_cloud(
    points: Float[np.ndarray, "n 3"],
    errors: Float64[np.ndarray, " n"],
    full: float,
    counted: Bool[np.ndarray, " n"] | None = None,
) -> PointCloud:
    """Colour points from white where the error is 0 to red where it is `full` or more, with the scalar `error`.

    Points that are not `counted` go from blue to green instead.
    """
    share = np.minimum(errors / full, 1)[:, None]
    colours = np.hstack((np.ones_like(share), 1 - share, 1 - share))
    if counted is not None:
        colours = np.where(counted[:, None], colours, np.hstack((np.zeros_like(share), share, 1 - share)))
    rounded = np.rint(255 * colours).astype(np.uint8)
    return PointCloud(points=points, colours=rounded, scalars={"error": errors.astype(np.float32)})


def percent_within(values: Float64[np.ndarray, " n"], distance: float) -> float:
    """Return the share of all values that are less than `distance`, percent; NaN where there are none."""
    return 100 * int((values < distance).sum()) / len(values) if len(values) else nan


def f_score(precision: float, recall: float) -> float:
    """Return the harmonic mean of two shares; 0 where both are 0, NaN where one is not defined."""
    total = precision + recall
    return 0.0 if total == 0 else 2 * precision * recall / total


def check_distances(distances: Sequence[float], cut: float) -> None:
    """Raise Vo3dError unless all distances are different, finite, positive and at most the positive `cut`."""
    if not cut > 0:
        raise Vo3dError(f"distances are cut at {cut}: expected a positive number")
    if not all(isfinite(d) and 0 < d <= cut for d in distances) or len({*distances}) != len(distances):
        raise Vo3dError(f"distances {list(distances)}: expected different positive numbers, none beyond the cut {cut}")
