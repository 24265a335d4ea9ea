"""Trajectory files: KITTI rows, TUM text, EuRoC CSV; read with the line of every mistake, written whole or not at all.

| format | a row | pose of | time |
|---|---|---|---|
| kitti | 12 numbers, the 3x4 matrix row by row; 13 when a frame index goes before them | camera | none |
| tum | time tx ty tz qx qy qz qw | camera | s |
| euroc | time, p xyz, q wxyz, then anything | body | ns |

Numbers stand between blanks or commas. Stamps in another unit (s, ms, us, ns) are recognised, see `time_unit`. Blank
lines, lines that begin with # and names of columns above the first row are skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.files import write_whole
from vo3d.formats.trajectory_rows import (
    LAYOUTS,
    Rows,
    TimeUnit,
    TrajectoryFormat,
    check_format,
    check_span,
    detect_unit,
    exact_nanoseconds,
    read_rows,
    seconds,
    whole_numbers,
)
from vo3d.geometry import rotations, se3

# Largest entry of |R^T R - 1| that still counts as a rotation written with few digits. KITTI's seven digits leave
# 3e-7, published estimates 1e-6, 7-Scenes 4e-4; a matrix that holds a scale or a typo is far above.
ROTATION_TOLERANCE = 5e-3
# Largest | |q| - 1 |; beyond what four digits leave, a line tells of it.
QUATERNION_TOLERANCE, QUATERNION_ROUNDING = 0.0101, 1e-3
AT_ONCE = 1 << 14  # quaternions that are converted at a time: what fits in the cache takes a third of the time
FARTHEST = 1e9  # metres along an axis: Earth's centre lies 6.4e6 m off


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Poses of one moving frame, as stored: neither moved to the origin nor made orthonormal.

    Convention: `world_T_cam` maps points of the moving frame into the world, metres. `pose_of` says which frame that
    is: EuRoC's ground truth holds the body (the IMU), not a camera.
    """

    world_T_cam: Float64[Tensor, "n 4 4"]
    time: Float64[Tensor, " n"] | None = None  # seconds; None where the format has none
    nanoseconds: Int64[Tensor, " n"] | None = None  # the same as a file spells them: seconds of today hold 2e-7 s
    frames: Int64[Tensor, " n"] | None = None  # the index column of KITTI rows, where there was one
    time_unit: TimeUnit | None = field(default=None, compare=False)  # what the file had
    format: TrajectoryFormat | None = field(default=None, compare=False)  # of the file
    pose_of: Literal["camera", "body"] = "camera"
    notes: tuple[str, ...] = field(default=(), compare=False)  # one line each: what was left out or mended in reading

    def __len__(self) -> int:
        """Number of poses."""
        return len(self.world_T_cam)

    def __getitem__(self, rows: slice | Int64[Tensor, " m"]) -> "Trajectory":
        """Take some of the poses, with their stamps and frame indices."""
        parts = {name: getattr(self, name) for name in ("world_T_cam", "time", "nanoseconds", "frames")}
        return replace(self, **{name: part[rows] for name, part in parts.items() if part is not None})


def read_trajectory(
    path: Path,
    format: TrajectoryFormat | Literal["auto"] = "auto",
    *,
    time_unit: TimeUnit | Literal["auto"] = "auto",
    exact: bool = True,
) -> Trajectory:
    """Read one trajectory file; `time_unit` overrules the detection of the unit of the stamps.

    Without `exact` there are no `nanoseconds` of stamps with decimals: they take a second for a million poses.

    Of equal stamps or frame indices the first is kept, and quaternions up to 1 % off unit length are normalised; see
    `notes`.

    Raises Vo3dError with file and line for a wrong number of columns, a token that is no number, NaN or infinity, a
    rotation that is none (see `ROTATION_TOLERANCE`), a position beyond `FARTHEST`, stamps or frame indices that are
    negative or descend; for a format or a unit that cannot be told; and for a file that is missing, is not text, or
    holds no pose.

    Example: `read_trajectory(Path("poses/00.txt")).world_T_cam[0]`
    """
    if format != "auto":
        check_format(format)
    rows = read_rows(path, format)
    values = torch.from_numpy(rows.values)
    if rows.format == "kitti":
        world_T_cam = torch.eye(4, dtype=torch.float64).repeat(len(values), 1, 1)
        world_T_cam[:, :3] = values[:, -12:].reshape(-1, 3, 4)
        _check_rows(world_T_cam, rows)
        frames = torch.from_numpy(whole_numbers(rows, "frame index")) if values.shape[1] == 13 else None
        found = Trajectory(world_T_cam=world_T_cam, frames=frames, format=rows.format)
        if frames is None:
            return found
        _check_order(frames, "frame index", rows)
        return _each_once(found, frames, "frame index", rows)
    world_T_cam, notes = _poses_from_quaternions(rows)
    _check_rows(world_T_cam, rows)
    _check_order(values[:, 0], "time stamp", rows)
    if values[0, 0] < 0:
        raise Vo3dError(f"{path}:{rows.lines[0]}: time stamp {rows.first[0]}; expected 0 or more; shift all stamps")
    unit = detect_unit(rows) if time_unit == "auto" else time_unit
    check_span(rows, unit)
    stamps = exact_nanoseconds(rows, unit) if exact or rows.whole is not None else None
    time = torch.from_numpy(seconds(rows, unit))
    found = Trajectory(
        world_T_cam=world_T_cam,
        time=time,
        nanoseconds=None if stamps is None else torch.from_numpy(stamps),
        time_unit=unit,
        format=rows.format,
        pose_of="body" if rows.format == "euroc" else "camera",
        notes=notes,
    )
    return _each_once(found, time, "time stamp", rows)


