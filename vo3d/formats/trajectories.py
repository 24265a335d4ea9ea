"""Trajectory files: KITTI rows, TUM text, EuRoC CSV; read with the line of every mistake, written whole or not at all.

| format | a row | pose of | time |
|---|---|---|---|
| kitti | 12 numbers, the 3x4 matrix row by row; 13 when a frame index goes before them | camera | none |
| tum | time tx ty tz qx qy qz qw, between blanks | camera | s (or ns: detected, and said in `time_unit`) |
| euroc | time, p xyz, q wxyz, then anything; between commas | body | ns (or s) |

Blank lines and lines that begin with # are skipped in all of them.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.files import write_whole
from vo3d.formats.text import FARTHEST, LIMIT
from vo3d.geometry import rotations, se3

TrajectoryFormat = Literal["kitti", "tum", "euroc"]
TimeUnit = Literal["s", "ns"]

# Largest entry of |R^T R - 1|, and of | |q| - 1 |, that still counts as a rotation written with few digits. KITTI's
# seven digits leave 3e-7, published estimates 1e-6, 7-Scenes 4e-4; a matrix that holds a scale or a typo is far above.
ROTATION_TOLERANCE = 5e-3


class _Layout(NamedTuple):
    """A row of the table above."""

    columns: Container[int]  # how many a row may have
    expected: str  # the same, for messages
    header: Sequence[str] = ()  # what is written before the rows
    separator: str | None = None  # None: any blanks


_LAYOUTS: dict[TrajectoryFormat, _Layout] = {
    "kitti": _Layout((12, 13), "12 (or 13 with a frame index first)"),
    "tum": _Layout((8,), "8 (time tx ty tz qx qy qz qw)", ["# time tx ty tz qx qy qz qw (s, m)"]),
    "euroc": _Layout(
        range(8, 1000),
        "at least 8, by commas",
        ["#timestamp [ns],p_x [m],p_y [m],p_z [m],q_w [],q_x [],q_y [],q_z []"],
        ",",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Poses of one moving frame, as stored: neither moved to the origin nor made orthonormal.

    Convention: `world_T_cam` maps points of the moving frame into the world, metres. `pose_of` says which frame that
    is: EuRoC's ground truth holds the body (the IMU), not a camera.
    """

    world_T_cam: Float64[Tensor, "n 4 4"]
    time: Float64[Tensor, " n"] | None = None  # seconds; None where the format has none
    frames: Int64[Tensor, " n"] | None = None  # the index column of KITTI rows, where there was one
    time_unit: TimeUnit | None = field(default=None, compare=False)  # what the file had
    pose_of: Literal["camera", "body"] = "camera"

    def __len__(self) -> int:
        """Number of poses."""
        return len(self.world_T_cam)


def read_trajectory(
    path: Path, format: TrajectoryFormat, *, time_unit: Literal["auto", "s", "ns"] = "auto"
) -> Trajectory:
    """Read one trajectory file; `time_unit` overrules the detection of seconds or nanoseconds.

    Raises Vo3dError with file and line for a wrong number of columns, a token that is no number, NaN or infinity, a
    rotation that is none (see `ROTATION_TOLERANCE`), a position beyond `FARTHEST`, stamps or frame indices that are
    negative or do not increase; and for a file that is missing, is not text, or holds no pose.

    Example: `read_trajectory(Path("poses/00.txt"), "kitti").world_T_cam[0]`
    """
    check_format(format)
    by_line = _read_rows(path, format)
    lines = [*by_line]
    rows = [*by_line.values()]
    values = torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)
    if format == "kitti":
        frames = _frame_column(path, rows, lines) if values.shape[1] == 13 else None
        world_T_cam = torch.eye(4, dtype=torch.float64).repeat(len(values), 1, 1)
        world_T_cam[:, :3] = values[:, -12:].reshape(-1, 3, 4)
        check_poses(world_T_cam, path, lines)
        return Trajectory(world_T_cam=world_T_cam, frames=frames)
    stamps = [row[0] for row in rows]
    if stamps[0] < 0:
        raise Vo3dError(f"{path}:{lines[0]}: time stamp {quoted(stamps[0])}; expected 0 or more; shift all stamps")
    _check_increasing(stamps, "time stamp", path, lines)
    unit = _detect_unit(stamps, path) if time_unit == "auto" else time_unit
    time = torch.tensor([stamp / 10**9 if unit == "ns" else float(stamp) for stamp in stamps], dtype=torch.float64)
    quaternion = values[:, [7, 4, 5, 6]] if format == "tum" else values[:, 4:8]  # w first
    world_T_cam = _poses_from_quaternions(values[:, 1:4], quaternion, path, lines)
    check_poses(world_T_cam, path, lines)
    pose_of: Literal["camera", "body"] = "body" if format == "euroc" else "camera"
    return Trajectory(world_T_cam=world_T_cam, time=time, time_unit=unit, pose_of=pose_of)


