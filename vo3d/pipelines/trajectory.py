"""Score one trajectory file against another."""

import json as json_format
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import torch
from jaxtyping import Bool, Float64
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.evaluation.scoring import Scores, metric_protocol, score
from vo3d.evaluation.tasks.odometry import Odometry
from vo3d.formats.files import atomic_path
from vo3d.formats.trajectories import Trajectory, TrajectoryFormat, read_trajectory
from vo3d.geometry.trajectory import AlignMode, associate
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS, DEVKIT_LENGTHS


def score_files(
    ref: Path,
    est: Path,
    format: TrajectoryFormat = "kitti",
    align: AlignMode = "none",
    json: Path | None = None,
    lengths: list[float] | None = None,
    max_difference: float = 0.01,
    console: Console | None = None,
) -> dict[str, object]:
    """Score an estimated trajectory file, print a table with the protocol, and write both to `json` if that is given.

    KITTI files must have one row for each frame; an estimate of a part of the frames needs the index column (13
    numbers a row). TUM and EuRoC files are associated by time: stamps within `max_difference` seconds belong together.

    For the options see `vo3d.verbs.learning.trajectory`; the table goes to `console`, the standard output if None.

    Returns:
        The content of `json`: the metrics of `vo3d.evaluation.scoring.score`, `coverage_estimate` (poses scored / poses
        in the estimate), `by_length` and `by_speed` (lists of bins), `protocol`.

    Raises:
        Vo3dError: A file is wrong (file and line), the two do not belong together, or cannot be aligned.

    Example: `score_files(Path("poses/00.txt"), Path("orb.txt"), "kitti", align="6dof", json=Path("orb.json"))`
    """
    truth, guess = read_trajectory(ref, format), read_trajectory(est, format)
    chosen = tuple(lengths) if lengths is not None else DEVKIT_LENGTHS
    protocol: dict[str, object] = {
        "reference": ref.name,
        "estimate": est.name,
        "format": format,
        **metric_protocol(align, chosen),
    }
    if format == "kitti":
        poses, known = _by_frame(truth, guess, ref, est)
        scores = score(truth.world_T_cam, poses, alignment=align, lengths=chosen, known=known)
        matched, frame_seconds = len(guess), DEVKIT_FRAME_SECONDS
    else:
        scores, matched, frame_seconds = _score_by_time(truth, guess, align, chosen, max_difference)
        protocol |= {
            "max_difference_s": max_difference,
            "pose_of": truth.pose_of,
            "time_unit": {"reference": truth.time_unit, "estimate": guess.time_unit},
        }
    protocol["frame_seconds"] = frame_seconds
    metrics = scores.metrics | {"coverage": matched / len(truth), "coverage_estimate": matched / len(guess)}
    content: dict[str, object] = {
        **metrics,
        "by_length": [asdict(part) for part in scores.segments.by_length()],
        "by_speed": [asdict(part) for part in scores.segments.by_speed()],
        "protocol": protocol,
    }
    _print(console or Console(), metrics, protocol, matched, len(truth))
    if json is not None:
        with atomic_path(json) as temporary:
            temporary.write_text(json_format.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return content


def _by_frame(
    truth: Trajectory, guess: Trajectory, ref: Path, est: Path
) -> tuple[Float64[Tensor, "n 4 4"], Bool[Tensor, " n"] | None]:
    """Give the estimate one row for each of the n frames of the reference, and the mask of those that it has."""
    if guess.frames is None:
        if len(truth) != len(guess):
            raise Vo3dError(
                f"{est}: {len(guess)} poses, but {ref} has {len(truth)}: expected as many; an estimate of a "
                "part of the frames needs the frame index before the 12 numbers of each row"
            )
        return guess.world_T_cam, None
    numbers = truth.frames if truth.frames is not None else torch.arange(len(truth))
    strange = guess.frames[~torch.isin(guess.frames, numbers)]
    if len(strange):
        raise Vo3dError(
            f"{est}: frame {strange[0].item()} is not in {ref} (frames {numbers[0].item()} to "
            f"{numbers[-1].item()}): expected frames of the reference; is this the right sequence?"
        )
    known = torch.isin(numbers, guess.frames)
    poses = torch.eye(4, dtype=torch.float64).repeat(len(truth), 1, 1)
    poses[known] = guess.world_T_cam  # files have their frames in ascending order
    return poses, known


def _score_by_time(
    truth: Trajectory, guess: Trajectory, align: AlignMode, lengths: Sequence[float], max_difference: float
) -> tuple[Scores, int, float]:
    """Score the poses whose stamps belong together; give also their number, and the median time between them."""
    if truth.time is None or guess.time is None:
        raise Vo3dError("a trajectory without time stamps cannot be associated: expected the format tum or euroc")
    first, second = associate(truth.time, guess.time, max_difference)
    gaps = truth.time[first].diff().tolist()
    frame_seconds = median(gaps) if gaps else DEVKIT_FRAME_SECONDS
    scores = score(
        truth.world_T_cam[first],
        guess.world_T_cam[second],
        alignment=align,
        lengths=lengths,
        frame_seconds=frame_seconds,
    )
    return scores, len(first), frame_seconds


def _print(
    console: Console, metrics: dict[str, float | int | None], protocol: dict[str, object], matched: int, total: int
) -> None:
    title = "{estimate} against {reference}, alignment {alignment}".format(**protocol)
    table = Table("metric", Column("value", justify="right"), "unit", title=title)
    for metric in Odometry.metrics:
        if metric.key in metrics:
            value = metrics[metric.key]
            text = "-" if value is None else str(value) if isinstance(value, int) else f"{value:.6f}"
            table.add_row(metric.title, text, metric.unit)
    console.print(table)
    console.print(f"{matched} of {total} poses of the reference were scored.", markup=False)
    if not metrics["num_segments"]:
        shortest = min(protocol["segment_lengths_m"])  # type: ignore[call-overload]  # a list of float, see metric_protocol
        console.print(
            f"No segment: the reference is {metrics['path_length_m']:.1f} m long, the shortest segment {shortest:g} m; "
            "t_rel and r_rel are not defined; choose shorter lengths.",
            markup=False,
        )
    console.print("Protocol: " + "; ".join(f"{key} {value}" for key, value in protocol.items()) + ".", markup=False)