def write_trajectory(path: Path, trajectory: Trajectory, format: TrajectoryFormat) -> None:
    """Write a trajectory with all the digits of float64; the file appears whole or not at all.

    KITTI rows carry the index column only if `frames` has gaps or does not begin at 0. TUM is written in seconds,
    EuRoC in nanoseconds, both from `nanoseconds` where those are there. Raises Vo3dError when there is no pose, a pose
    is none, or a format needs the missing time.
    """
    check_format(format)
    if not len(trajectory):
        raise Vo3dError(f"{path}: a trajectory without poses is not written; expected at least one")
    check_poses(trajectory.world_T_cam, path)
    heads: list[str]
    if format == "kitti":
        frames = trajectory.frames
        from_0 = frames is None or torch.equal(frames, torch.arange(len(frames)))
        heads = [""] * len(trajectory) if frames is None or from_0 else [f"{frame} " for frame in frames.tolist()]
        body = trajectory.world_T_cam[:, :3].flatten(1)
    else:
        if trajectory.time is None:
            raise Vo3dError(f"{path}: {format} files need time stamps and this trajectory has none; write it as kitti")
        quaternion = rotations.quaternion_from_matrix(trajectory.world_T_cam[:, :3, :3])  # n 4, w first
        order = [1, 2, 3, 0] if format == "tum" else [0, 1, 2, 3]
        body = torch.cat([trajectory.world_T_cam[:, :3, 3], quaternion[:, order]], dim=1)
        heads = _spelled_stamps(trajectory, format)
    separator = LAYOUTS[format].separator
    lines = [head + separator.join(map(repr, row)) for head, row in zip(heads, body.tolist(), strict=True)]
    write_whole(path, "".join(f"{line}\n" for line in (*LAYOUTS[format].header, *lines)))


def check_poses(
    world_T_cam: Float64[Tensor, "n 4 4"],
    path: Path,
    lines: Sequence[int] | None = None,
    *,
    tolerance: float = ROTATION_TOLERANCE,
) -> None:
    """Raise Vo3dError for the first pose that is no rigid motion: NaN, infinite, no rotation, last row not 0 0 0 1.

    So it does for one that is further than `FARTHEST` from the origin along an axis.
    `lines` holds the line in `path` of every pose; None: the whole file is one pose, or the poses come from no file.
    """
    rotation = world_T_cam[:, :3, :3]
    finite = world_T_cam.isfinite().all(-1).all(-1)
    skew = (rotation.mT @ rotation - torch.eye(3, dtype=torch.float64, device=rotation.device)).abs().amax((-2, -1))
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64, device=rotation.device)
    rigid = (world_T_cam[:, 3] == last).all(-1)
    near = (world_T_cam[:, :3, 3].abs() <= FARTHEST).all(-1)
    good = finite & rigid & near & (skew <= tolerance) & (torch.linalg.det(rotation) > 0)
    if bool(good.all()):
        return
    index = int((~good).nonzero()[0])
    place = f"{path}:{lines[index]}" if lines is not None else f"{path}, pose {index}" if len(good) > 1 else f"{path}"
    if not finite[index]:
        raise Vo3dError(f"{place}: the pose holds NaN or infinity; expected finite numbers; drop or mend this pose")
    if not rigid[index]:
        row = " ".join(f"{value:g}" for value in world_T_cam[index, 3].tolist())
        raise Vo3dError(f"{place}: the last row of the pose is {row}; expected 0 0 0 1; check the layout of the file")
    if not near[index]:
        position = " ".join(f"{value:g}" for value in world_T_cam[index, :3, 3].tolist())
        raise Vo3dError(
            f"{place}: the position is {position}; expected up to {FARTHEST:g} along each axis; mend the pose"
        )
    raise Vo3dError(
        f"{place}: not a rotation: R^T R differs from 1 by {skew[index].item():.3g} (allowed {tolerance:g}), det R = "
        f"{torch.linalg.det(rotation[index]).item():.3g} (expected 1); check the order of the columns and the scale"
    )


