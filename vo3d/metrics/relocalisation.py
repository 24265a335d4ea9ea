"""Measure absolute poses against the truth: errors, shares within bounds, and what a predicted deviation is worth.

Convention: poses are `world_T_cam` in the scene's own world, metres; nothing is aligned. Pairs are metres and degrees.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float64, Int64
from scipy.stats import rankdata
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import rotations

BOUNDS: Mapping[str, tuple[float, float]] = {  # metres and degrees, both at once
    "within_5cm_5deg_percent": (0.05, 5.0),
    "within_25cm_2deg_percent": (0.25, 2.0),
    "within_50cm_5deg_percent": (0.5, 5.0),
    "within_5m_10deg_percent": (5.0, 10.0),
}
QUANTITIES = ("position", "rotation")  # the two columns of pairs
ONE_SIGMA = math.erf(math.sqrt(0.5))  # share of a normal distribution within one deviation
_ROWS = 256  # poses whose distances to all training views are computed at once


def pose_errors(truth: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "n 4 4"]) -> Float64[Tensor, "n 2"]:
    """Compute the distance of the positions, metres, and the angle of the relative rotation, degrees in [0, 180].

    The angle is that of the turn from one orientation to the other: a camera that looks 90 degrees aside is off by 90.
    That is 2 acos |<q, q'>| of unit quaternions, whatever their signs. The tables that PoseNet was printed with lack
    the factor 2 (Kendall et al., ICCV 2015; corrected in arXiv 1505.07427v4).
    """
    metres = (truth[:, :3, 3] - estimate[:, :3, 3]).norm(dim=-1)
    turn = rotations.so3_log(truth[:, :3, :3].mT @ estimate[:, :3, :3]).norm(dim=-1)
    return torch.stack((metres, turn.rad2deg()), -1)


def total_deviations(deviations: Float64[Tensor, "n 6"]) -> Float64[Tensor, "n 2"]:
    """Compute the square roots of the traces of both covariances, metres and degrees.

    Given are standard deviations of independent errors, metres x 3 and radians x 3.
    """
    metres, radians = deviations.reshape(-1, 2, 3).norm(dim=-1).unbind(-1)
    return torch.stack((metres, radians.rad2deg()), -1)


def shares_within(errors: Float64[Tensor, " n"], bounds: Float64[Tensor, " t"]) -> Float64[Tensor, " t"]:
    """Compute which percentage of the errors is at most each bound: the curve over thresholds."""
    return 100 * (errors[:, None] <= bounds).double().mean(0)


def relocalisation_metrics(
    errors: Float64[Tensor, "n 2"], deviation: Float64[Tensor, "n 2"] | None = None
) -> dict[str, float | None]:
    """Summarise the errors of frames (metres, degrees), and how well predicted standard deviations tell them.

    | key | value |
    |---|---|
    | `median_position_m`, `median_rotation_deg` | medians; of an even number the mean of the two in the middle |
    | `mean_position_m`, `mean_rotation_deg` | means |
    | `within_5cm_5deg_percent`, ... | frames whose two errors are at most both bounds of `BOUNDS` |
    | `position_rank_correlation`, `rotation_...` | see `rank_correlation` |
    | `position_ause`, `rotation_ause` | see `ause` |
    | `position_within_1sigma_percent`, `..._2sigma_...` | errors of at most once, twice what the deviation says |

    The deviation of a frame is the square root of the trace of its covariance, so the share within one is 60.8 % and
    that within two 99.3 % where the three errors of a frame are independent, normal, of one variance, and told right
    (chi with three degrees of freedom); 68.3 and 95.4 % where all of the variance lies along one axis.

    Values are None where they are not defined: of deviations that are all equal, or of one frame.

    Raises:
        Vo3dError: there is no frame.
    """
    if not len(errors):
        raise Vo3dError("no frame to measure: expected the errors of at least one")
    median, mean = errors.quantile(0.5, dim=0).tolist(), errors.mean(0).tolist()
    found: dict[str, float | None] = {
        "median_position_m": median[0],
        "median_rotation_deg": median[1],
        "mean_position_m": mean[0],
        "mean_rotation_deg": mean[1],
    }
    for key, bounds in BOUNDS.items():
        found[key] = 100 * (errors <= errors.new_tensor(bounds)).all(-1).double().mean().item()
    if deviation is not None:
        for name, error, sigma in zip(QUANTITIES, errors.unbind(-1), deviation.unbind(-1), strict=True):
            found[f"{name}_rank_correlation"] = rank_correlation(error, sigma)
            found[f"{name}_ause"] = ause(error, sigma)
            for times in (1, 2):
                share = (error <= times * sigma).double().mean().item()
                found[f"{name}_within_{times}sigma_percent"] = 100 * share
    return found


def deviation_factors(errors: Float64[Tensor, "n 2"], deviation: Float64[Tensor, "n 2"]) -> Float64[Tensor, "2"]:
    """Compute by what deviations are multiplied so that 68.3 % of the frames have errors of at most one of them.

    Of position (metres) and rotation (degrees) each it is the quantile of error / deviation: the least factor for which
    as many frames are within: a split conformal prediction (Lei et al., "Distribution-free predictive inference for
    regression", 2018) without its one frame more.

    Raises:
        Vo3dError: there is no frame; no factor does it: deviations of 0, errors of 0, or values that are not finite.
    """
    if not len(errors):
        raise Vo3dError("no frame to calibrate by: expected the errors of at least one")
    ratio = torch.where((errors == 0) & (deviation >= 0), 0.0, errors / deviation)
    factors = ratio.sort(dim=0).values[math.ceil(ONE_SIGMA * len(errors)) - 1]
    if not bool((factors.isfinite() & (factors > 0)).all()):
        raise Vo3dError(
            f"factors of {factors[0]:g} in metres and {factors[1]:g} in degrees: expected errors and deviations above 0"
        )
    return factors


def rank_correlation(first: Float64[Tensor, " n"], second: Float64[Tensor, " n"]) -> float | None:
    """Compute Spearman's correlation, that of the ranks, equal values sharing one; None where one does not vary.

    Source: Spearman, "The proof and measurement of association between two things", 1904.
    """
    ranks = [torch.from_numpy(rankdata(values.cpu().numpy())) for values in (first, second)]
    a, b = (values - values.mean() for values in ranks)
    size = (a.square().sum() * b.square().sum()).sqrt()
    return (a @ b / size).item() if size > 0 else None


def sparsification(errors: Float64[Tensor, " n"], deviation: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Compute the mean error of what is left when the k frames of the highest deviation are left out, k = 0 .. n - 1.

    Frames of equal deviations leave in no order: the value is the mean over all orders. The oracle's curve is that of
    the errors as deviations.

    Source: Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow", ECCV 2018, section 4.
    """
    _, group, size = torch.unique(deviation, return_inverse=True, return_counts=True)  # ascending
    mean = errors.new_zeros(len(size)).index_add_(0, group, errors) / size
    kept: Tensor = mean.repeat_interleave(size).cumsum(0) / torch.arange(1, len(errors) + 1, device=errors.device)
    return kept.flip(0)


def ause(errors: Float64[Tensor, " n"], deviation: Float64[Tensor, " n"]) -> float | None:
    """Compute the area between the sparsification curve and the oracle's, over that of a random order and the oracle's.

    0: the deviation puts the frames in the order of their errors; 1: it tells no more than chance; above: it misleads.
    None where all errors are equal.

    Source: Ilg et al. 2018, who call the area between the two curves AUSE; they divide by the mean error of all. The
    random order's curve is that mean throughout, so dividing by its area above the oracle's makes scenes comparable.
    """
    oracle = sparsification(errors, errors).mean()
    chance = errors.mean() - oracle
    if chance <= 1e-12 * errors.mean():
        return None
    return ((sparsification(errors, deviation).mean() - oracle) / chance).item()


def nearest_views(
    world_T_cam: Float64[Tensor, "n 4 4"], training: Float64[Tensor, "m 4 4"]
) -> tuple[Int64[Tensor, " n"], Float64[Tensor, "n 2"]]:
    """Find for each pose the training view of the least metres + radians, the first of equals, and its `pose_errors`.

    Raises:
        Vo3dError: there is no training view.
    """
    if not len(training):
        raise Vo3dError("no training view: expected at least one to be the nearest")
    q, q_training = (rotations.quaternion_from_matrix(poses[:, :3, :3]) for poses in (world_T_cam, training))
    found = []
    for start in range(0, len(world_T_cam), _ROWS):
        rows = slice(start, start + _ROWS)
        metres = torch.cdist(
            world_T_cam[rows, :3, 3], training[:, :3, 3], compute_mode="donot_use_mm_for_euclid_dist"
        )  # exact far from the origin
        radians = 2 * (q[rows] @ q_training.mT).abs().clamp(max=1).acos()
        found.append((metres + radians).argmin(-1))
    nearest = torch.cat(found) if found else torch.zeros(0, dtype=torch.long)
    return nearest, pose_errors(world_T_cam, training[nearest])
