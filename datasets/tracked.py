"""Frames with time stamps beside a truth of its own clock: poses at the frames, and the frames that have one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.trajectories import Trajectory
from vo3d.geometry import trajectory

LARGEST_GAP = 0.1  # seconds without a true pose over which none is interpolated


@dataclass(frozen=True, kw_only=True)
class TrackedFrames:
    """The frames that have a true pose: their places, one after the other, and the poses of what was tracked."""

    places: Int64[Tensor, " m"]
    poses: Float64[Tensor, "m 4 4"]
    notes: list[str]


def track_frames(time: Float64[Tensor, " n"], truth: Trajectory, path: Path) -> TrackedFrames:
    """Interpolate the true poses at the stamps of frames, and take the longest run of frames that have one.

    Frames before and after the truth, and those in a gap of more than `LARGEST_GAP`, have none.

    Args:
        time: of the frames, seconds in the clock of the truth.
        truth: the poses, with stamps.
        path: of its file, for messages.

    Raises Vo3dError where no frame has a pose.
    """
    assert truth.time is not None  # noqa: S101  the formats that are read here have stamps
    known = _covered(time, truth.time)
    if not bool(known.any()):
        raise Vo3dError(
            f"{path}: its poses, from {truth.time[0]:.3f} to {truth.time[-1]:.3f} s, cover none of the frames from "
            f"{time[0]:.3f} to {time[-1]:.3f} s: check the clocks, choose other frames, or turn poses off"
        )
    # a run begins at a frame with a pose behind one without
    begins = known & ~torch.cat((known.new_zeros(1), known[:-1]))
    runs = torch.where(known, begins.cumsum(0), 0)
    longest = int(runs[known].bincount().argmax())
    places = (runs == longest).nonzero()[:, 0]
    first, last = int(places[0]), int(places[-1])
    without, apart = int((~known).sum()), int(known.sum()) - len(places)
    notes = []
    if without:
        before, after = int((time < truth.time[0]).sum()), int((time > truth.time[-1]).sum())
        gap = without - before - after
        where = [f"{before} before it begins", f"{after} after it ends", f"{gap} in gaps over {LARGEST_GAP:g} s"]
        told = ", ".join(words for words, count in zip(where, (before, after, gap), strict=True) if count)
        notes.append(f"{without} of {len(time)} frames have no pose in {path} ({told}): they are left out")
    if apart:
        notes.append(
            f"{apart} frames with a pose are left out too: the longest run without a gap is taken, the {len(places)} "
            f"from the {first + 1}. to the {last + 1}."
        )
    return TrackedFrames(
        places=places, poses=trajectory.resample(truth.time, truth.world_T_cam, time[places]), notes=notes
    )


def rows_in(frames: tuple[int, int] | None, total: int, listing: Path) -> Int64[Tensor, " n"]:
    """Return the rows of a range of a list of images; Vo3dError, which begins with the list, where it is shorter."""
    first, last = frames or (0, total)
    if last > total:
        raise Vo3dError(f"{listing}: lists {total} images, but frames up to {last} are asked for: shorten the range")
    return torch.arange(first, last)


def check_listed(files: Sequence[Path], listing: Path) -> None:
    """Raise Vo3dError for the first of the files of a list that is not there."""
    there = {path for folder in {file.parent for file in files} for path in visible_paths(folder)}
    if missing := [file for file in files if file not in there]:
        raise Vo3dError(
            f"{missing[0]}: no such file, the first of {len(missing)} missing that {listing} lists: complete the "
            "folder, or give the range of frames that is there"
        )


def _covered(time: Float64[Tensor, " n"], known: Float64[Tensor, " m"]) -> Bool[Tensor, " n"]:
    """Tell which instants are stamps of the truth, or lie between two of them that are close enough."""
    if len(known) < 2:
        return torch.zeros(len(time), dtype=torch.bool)
    after = torch.searchsorted(known, time).clamp(1, len(known) - 1)
    before = after - 1
    inside = (time >= known[0]) & (time <= known[-1])
    exact = (time == known[after]) | (time == known[before])
    return inside & (exact | (known[after] - known[before] <= LARGEST_GAP))
