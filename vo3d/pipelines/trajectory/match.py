"""Match the poses of an estimate with those of its reference: by time stamp, by frame index, or row by row."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.trajectories import Trajectory
from vo3d.geometry.trajectory import associate
from vo3d.metrics.kitti_odometry import DEVKIT_FRAME_SECONDS

Association = Literal["mutual", "evo"]


@dataclass(frozen=True, kw_only=True)
class Match:
    """Poses of a reference and of an estimate, row by row.

    Convention: `world_T_cam`, metres, as stored.
    """

    by: Literal["time", "frame", "row"]
    reference: Float64[Tensor, "n 4 4"]
    estimate: Float64[Tensor, "n 4 4"]
    known: Bool[Tensor, " n"] | None  # rows that have an estimate; None: all
    count: int  # of poses of the reference that have one
    used: int  # of poses of the estimate; evo's association may take a pose for several
    frame_seconds: float  # median time between rows
    seconds: tuple[float, float, float] | None  # first and last stamp of those that have one, the longest gap between


def match(
    truth: Trajectory,
    guess: Trajectory,
    ref: Path,
    est: Path,
    *,
    association: Association = "mutual",
    max_difference: float = 0.01,
    t_offset: float = 0.0,
) -> Match:
    """Find the poses that belong together; `ref` and `est` name the files in messages.

    By time where both have stamps (`t_offset` seconds are added to those of the estimate), else by frame index where
    the estimate has one (rows of a reference without count from 0), else row by row.

    Raises Vo3dError where that leaves nothing, frames or rows do not fit, or there are no stamps to shift.
    """
    if truth.time is not None and guess.time is not None:
        try:
            first, second = associate(truth.time, guess.time + t_offset, max_difference, mutual=association == "mutual")
        except Vo3dError as error:
            units = f"; their units were taken for {truth.time_unit} and {guess.time_unit} (--time-unit)"
            told = units if truth.time_unit != guess.time_unit else ""
            raise Vo3dError(f"{est} against {ref}: {error} (--t-offset, --max-difference){told}") from error
        time = truth.time[first]
        gaps = time.diff()
        every = len(first) == len(truth) == len(guess)
        return Match(
            by="time",
            reference=truth.world_T_cam if every else truth.world_T_cam[first],
            estimate=guess.world_T_cam if every else guess.world_T_cam[second],
            known=None,
            count=_distinct(first),
            used=_distinct(second),
            frame_seconds=_median(gaps),
            seconds=(time[0].item(), time[-1].item(), gaps.max().item() if len(gaps) else 0.0),
        )
    without = ref if truth.time is None else est
    if t_offset:
        raise Vo3dError(f"{without}: has no time stamps to match those shifted by {t_offset:g} s: leave --t-offset out")
    frame_seconds = DEVKIT_FRAME_SECONDS if truth.time is None else _median(truth.time.diff())
    if guess.frames is not None:
        poses, known = _by_frame(truth, guess, guess.frames, ref, est)
        return Match(
            by="frame",
            reference=truth.world_T_cam,
            estimate=poses,
            known=known,
            count=len(guess),
            used=len(guess),
            frame_seconds=frame_seconds,
            seconds=None,
        )
    if len(truth) != len(guess):
        part = "where the reference holds a part of the frames, both files need"
        if len(guess) < len(truth) and truth.frames is None:
            part = "an estimate of a part of the frames needs"
        remedy = f"{part} the frame index before the 12 numbers of each row"
        if truth.time is not None or guess.time is not None:
            remedy = f"{without.name} has no time stamps: give it some (vo3d convert-trajectory --times)"
        raise Vo3dError(f"{est}: {len(guess)} poses, but {ref} has {len(truth)}: expected as many; {remedy}")
    return Match(
        by="row",
        reference=truth.world_T_cam,
        estimate=guess.world_T_cam,
        known=None,
        count=len(guess),
        used=len(guess),
        frame_seconds=frame_seconds,
        seconds=None,
    )


def _distinct(ascending: Int[Tensor, " k"]) -> int:
    """Count the different ones of indices, of which there is at least one."""
    return 1 + int((ascending.diff() > 0).sum())


def _median(gaps: Float64[Tensor, " m"]) -> float:
    """Take the median time between frames, of which one may serve several; KITTI's where there is but one."""
    gaps = gaps[gaps > 0]
    return gaps.quantile(0.5).item() if len(gaps) else DEVKIT_FRAME_SECONDS


def _by_frame(
    truth: Trajectory, guess: Trajectory, frames: Tensor, ref: Path, est: Path
) -> tuple[Float64[Tensor, "n 4 4"], Bool[Tensor, " n"]]:
    """Give the estimate one row for each of the n frames of the reference, and the mask of those that it has."""
    numbers = truth.frames if truth.frames is not None else torch.arange(len(truth))
    strange = frames[~torch.isin(frames, numbers)]
    if len(strange):
        raise Vo3dError(
            f"{est}: frame {strange[0].item()} is not in {ref} (frames {numbers[0].item()} to "
            f"{numbers[-1].item()}): expected frames of the reference; is this the right sequence?"
        )
    known = torch.isin(numbers, frames)
    poses = torch.eye(4, dtype=torch.float64).repeat(len(truth), 1, 1)
    poses[known] = guess.world_T_cam  # files have their frames in ascending order
    return poses, known