def write_trajectory(path: Path, trajectory: Trajectory, format: TrajectoryFormat) -> None:
    """Write a trajectory with all the digits of float64; the file appears whole or not at all.

    KITTI rows carry the index column only if `frames` has gaps or does not begin at 0. TUM is written in seconds,
    EuRoC in nanoseconds. Raises Vo3dError when there is no pose, a pose is none, or a format needs the missing time.
    """
    check_format(format)
    if not len(trajectory):
        raise Vo3dError(f"{path}: a trajectory without poses is not written; expected at least one")
    check_poses(trajectory.world_T_cam, path)
    heads: Sequence[Sequence[object]]
    if format == "kitti":
        frames = trajectory.frames
        from_0 = frames is None or torch.equal(frames, torch.arange(len(frames)))
        heads = [()] * len(trajectory) if frames is None or from_0 else frames[:, None].tolist()
        body = trajectory.world_T_cam[:, :3].flatten(1)
    else:
        if trajectory.time is None:
            raise Vo3dError(f"{path}: {format} files need time stamps and this trajectory has none; write it as kitti")
        quaternion = rotations.quaternion_from_matrix(trajectory.world_T_cam[:, :3, :3])  # n 4, w first
        order = [1, 2, 3, 0] if format == "tum" else [0, 1, 2, 3]
        body = torch.cat([trajectory.world_T_cam[:, :3, 3], quaternion[:, order]], dim=1)
        # nanoseconds exactly, as whole numbers: float64 cannot hold these
        heads = [
            [second if format == "tum" else round(Fraction(second) * 10**9)] for second in trajectory.time.tolist()
        ]
    separator = _LAYOUTS[format].separator or " "
    lines = [separator.join(map(repr, [*head, *row])) for head, row in zip(heads, body.tolist(), strict=True)]
    write_whole(path, "".join(f"{line}\n" for line in (*_LAYOUTS[format].header, *lines)))


def check_format(format: str) -> None:
    """Raise Vo3dError unless `format` is one that this module reads and writes."""
    if format not in get_args(TrajectoryFormat):
        raise Vo3dError(f"trajectory format {format!r} is unknown: choose kitti, tum or euroc")


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


def _read_rows(path: Path, format: TrajectoryFormat) -> dict[int, list[int | float]]:
    """Read the numbers of every row by its line, whole numbers as int: nanoseconds exceed float64."""
    layout = _LAYOUTS[format]
    rows: dict[int, list[int | float]] = {}
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        tokens = text.split(layout.separator)
        first, example = next(iter(rows.items()), (0, tokens))
        if len(tokens) not in layout.columns or len(tokens) != len(example):
            wanted = f"{len(example)}, as in line {first}" if rows else layout.expected
            raise Vo3dError(f"{path}:{number}: {len(tokens)} columns; expected {wanted}; is this a {format} file?")
        rows[number] = [_number(token.strip(), path, number) for token in tokens]
    if not rows:
        raise Vo3dError(f"{path}: no poses; expected at least one row of a {format} trajectory")
    return rows


def _read_text(path: Path) -> str:
    """Read the text of a file that the user named."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Vo3dError(f"{path}: cannot be read ({error.strerror}); expected a trajectory file") from error
    except UnicodeDecodeError as error:
        raise Vo3dError(f"{path}: not text (byte {error.start}); expected a trajectory file in text form") from error


def _number(token: str, path: Path, line: int) -> int | float:
    try:
        value = float(token)
    except ValueError as error:
        raise Vo3dError(f"{path}:{line}: {quoted(token)} is not a number; expected one in every column") from error
    if not isfinite(value):
        raise Vo3dError(f"{path}:{line}: {quoted(token)} in a pose; expected finite numbers; drop or mend this pose")
    return int(token) if token.isdecimal() else value


def _frame_column(path: Path, rows: list[list[int | float]], lines: list[int]) -> Int64[Tensor, " n"]:
    """The frame indices that go before KITTI rows."""
    for row, line in zip(rows, lines, strict=True):
        if row[0] != int(row[0]) or not 0 <= row[0] < LIMIT:
            raise Vo3dError(f"{path}:{line}: frame index {quoted(row[0])}; expected a whole number from 0 to 2^63 - 1")
    _check_increasing([row[0] for row in rows], "frame index", path, lines)
    return torch.tensor([int(row[0]) for row in rows])


def _check_increasing(values: list[int | float], what: str, path: Path, lines: list[int]) -> None:
    for before, after, line in zip(values[:-1], values[1:], lines[1:], strict=True):
        if not after > before:
            raise Vo3dError(
                f"{path}:{line}: {what} {quoted(after)} after {quoted(before)}; expected increasing ones; sort the rows"
            )


def _detect_unit(stamps: list[int | float], path: Path) -> TimeUnit:
    """Seconds or nanoseconds, by the median step between stamps, or by size where there is one stamp only.

    Between 1000 s (nobody samples a pose every quarter of an hour) and 1e6 ns (1 kHz) lies neither: refuse to guess.
    """
    if len(stamps) == 1:
        return "ns" if stamps[0] > 1e14 else "s"
    gaps = sorted(after - before for before, after in pairwise(stamps))
    gap = gaps[len(gaps) // 2]
    if gap < 1e3:
        return "s"
    if gap >= 1e6:
        return "ns"
    raise Vo3dError(
        f"{path}: stamps {gap:g} apart are neither seconds nor nanoseconds; convert them, or say which unit they have"
    )


def _poses_from_quaternions(
    position: Float64[Tensor, "n 3"], q_wxyz: Float64[Tensor, "n 4"], path: Path, lines: list[int]
) -> Float64[Tensor, "n 4 4"]:
    """Poses from positions and quaternions, w first, which are normalised after a check of their length."""
    length = q_wxyz.norm(dim=1)
    bad = (length - 1).abs() > ROTATION_TOLERANCE
    if bool(bad.any()):
        index = int(bad.nonzero()[0])
        raise Vo3dError(
            f"{path}:{lines[index]}: not a rotation: the quaternion has length {length[index].item():.6g}, expected 1 "
            f"(within {ROTATION_TOLERANCE:g}); check the order of the columns"
        )
    return se3.from_rotation_translation(rotations.matrix_from_quaternion(q_wxyz / length[:, None]), position)
