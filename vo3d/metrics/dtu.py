"""The evaluation of point clouds on the DTU benchmark, by the rules of its MATLAB program; all lengths are millimetres.

Three lengths that are easily confused: predictions are thinned to `radius`; distances are searched block by block and
known exactly below `block`; statistics leave out distances of `cut` or more. Predictions must lie in the frame of the
DTU cameras: nothing is aligned. (The rest of vo3d has metres: multiply a cloud by 1000 first.)

Source: Aanæs et al., "Large-scale data for multiple-view stereopsis", IJCV 2016, and the programs `PointCompareMain`,
`reducePts_haa`, `MaxDistCP` and `ComputeStat_web` that come with the data.
"""

from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64

from vo3d.errors import Vo3dError
from vo3d.formats.matlab import read_arrays
from vo3d.formats.ply import PointCloud, check_finite, read_cloud
from vo3d.metrics.clouds import check_distances, error_cloud, f_score, nearest, percent_within
from vo3d.metrics.thinning import thin_points

MASK_MARGIN = 10  # millimetres, in the names of the mask files
COLOUR_RANGE = 10.0  # millimetres, where the colours of the error clouds end


@dataclass(frozen=True, kw_only=True)
class DtuRules:
    """The constants of the evaluation, in millimetres; those of the benchmark unless told otherwise."""

    radius: float = 0.2  # predictions are thinned until no two are within it
    block: float = 60.0  # side of the blocks of the search
    cut: float = 20.0  # distances of this or more are outliers, left out of means, medians and variances
    within: tuple[float, ...] = (1.0, 2.0)  # for the shares of points and F-scores; not part of the program
    seed: int = 0  # of the order of the thinning

    def __post_init__(self) -> None:
        if not 0 < self.cut <= self.block:
            raise Vo3dError(f"cut {self.cut} and block {self.block}: expected 0 < cut <= block, millimetres")
        check_distances(self.within, self.cut)


OFFICIAL = DtuRules()


