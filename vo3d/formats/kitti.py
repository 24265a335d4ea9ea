"""The text files and the folder layout of the KITTI odometry benchmark (Geiger, Lenz, Urtasun, CVPR 2012)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.errors import Vo3dError, quoted
from vo3d.formats.candidates import visible_paths
from vo3d.formats.files import write_whole
from vo3d.formats.images import write_image
from vo3d.formats.matlab import read_arrays
from vo3d.formats.pinhole import check_pinhole
from vo3d.formats.text import FARTHEST, parse_number, read_lines
from vo3d.formats.trajectories import Trajectory, check_poses, write_trajectory
from vo3d.sample import Sample

_CALIB_KEYS = ("P0", "P1", "P2", "P3", "Tr")
_CALIB_FORM = "expected P0:, P1:, P2:, P3: or Tr: and 12 numbers"
_LAYOUT = "the official KITTI odometry layout"
LARGEST_READING = 1e6  # rad/s or m/s^2
TIME_LEEWAY = 1e-3  # seconds between a stamp and the interval of its frames: official times have seven digits
_MIDDLES = "each reading is taken for that of the middle of its part of the interval, as vo3d wrote such files"
_NO_NUMBER = " is not a finite number: correct the line or download the file again"


def read_calib(path: Path) -> dict[str, Float64[Tensor, "3 4"]]:
    """Read `calib.txt`: projection matrices P0 to P3 of the rectified cameras and, where present, Tr (velodyne).

    Convention: Pi = K [I | t] maps points of camera 0 to homogeneous pixels of camera i; pixels and metres.
    Raises Vo3dError with file and line for a wrong token, a matrix that is no projection of a rectified camera or, as
    Tr, no rigid motion, and when there is no projection matrix at all.
    """
    calib: dict[str, Tensor] = {}
    for number, line in enumerate(read_lines(path, _LAYOUT), start=1):
        if not line.strip():
            continue
        key, *tokens = line.split()
        name = key.removesuffix(":")
        if name == key or name not in _CALIB_KEYS:
            raise Vo3dError(f"{path}:{number}: found {quoted(key)}: {_CALIB_FORM}")
        if name in calib:
            raise Vo3dError(f"{path}:{number}: a second {key}: {_CALIB_FORM}, each once")
        if len(tokens) != 12:
            raise Vo3dError(f"{path}:{number}: {key} is followed by {len(tokens)} numbers: {_CALIB_FORM}")
        matrix = torch.tensor(_numbers(tokens, path, number), dtype=torch.float64).reshape(3, 4)
        if name == "Tr":
            check_poses(torch.cat([matrix, matrix.new_tensor([[0, 0, 0, 1]])])[None], path, [number])
        else:
            check_projection(matrix, f"{path}:{number}: {key}")
        calib[name] = matrix
    if not set(calib) - {"Tr"}:
        raise Vo3dError(f"{path}: holds no projection matrix: {_CALIB_FORM} a line")
    return calib


def check_projection(matrix: Float64[Tensor, "3 4"], place: str) -> None:
    """Raise Vo3dError, which begins with `place`, unless a matrix K [I | t] is that of a rectified camera."""
    (fx, skew, _, _), (lower, fy, _, _), last = matrix.tolist()
    if not (fx > 0 and fy > 0 and skew == lower == 0 and last[:3] == [0, 0, 1]):
        raise Vo3dError(
            f"{place} is no projection of a rectified camera: expected fx 0 cx . 0 fy cy . 0 0 1 . with "
            "positive fx and fy"
        )
    check_pinhole(matrix[:, :3], place)
    if matrix[:, 3].abs().max() > FARTHEST:
        raise Vo3dError(f"{place} has an offset of {matrix[:, 3].abs().max():g}: expected up to {FARTHEST:g}")


def read_times(path: Path) -> Float64[Tensor, " n"]:
    """Read `times.txt`: seconds of each frame, ascending, from 0 or later.

    Raises Vo3dError with file and line for a wrong token, a negative time, or one that does not ascend.
    """
    times: list[float] = []
    for number, line in enumerate(read_lines(path, _LAYOUT), start=1):
        tokens = line.split()
        if len(tokens) != 1:
            raise Vo3dError(f"{path}:{number}: found {len(tokens)} tokens: expected one time in seconds a line")
        times += _numbers(tokens, path, number)
        if times[-1] < 0:
            raise Vo3dError(f"{path}:{number}: time {times[-1]:g} s: expected 0 or more: shift all times")
        if number > 1 and times[-1] <= times[-2]:
            raise Vo3dError(f"{path}:{number}: time {times[-1]:g} s follows {times[-2]:g} s: expected ascending times")
    if not times:
        raise Vo3dError(f"{path}: is empty: expected one time in seconds a line")
    return torch.tensor(times, dtype=torch.float64)


@dataclass(frozen=True)
class ImuReadings:
    """Inertial readings between consecutive frames: step i holds those after frame i, up to and with frame i + 1."""

    imu: Float64[Tensor, "steps n 6"]  # rad/s then m/s^2, camera axes
    time: Float64[Tensor, "steps n"] | None  # the instant of each, seconds in the clock of the frames; None: by `part`
    part: Float64[Tensor, " n"]  # the share of the interval between frames that had passed, 0..1, without stamps
    cam_T_imu: Float64[Tensor, "4 4"] | None  # where the sensor sits; None where the file does not tell
    notes: tuple[str, ...] = ()


def read_imu(path: Path, *, readings: int = 10) -> ImuReadings:
    """Read the inertial readings between consecutive frames, and what the file says of their instants.

    Two files are known: `.mat`, key `imu_data_interp`, rows of acceleration then angular rate in vehicle axes
    (x forward, y left, z up), `readings` rows a frame, row `readings * i` at frame i, the others at equal parts of the
    interval (the interpolated KITTI readings of Visual-Selective-VIO, Yang et al., ECCV 2022); `.txt`, as
    `write_sequence` makes it: number of the frame, stamp, then the six readings of a sensor in the camera. Lines
    without stamps are of vo3d's first exports, which took the readings in the middle of equal parts: a note says so.

    Convention: camera x right = -left, y down = -up, z forward; the few degrees of the vehicle's camera mounting are
    not taken out of the `.mat` readings, and where in the vehicle they were taken is not told.
    Raises Vo3dError with the file (and line, for text) when the content is not of that form.
    """
    if path.suffix == ".txt":
        return _read_imu_text(path)
    rows = read_arrays(path, {"imu_data_interp": (None, 6)})["imu_data_interp"]
    if len(rows) <= readings or (len(rows) - 1) % readings:
        raise Vo3dError(
            f"{path}: has {len(rows)} rows: expected {readings} a frame and one more ({readings} (N - 1) + 1)"
        )
    imu = torch.from_numpy(rows.astype(np.float64))
    _check_readings(imu, path)
    vehicle = imu[1:].reshape(-1, readings, 2, 3).flip(-2)  # rate first
    forward, left, up = vehicle.unbind(-1)
    part = torch.arange(1, readings + 1, dtype=torch.float64) / readings
    return ImuReadings(torch.stack([-left, -up, forward], dim=-1).flatten(-2), time=None, part=part, cam_T_imu=None)


def check_imu_time(imu_time: Float64[Tensor, "steps n"], frame_times: Float64[Tensor, " steps+1"], place: Path) -> None:
    """Raise Vo3dError unless the stamps of readings ascend, and those of step i lie between the frames i and i + 1."""
    if not bool((imu_time.flatten().diff() > 0).all()):
        raise Vo3dError(f"{place}: the stamps of the readings do not ascend: expected each after the one before")
    inside = imu_time[:, 0] >= frame_times[:-1] - TIME_LEEWAY
    inside &= imu_time[:, -1] <= frame_times[1:] + TIME_LEEWAY
    if not bool(inside.all()):  # nor of NaN
        step = int((~inside).nonzero()[0, 0])
        first, last, before, after = (float(t) for t in (*imu_time[step, [0, -1]], *frame_times[step : step + 2]))
        raise Vo3dError(
            f"{place}: readings of {first:.15g} to {last:.15g} s stand between frames of {before:.15g} and "
            f"{after:.15g} s: expected stamps in the clock of times.txt"
        )


def write_sequence(
    root: Path,
    sequence: str,
    frames: Iterable[Sample],
    *,
    imu: Float[Tensor, "steps n 6"] | None = None,
    imu_time: Float64[Tensor, "steps n"] | None = None,
) -> None:
    """Write a sequence in the official layout, one frame at a time: `frames` are clips of one view each, in time order.

    `root/sequences/<sequence>/{image_2,image_3,calib.txt,times.txt}`, `root/poses/<sequence>.txt`; image_3 and the
    offset of P3 where the samples carry `right` and `left_T_right`. The poses are written as they are: for the first
    to be the identity, as in the official files, give them in the frame of the first camera. `imu` (rad/s then m/s^2,
    of a sensor in the left camera with its axes; row i lies between frames i and i + 1) goes to
    `root/imus/<sequence>.txt` with the instants `imu_time` of the readings, in the clock of the frames; a clip of one
    view cannot carry them. Depth, flow and masks have no place in this layout. Times are exact to the nanosecond.

    calib.txt is written last: a sequence that was interrupted lacks it and is refused by the reader.
    Raises Vo3dError when the folder holds images already, there is no frame, or a frame lacks pose or time, has
    another size or camera than the first.
    """
    folder = root / "sequences" / sequence
    if any(visible_paths(folder / name) for name in ("image_2", "image_3")):
        raise Vo3dError(f"{folder}: holds images already: remove the folder or choose another")
    poses: list[Tensor] = []
    times: list[float] = []
    first: Sample | None = None
    for number, sample in enumerate(frames):
        first = first or sample
        world_T_cam, time = _check_frame(folder, number, sample, first)
        write_image(folder / "image_2" / f"{number:06d}.png", sample.image[0])
        if sample.right is not None:
            write_image(folder / "image_3" / f"{number:06d}.png", sample.right[0])
        poses.append(world_T_cam)
        times.append(time)
    if first is None:
        raise Vo3dError(f"{folder}: no frame to write: expected at least one")
    if imu is not None:
        if len(imu) != len(poses) - 1:
            raise Vo3dError(f"{folder}: imu has {len(imu)} steps for {len(poses)} frames: expected {len(poses) - 1}")
        if imu_time is None or imu_time.shape != imu.shape[:2]:
            given = "no imu_time" if imu_time is None else f"imu_time of shape {tuple(imu_time.shape)}"
            raise Vo3dError(f"{folder}: {given} beside imu of shape {tuple(imu.shape)}: expected an instant a reading")
        readings_file = root / "imus" / f"{sequence}.txt"
        check_imu_time(imu_time, torch.tensor(times, dtype=torch.float64), readings_file)
        _write_lines(readings_file, _imu_lines(imu, imu_time))
    write_trajectory(root / "poses" / f"{sequence}.txt", Trajectory(world_T_cam=torch.stack(poses), time=None), "kitti")
    _write_lines(folder / "times.txt", [f"{time:.9f}" for time in times])
    _write_lines(folder / "calib.txt", _calib_lines(first))


def _check_frame(folder: Path, number: int, sample: Sample, first: Sample) -> tuple[Tensor, float]:
    """Pose and time of `sample`; Vo3dError unless it is one view with both, of the size and camera of the first."""
    if sample.image.ndim != 4 or len(sample.image) != 1:
        raise Vo3dError(
            f"{folder}: frame {number} has images of shape {tuple(sample.image.shape)}: expected (1, 3, h, w)"
        )
    if sample.K is None or sample.world_T_cam is None or sample.time is None:
        raise Vo3dError(f"{folder}: frame {number} lacks K, world_T_cam or time: this layout needs all three")
    if (sample.right is None) != (first.right is None) or (sample.right is not None and sample.left_T_right is None):
        raise Vo3dError(f"{folder}: frame {number}: expected right images with left_T_right in all frames, or in none")
    if sample.image.shape != first.image.shape or first.K is None or not torch.equal(sample.K, first.K):
        raise Vo3dError(f"{folder}: frame {number} has another size or K than frame 0: one sequence has one camera")
    return sample.world_T_cam[0], float(sample.time[0])


def _calib_lines(sample: Sample) -> list[str]:
    """P0 and P2 of the left camera, P1 and P3 of the right one: the grey pair and the colour pair coincide."""
    assert sample.K is not None  # noqa: S101  by `_check_frame`
    K = sample.K[0].to(torch.float64)
    left = torch.cat([K, torch.zeros(3, 1, dtype=torch.float64)], dim=1)
    right = left.clone()
    if sample.left_T_right is not None:
        offset = sample.left_T_right.to(torch.float64)
        if not torch.allclose(offset[:3, :3], torch.eye(3, dtype=torch.float64), atol=1e-6):
            raise Vo3dError(
                "left_T_right turns: the KITTI layout holds rectified stereo pairs, with a translation only"
            )
        right[:, 3] = -K @ offset[:3, 3]  # right_T_left = [I | -t]
    rows = (left, right, left, right)
    return [f"P{i}: " + " ".join(f"{value:.12e}" for value in row.flatten().tolist()) for i, row in enumerate(rows)]


def _imu_lines(imu: Tensor, imu_time: Tensor) -> list[str]:
    """Spell one reading a line: number of the frame that follows it, stamp, angular rate, acceleration."""
    head = "# frame time wx wy wz ax ay az: s, rad/s and m/s^2, camera axes; the readings after the frame before"
    return [head] + [
        f"{number} {time:.9f} " + " ".join(f"{value:.9e}" for value in reading)
        for number, (readings, stamps) in enumerate(zip(imu.tolist(), imu_time.tolist(), strict=True), start=1)
        for reading, time in zip(readings, stamps, strict=True)
    ]


def _read_imu_text(path: Path) -> ImuReadings:
    """Read what `_imu_lines` makes, or lines without stamps."""
    steps: list[list[list[float]]] = []
    columns = 0
    for number, line in enumerate(read_lines(path, _LAYOUT), start=1):
        if line.startswith("#"):
            continue
        tokens = line.split()
        columns = columns or len(tokens)
        if len(tokens) not in {7, 8} or len(tokens) != columns:
            raise Vo3dError(
                f"{path}:{number}: {len(tokens)} columns: expected frame, time, wx wy wz and ax ay az in all lines"
            )
        frame, *reading = _numbers(tokens, path, number)
        if frame == len(steps) + 1:
            steps.append([])
        if not steps or frame != len(steps):
            raise Vo3dError(f"{path}:{number}: frame {frame:g} follows frame {len(steps)}: expected no gap, from 1 on")
        steps[-1].append(reading)
    if not steps:
        raise Vo3dError(f"{path}: holds no reading: expected lines of frame, time, wx wy wz and ax ay az")
    for number, readings in enumerate(steps, start=1):
        if len(readings) != len(steps[0]):
            raise Vo3dError(
                f"{path}: frame {number} has {len(readings)} readings and frame 1 has {len(steps[0])}: expected as many"
            )
    rows = torch.tensor(steps, dtype=torch.float64)
    _check_readings(rows[..., -6:], path)
    return ImuReadings(
        rows[..., -6:],
        time=rows[..., 0] if columns == 8 else None,
        part=(torch.arange(rows.shape[1], dtype=torch.float64) + 0.5) / rows.shape[1],
        cam_T_imu=torch.eye(4, dtype=torch.float64),
        notes=() if columns == 8 else (f"{path} has no stamps: {_MIDDLES}",),
    )


def _check_readings(imu: Tensor, path: Path) -> None:
    largest = float(imu.abs().max())
    if largest > LARGEST_READING:
        raise Vo3dError(
            f"{path}: has a reading of {largest:g}: expected rad/s and m/s^2 up to {LARGEST_READING:g}: copy or "
            "make it again"
        )


def _numbers(tokens: list[str], path: Path, line: int) -> list[float]:
    return [parse_number(token, path, line, _NO_NUMBER) for token in tokens]


def _write_lines(path: Path, lines: list[str]) -> None:
    write_whole(path, "".join(f"{line}\n" for line in lines))
