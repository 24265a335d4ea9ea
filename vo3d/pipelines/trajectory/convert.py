"""Rewrite a trajectory file in another format."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from vo3d.errors import Vo3dError, visible
from vo3d.formats.body_frames import read_body_T_camera
from vo3d.formats.files import check_target
from vo3d.formats.kitti import read_times
from vo3d.formats.text import LIMIT
from vo3d.formats.trajectories import Trajectory, read_trajectory, write_trajectory
from vo3d.formats.trajectory_rows import TimeUnit, TrajectoryFormat
from vo3d.geometry import se3

SUFFIXES: dict[str, TrajectoryFormat] = {".csv": "euroc", ".tum": "tum", ".kitti": "kitti"}


def convert_trajectory(
    source: Path,
    target: Path,
    *,
    to: TrajectoryFormat | None = None,
    format: TrajectoryFormat | Literal["auto"] = "auto",
    time_unit: TimeUnit | Literal["auto"] = "auto",
    times: Path | None = None,
    camera_from_body: Path | None = None,
    every: int = 1,
    t_offset: float = 0.0,
    console: Console | None = None,
) -> None:
    """Write the poses of `source` to `target` with all their digits; stamps are exact to the nanosecond.

    For the options see `vo3d.verbs.trajectories.convert_trajectory`; what was done goes to `console`.

    Raises:
        Vo3dError: a file is wrong (file and line); the format of the target is not told; stamps are missing or fit not.

    Example: `convert_trajectory(Path("data.csv"), Path("gt.tum"), every=10)`
    """
    if every < 1:
        raise Vo3dError(f"every is {every}: expected 1 or more")
    kind = to or SUFFIXES.get(target.suffix.lower())
    if kind is None:
        known = ", ".join(f"{suffix} ({name})" for suffix, name in SUFFIXES.items())
        raise Vo3dError(f"{target}: its ending tells no format, as {known} would; say which (--to kitti, tum or euroc)")
    check_target(target, *filter(None, (source, times, camera_from_body)))
    read = read_trajectory(source, format, time_unit=time_unit)
    found = read if times is None else _with_times(read, source, times)
    if t_offset and found.time is None:
        raise Vo3dError(f"{source}: has no time stamps to shift by {t_offset:g} s; leave --t-offset out")
    found = _shifted(found, source, t_offset)[::every]
    if camera_from_body is not None:
        body_T_cam = read_body_T_camera(camera_from_body)
        found = replace(found, world_T_cam=se3.compose(found.world_T_cam, body_T_cam.expand(len(found), 4, 4)))
    if kind != "kitti" and found.time is None:
        raise Vo3dError(f"{source}: has no time stamps, and {kind} needs some; give them (--times times.txt)")
    write_trajectory(target, found, kind)
    dropped = ", without its time stamps: KITTI's rows have none" if kind == "kitti" and found.time is not None else ""
    moved = f", moved from the body to the camera of {camera_from_body}" if camera_from_body else ""
    console = console or Console()
    done = f"{target}: {len(found)} of {len(read)} poses of {source} ({read.format}) as {kind}{moved}{dropped}"
    for line in (*read.notes, done):
        console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def _with_times(found: Trajectory, source: Path, times: Path) -> Trajectory:
    """Give poses without stamps those of their frames."""
    if found.time is not None:
        raise Vo3dError(f"{source}: has time stamps of its own; leave --times out")
    time = read_times(times)
    rows = found.frames if found.frames is not None else torch.arange(len(found))
    if int(rows[-1]) >= len(time) or (found.frames is None and len(found) != len(time)):
        raise Vo3dError(
            f"{times}: has {len(time)} times, but {source} has {len(found)} poses up to frame {int(rows[-1])}: "
            "expected one for each frame"
        )
    return replace(found, time=time[rows])


def _shifted(found: Trajectory, source: Path, offset: float) -> Trajectory:
    """Add seconds to all stamps."""
    if not offset or found.time is None:
        return found
    shift = int(Decimal(repr(offset)) * 10**9)
    for which, row in (("first", 0), ("last", -1)):
        exact = found.nanoseconds
        second = float(found.time[row]) + offset if exact is None else (int(exact[row]) + shift) / 10**9
        if not 0 <= second < LIMIT / 1e9:
            raise Vo3dError(f"{source}: its {which} time stamp would be {second:g} s; expected 0 s to the year 2262")
    if found.nanoseconds is None:
        return replace(found, time=found.time + offset)
    return replace(found, time=(found.nanoseconds + shift).double() / 1e9, nanoseconds=found.nanoseconds + shift)
