"""The metrics of one estimated trajectory, and the part of the protocol that says how they were computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.results import Metrics
from vo3d.geometry.trajectory import AlignMode, align, path_lengths, start_at_identity
from vo3d.metrics import odometry as evo
from vo3d.metrics.kitti_odometry import (
    DEVKIT_FRAME_SECONDS,
    DEVKIT_LENGTHS,
    DEVKIT_START_EVERY,
    SegmentErrors,
    check_pair,
    position_errors,
    segment_errors,
    step_errors,
)


@dataclass(frozen=True)
class Scores:
    """Metrics of one trajectory, with the segments behind them."""

    metrics: Metrics
    segments: SegmentErrors


def metric_protocol(alignment: AlignMode, lengths: Sequence[float] = DEVKIT_LENGTHS) -> dict[str, object]:
    """Return what must be known to read the metrics of `score`; part of the protocol of every result."""
    return {
        "task": "odometry",
        "alignment": alignment,
        "segment_lengths_m": sorted(float(length) for length in lengths),
        "segment_start_every": DEVKIT_START_EVERY,
        "segment_metric": "KITTI devkit, mean over all segments",
        "origin": "first common pose of each trajectory moved to the identity before alignment",
        "rpe": "mean over consecutive frames",
        "evo": "trajectories as stored, aligned by evo; angles of orthonormal rotations",
    }


def score(
    reference: Float64[Tensor, "n 4 4"],
    estimate: Float64[Tensor, "m 4 4"],
    *,
    alignment: AlignMode = "none",
    lengths: Sequence[float] = DEVKIT_LENGTHS,
    frame_seconds: float = DEVKIT_FRAME_SECONDS,
    known: Bool[Tensor, " n"] | None = None,
    with_evo: bool = True,
) -> Scores:
    """Compute all metrics of an estimate against its reference; `known` marks the frames that have an estimate.

    Both are moved so that their first common pose is the identity, the estimate is then aligned by its positions.
    Keys: `t_rel_percent`, `r_rel_deg_per_100m` (None when the reference is shorter than every length), `num_segments`,
    `ape_rmse_m`, `rpe_mean_m`, `rpe_mean_deg` (None where no two consecutive frames are known), `scale` (the factor
    that alignment found; 1 if it looks for none), `coverage` (poses scored / poses in the reference), `path_length_m`
    (of the reference), `final_drift_percent` (error of the last position, of the path length; None at rest); and evo's
    own values of trajectories as stored, by evo's own alignment: `evo_ape_rmse_m`, `evo_rpe_mean_m`,
    `evo_rpe_mean_deg` (None where evo refuses; its steps ignore gaps between known frames; without
    `with_evo` these are left out, and 4,000 poses take 0.1 s instead of 2).

    Raises Vo3dError as the metrics and `vo3d.geometry.trajectory.align` do.
    Convention: `world_T_cam`, metres.
    """
    check_pair(reference, estimate, known)
    kept = torch.ones(len(reference), dtype=torch.bool) if known is None else known
    origin = int(kept.nonzero()[0])
    target, source = start_at_identity(reference, origin), start_at_identity(estimate, origin)
    aligned = align(target[kept], source[kept], alignment)
    filled = target.clone()  # frames without an estimate are never read: `known` leaves them out
    filled[kept] = aligned.estimate
    segments = segment_errors(target, filled, lengths=lengths, frame_seconds=frame_seconds, known=known)
    metres, angles = step_errors(target, filled, known)
    positions, length = position_errors(target, filled, known), path_lengths(reference)[-1].item()
    metrics: Metrics = {
        "t_rel_percent": segments.t_rel_percent,
        "r_rel_deg_per_100m": segments.r_rel_deg_per_100m,
        "num_segments": len(segments),
        "ape_rmse_m": positions.square().mean().sqrt().item(),
        "rpe_mean_m": metres.mean().item() if len(metres) else None,
        "rpe_mean_deg": torch.rad2deg(angles).mean().item() if len(angles) else None,
        "scale": aligned.scale,
        "coverage": int(kept.sum()) / len(reference),
        "path_length_m": length,
        "final_drift_percent": 100 * positions[-1].item() / length if length > 0 else None,
    }
    if with_evo:
        metrics |= _evo_metrics(reference[kept], estimate[kept], alignment)
    return Scores(metrics, segments)


def _evo_metrics(
    reference: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "n 4 4"], alignment: AlignMode
) -> Metrics:
    """Ask evo for values; None where it cannot tell: positions on a line, a single pose, rotations of few digits."""
    asked: dict[str, Callable[[], float]] = {
        "evo_ape_rmse_m": lambda: evo.ape(reference, estimate, alignment).rmse,
        "evo_rpe_mean_m": lambda: evo.rpe(reference, estimate, alignment, "translation").mean,
        "evo_rpe_mean_deg": lambda: evo.rpe(reference, estimate, alignment, "rotation").mean,
    }
    metrics: Metrics = {}
    for key, ask in asked.items():
        try:
            metrics[key] = ask()
        except Vo3dError:
            metrics[key] = None
    return metrics