@dataclass(frozen=True, kw_only=True, eq=False)
class DtuScan:
    """The reference that a prediction of one scan is measured against."""

    reference: Float[np.ndarray, "n 3"]  # the scanner's points, millimetres
    observed: Bool[np.ndarray, "x y z"]  # voxels in which predicted points count
    box: Float64[np.ndarray, "2 3"]  # lowest and highest corner, millimetres; voxel 0 is centred on the lowest
    resolution: float  # side of a voxel, millimetres
    plane: Float64[np.ndarray, " 4"]  # reference points X with plane . (X, 1) > 0 count: those above the table

    @staticmethod
    def load(root: Path, scan: int) -> "DtuScan":
        """Read a scan out of the folder that holds `Points` and `ObsMask` ("MVS Data" in the official archive).

        Raises:
            Vo3dError: a file is absent or damaged, is of MATLAB's version 7.3, or lacks an array of the right shape.
        """
        cloud, mask, plane = scan_files(root, scan)
        for path in (cloud, mask, plane):
            if not path.is_file():
                raise Vo3dError(
                    f"{path}: no such file: expected {path.relative_to(root)} in the folder of the DTU evaluation, "
                    "which holds Points and ObsMask"
                )
        arrays = read_arrays(mask, {"ObsMask": (None, None, None), "BB": (2, 3), "Res": (1, 1)})
        box, resolution = arrays["BB"].astype(np.float64), float(arrays["Res"].item())
        if not (box[0] <= box[1]).all() or not resolution > 0:
            raise Vo3dError(
                f"{mask}: BB from {box[0].tolist()} to {box[1].tolist()}, Res {resolution}: expected a box from low to "
                "high and a positive side of its voxels"
            )
        return DtuScan(
            reference=read_cloud(cloud).points,
            observed=arrays["ObsMask"] != 0,
            box=box,
            resolution=resolution,
            plane=read_arrays(plane, {"P": (4, 1)})["P"][:, 0].astype(np.float64),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DtuDistances:
    """Distances of one scan in millimetres, both ways.

    `block` stands for all of `cut` or more and for points outside the blocks that cover the box of the scan, NaN for
    points that do not count and were not asked about.
    """

    rules: DtuRules
    num_predicted: int
    points: Float[np.ndarray, "m 3"]  # of the prediction, thinned
    to_reference: Float64[np.ndarray, " m"]
    masked: Bool[np.ndarray, " m"]  # these count for the accuracy
    reference: Float[np.ndarray, "n 3"]
    to_prediction: Float64[np.ndarray, " n"]
    above: Bool[np.ndarray, " n"]  # these count for the completeness


def scan_files(root: Path, scan: int) -> tuple[Path, Path, Path]:
    """Name the files of the reference cloud, the mask and the plane of a scan."""
    masks = root / "ObsMask"
    return (
        root / "Points" / "stl" / f"stl{scan:03d}_total.ply",
        masks / f"ObsMask{scan}_{MASK_MARGIN}.mat",
        masks / f"Plane{scan}.mat",
    )


def evaluate_scan(
    points: Float[np.ndarray, "n 3"], scan: DtuScan, rules: DtuRules = OFFICIAL, *, workers: int = -1
) -> dict[str, float | int]:
    """Compute all numbers of one scan: `dtu_metrics` of `compare_scan`."""
    return dtu_metrics(compare_scan(points, scan, rules, workers=workers))


def compare_scan(
    points: Float[np.ndarray, "n 3"],
    scan: DtuScan,
    rules: DtuRules = OFFICIAL,
    *,
    everywhere: bool = False,
    workers: int = -1,
) -> DtuDistances:
    """Thin a predicted cloud (millimetres) and measure from it to the reference and back.

    Only points that count are asked about unless `everywhere`, which `error_clouds` needs and which takes long where
    much lies far from the reference. Neighbours are searched in chunks, so that beside the clouds it holds one tree.
    `workers` is the number of threads, -1 for all cores; the result does not depend on it.

    Raises:
        Vo3dError: a predicted or reference point is NaN or infinite. No points are no error: nothing is near them.
    """
    check_finite(points, "points of the prediction")
    check_finite(scan.reference, "points of the reference")
    thinned = points[thin_points(points, rules.radius, rules.seed, workers=workers)]  # m 3
    masked, above = in_mask(thinned, scan), above_plane(scan.reference, scan)  # m; n
    return DtuDistances(
        rules=rules,
        num_predicted=len(points),
        points=thinned,
        to_reference=_distances(thinned, masked | everywhere, scan.reference, scan.box, rules, workers),
        masked=masked,
        reference=scan.reference,
        to_prediction=_distances(scan.reference, above | everywhere, thinned, scan.box, rules, workers),
        above=above,
    )


def dtu_metrics(distances: DtuDistances) -> dict[str, float | int]:
    """Compute the numbers of one scan, under names that carry their unit.

    | key, `dtu_` before each | value |
    |---|---|
    | `accuracy_mm`, `accuracy_median_mm`, `accuracy_variance_mm2` | from thinned points in the mask, below the cut |
    | `completeness_mm`, `completeness_median_mm`, `completeness_variance_mm2` | from reference points above the plane |
    | `overall_mm` | mean of accuracy and completeness |
    | `num_predicted`, `num_thinned` | predicted points, before and after the thinning |
    | `num_masked`, `num_above_plane` | thinned points in the mask, reference points above the plane |
    | `num_accuracy`, `num_completeness` | of these the ones below the cut: what means, medians and variances are over |
    | `accuracy_outlier_percent`, `completeness_outlier_percent` | the others, of `num_masked` and `num_above_plane` |
    | `accuracy_<d>mm_percent`, `completeness_<d>mm_percent` | nearer than d, of `num_masked`, `num_above_plane` |
    | `f_score_<d>mm_percent` | harmonic mean of the two; 0 where both are 0 |

    Variances divide by one less than the number, as MATLAB does (by one where there is one point). Shares keep the
    outliers in their denominator. What has nothing to be taken over is NaN.
    """
    metrics: dict[str, float | int] = {
        "dtu_num_predicted": distances.num_predicted,
        "dtu_num_thinned": len(distances.points),
    }
    sides = {
        "accuracy": ("masked", distances.to_reference[distances.masked]),
        "completeness": ("above_plane", distances.to_prediction[distances.above]),
    }
    for name, (who, values) in sides.items():
        kept = values[values < distances.rules.cut]
        metrics |= {
            f"dtu_num_{who}": len(values),
            f"dtu_num_{name}": len(kept),
            f"dtu_{name}_mm": float(kept.mean()) if len(kept) else nan,
            f"dtu_{name}_median_mm": float(np.median(kept)) if len(kept) else nan,
            f"dtu_{name}_variance_mm2": float(kept.var(ddof=int(len(kept) > 1))) if len(kept) else nan,
            f"dtu_{name}_outlier_percent": 100 * (1 - len(kept) / len(values)) if len(values) else nan,
        }
    metrics["dtu_overall_mm"] = (metrics["dtu_accuracy_mm"] + metrics["dtu_completeness_mm"]) / 2
    for d in distances.rules.within:
        shares = {name: percent_within(values, d) for name, (_, values) in sides.items()}
        shares["f_score"] = f_score(*shares.values())
        metrics |= {f"dtu_{name}_{d:g}mm_percent": share for name, share in shares.items()}
    return metrics


def error_clouds(distances: DtuDistances) -> tuple[PointCloud, PointCloud]:
    """Give the thinned prediction and the reference, coloured by their distances to each other.

    White to red from 0 to 10 mm where a point counts, blue to green where it does not; the scalar `error` holds the
    distance in millimetres (`block` for all of `cut` or more).

    Raises:
        Vo3dError: not all points were measured.
    """
    if np.isnan(distances.to_reference).any() or np.isnan(distances.to_prediction).any():
        raise Vo3dError("points that do not count were not measured: expected distances of compare_scan everywhere")
    return (
        error_cloud(distances.points, distances.to_reference, COLOUR_RANGE, distances.masked),
        error_cloud(distances.reference, distances.to_prediction, COLOUR_RANGE, distances.above),
    )


def in_mask(points: Float[np.ndarray, "n 3"], scan: DtuScan) -> Bool[np.ndarray, " n"]:
    """Tell whether each point is in a voxel that was observed; halves round away from zero, as in MATLAB."""
    inside = np.ones(len(points), bool)
    voxels = np.empty((len(points), 3), np.int32)
    for axis, size in enumerate(scan.observed.shape):
        place = (points[:, axis].astype(np.float64) - scan.box[0, axis]) / scan.resolution + 1
        voxel = np.floor(place)
        voxel += place - voxel >= 0.5
        inside &= (voxel >= 1) & (voxel <= size)
        voxels[:, axis] = np.where(inside, voxel - 1, 0)
    inside[inside] = scan.observed[tuple(voxels[inside].T)]
    return inside


def above_plane(points: Float[np.ndarray, "n 3"], scan: DtuScan) -> Bool[np.ndarray, " n"]:
    """Tell whether each point is above the plane of the table; points on it are not."""
    return np.asarray(points.astype(np.float64) @ scan.plane[:3] + scan.plane[3] > 0)


def _distances(
    points: Float[np.ndarray, "n 3"],
    asked: Bool[np.ndarray, " n"],
    others: Float[np.ndarray, "m 3"],
    box: Float64[np.ndarray, "2 3"],
    rules: DtuRules,
    workers: int,
) -> Float64[np.ndarray, " n"]:
    """Measure to the nearest of `others` from the points in the blocks; `block` for the rest, and beyond the cut.

    NaN for points that are not `asked` about. The program asks the points of one block about the others in it and its
    neighbours. Whatever it finds below `block` is the nearest of all, so blocks need not be walked through: only what
    they cover counts.
    """
    last = np.floor((box[1] - box[0]) / rules.block)
    covered = asked & ((points >= box[0]) & (points < box[0] + last * rules.block + rules.block)).all(axis=-1)
    distances = np.where(asked, rules.block, nan)
    found, _ = nearest(points[covered], others, bound=rules.cut, workers=workers)
    distances[covered] = np.where(found < rules.cut, found, rules.block)
    return distances
