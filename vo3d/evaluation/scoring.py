"""The metrics of one estimated trajectory, and the part of the protocol that says how they were computed."""

from collections.abc import Callable, Mapping, Sequence
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

MOVED = "first common pose of each trajectory moved to the identity before alignment"
ONE_POSE = "one pose was matched, and nothing is left to compare once both begin there"


@dataclass(frozen=True)
class Scores:
    """Metrics of one trajectory, with the segments behind them."""

    metrics: Metrics
    segments: SegmentErrors
    reasons: Mapping[str, str]  # why a metric is None
    aligned: Float64[Tensor, "k 4 4"]  # the poses that were scored; where they begin the protocol tells (origin)


def metric_protocol(alignment: AlignMode, lengths: Sequence[float] = DEVKIT_LENGTHS) -> dict[str, object]:
    """Return what must be known to read the metrics of `score`; part of the protocol of every result."""
    return {
        "task": "odometry",
        "alignment": alignment,
        "segment_lengths_m": sorted(float(length) for length in lengths),
        "segment_start_every": DEVKIT_START_EVERY,
        "segment_metric": "KITTI devkit, mean over all segments",
        "origin": "as stored" if alignment == "yaw" else MOVED,
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

    Both are moved so that their first common pose is the identity (but for "yaw", which needs the vertical as it is
    stored), the estimate is then aligned by its positions.
    Keys: `t_rel_percent`, `r_rel_deg_per_100m` (None when the reference is shorter than every length), `num_segments`,
    `ape_rmse_m` (None for a single pose), `rpe_mean_m`, `rpe_mean_deg` (None where no two consecutive frames are
    known), `scale` (the factor that alignment found; 1 if it looks for none), `coverage` (poses scored / poses in the
    reference), `path_length_m` (of the reference), `scored_length_m` (of it between the first and the last pose that
    are scored), `final_drift_percent` (error of the last position that is scored, of that length; None at rest); and
    evo's own values of trajectories as stored, by evo's own alignment: `evo_ape_rmse_m`, `evo_rpe_mean_m`,
    `evo_rpe_mean_deg` (None where evo refuses; its steps ignore gaps between known frames; without `with_evo` these
    are left out, and 4,000 poses take 0.1 s instead of 2). `Scores.reasons` says of each None why.

    Raises Vo3dError as the metrics and `vo3d.geometry.trajectory.align` do.
    Convention: `world_T_cam`, metres.
    """
    check_pair(reference, estimate, known)
    count = len(reference) if known is None else int(known.sum())
    origin, last = (0, count - 1) if known is None else (int(known.nonzero()[end]) for end in (0, -1))
    target, source = reference, estimate
    if alignment != "yaw":
        target, source = start_at_identity(reference, origin), start_at_identity(estimate, origin)
    if known is None:
        aligned = align(target, source, alignment)
        filled = aligned.estimate
    else:
        aligned = align(target[known], source[known], alignment)
        filled = target.clone()  # frames without an estimate are never read: `known` leaves them out
        filled[known] = aligned.estimate
    segments = segment_errors(target, filled, lengths=lengths, frame_seconds=frame_seconds, known=known)
    metres, angles = step_errors(target, filled, known)
    positions, distances = position_errors(target, filled, known), path_lengths(target)
    length = (distances[last] - distances[origin]).item()
    several = len(positions) > 1
    metrics: Metrics = {
        "t_rel_percent": segments.t_rel_percent,
        "r_rel_deg_per_100m": segments.r_rel_deg_per_100m,
        "num_segments": len(segments),
        "ape_rmse_m": positions.square().mean().sqrt().item() if several else None,
        "rpe_mean_m": metres.mean().item() if len(metres) else None,
        "rpe_mean_deg": torch.rad2deg(angles).mean().item() if len(angles) else None,
        "scale": aligned.scale,
        "coverage": count / len(reference),
        "path_length_m": distances[-1].item(),
        "scored_length_m": length,
        "final_drift_percent": 100 * positions[-1].item() / length if length > 0 else None,
    }
    few = f"the scored part of the reference is {length:.1f} m long, the shortest segment {min(lengths):g} m"
    unsteady = ONE_POSE if not several else "no two consecutive frames have an estimate"
    why = {
        "t_rel_percent": few if length <= min(lengths) else "no segment begins and ends at frames with an estimate",
        "ape_rmse_m": ONE_POSE,
        "rpe_mean_m": unsteady,
        "rpe_mean_deg": unsteady,
        "final_drift_percent": "the reference does not move" if several else ONE_POSE,
    }
    why["r_rel_deg_per_100m"] = why["t_rel_percent"]
    if with_evo:
        both = (reference, estimate) if known is None else (reference[known], estimate[known])
        found, refusals = _evo_metrics(*both, alignment)
        metrics |= found
        why |= refusals
    return Scores(
        metrics, segments, {key: why[key] for key, value in metrics.items() if value is None}, aligned.estimate
    )


def _evo_metrics(
    reference: Float64[Tensor, "n 4 4"], estimate: Float64[Tensor, "n 4 4"], alignment: AlignMode
) -> tuple[Metrics, dict[str, str]]:
    """Ask evo for values; None and the reason where it cannot tell: a single pose, no such alignment, a line."""
    asked: dict[str, Callable[[], float]] = {
        "evo_ape_rmse_m": lambda: evo.ape(reference, estimate, alignment).rmse,
        "evo_rpe_mean_m": lambda: evo.rpe(reference, estimate, alignment, "translation").mean,
        "evo_rpe_mean_deg": lambda: evo.rpe(reference, estimate, alignment, "rotation").mean,
    }
    metrics: Metrics = {}
    refusals = {}
    for key, ask in asked.items():
        try:
            if len(reference) == 1:
                raise Vo3dError(ONE_POSE)
            metrics[key] = ask()
        except Vo3dError as error:
            metrics[key], refusals[key] = None, str(error)
    return metrics, refusals