def _spelled_stamps(trajectory: Trajectory, format: TrajectoryFormat) -> list[str]:
    """Spell the stamps of TUM (seconds) or EuRoC (nanoseconds), with the separator behind them."""
    exact, time = trajectory.nanoseconds, trajectory.time
    assert time is not None  # noqa: S101  by `write_trajectory`
    if format == "tum":
        if exact is None:
            return [f"{second!r} " for second in time.tolist()]
        return [f"{stamp // 10**9}.{stamp % 10**9:09d} " for stamp in exact.tolist()]
    stamps = exact.tolist() if exact is not None else [round(Fraction(second) * 10**9) for second in time.tolist()]
    return [f"{stamp}," for stamp in stamps]


def _check_rows(world_T_cam: Float64[Tensor, "n 4 4"], rows: Rows) -> None:
    """Raise Vo3dError for the first pose that is none, with its line, which is looked for only then."""
    try:
        check_poses(world_T_cam, rows.path)
    except Vo3dError:
        check_poses(world_T_cam, rows.path, rows.lines)


def _check_order(values: Tensor, what: str, rows: Rows) -> None:
    """Raise Vo3dError for the first of `values` that is less than the one before."""
    back = values[1:] < values[:-1]
    if bool(back.any()):
        at = int(back.nonzero()[0])
        before, after = rows.first[at : at + 2]
        raise Vo3dError(
            f"{rows.path}:{rows.lines[at + 1]}: {what} {after} after {before}; expected ascending ones; sort the "
            "rows, or split the file where another recording begins"
        )


def _each_once(found: Trajectory, values: Tensor, what: str, rows: Rows) -> Trajectory:
    """Keep the first of rows with equal `values` (stamps or frame indices), with a note of how many are left out."""
    again = values[1:] == values[:-1]
    if not bool(again.any()):
        return found
    at = again.nonzero()[:, 0] + 1
    count = f"{len(at)} rows" if len(at) > 1 else "1 row"
    moved = (found.world_T_cam[at, :3, 3] - found.world_T_cam[at - 1, :3, 3]).norm(dim=-1).max().item()
    apart = f", whose positions differ by up to {moved:.3g} m: which is right the file does not tell" if moved else ""
    note = (
        f"{rows.path}: {count} left out with the {what} of the row before (line {rows.lines[int(at[0])]}): the "
        f"first of equal ones is kept{apart}"
    )
    first = torch.cat([torch.ones(1, dtype=torch.bool), ~again])
    return replace(found[first.nonzero()[:, 0]], notes=(*found.notes, note))


def _poses_from_quaternions(rows: Rows) -> tuple[Float64[Tensor, "n 4 4"], tuple[str, ...]]:
    """Make poses of positions and quaternions, which are normalised after a check of their length; and notes of it."""
    values = torch.from_numpy(rows.values)
    q_wxyz = values[:, [7, 4, 5, 6]] if rows.format == "tum" else values[:, 4:8]
    length = q_wxyz.norm(dim=1)
    off = (length - 1).abs()
    if bool((off > QUATERNION_TOLERANCE).any()):
        index = int((off > QUATERNION_TOLERANCE).nonzero()[0])
        raise Vo3dError(
            f"{rows.path}:{rows.lines[index]}: not a rotation: the quaternion has length {length[index].item():.6g}, "
            "expected 1 (within 1 %); check the order of the columns"
        )
    notes: tuple[str, ...] = ()
    if many := int((off > QUATERNION_ROUNDING).sum()):
        percent = 100 * off.max().item()
        of = f"{many} of {len(off)} quaternions are"
        notes = (f"{rows.path}: {of} up to {percent:.2g} % off unit length: they are normalised",)
    unit, position = q_wxyz / length[:, None], values[:, 1:4]
    parts = [slice(begin, begin + AT_ONCE) for begin in range(0, len(unit), AT_ONCE)]
    poses = [
        se3.from_rotation_translation(rotations.matrix_from_quaternion(unit[part]), position[part]) for part in parts
    ]
    return torch.cat(poses), notes
