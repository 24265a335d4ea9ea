"""GPS and IMU of KITTI's raw recordings (`oxts`): poses of a camera, and inertial readings between its frames."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.formats.candidates import visible_paths
from vo3d.formats.kitti_raw import oxts_poses, read_motion, read_oxts, read_oxts_imu, read_timestamps
from vo3d.geometry import se3
from vo3d.inertial import InertialSteps, cut_to_frames

MARGIN = 1.0  # seconds of readings beside the frames that are read as well


def camera_of_imu(
    day: Path, rectify: Float64[Tensor, "4 4"], cam0_T_cam: Float64[Tensor, "4 4"]
) -> Float64[Tensor, "4 4"]:
    """Return `cam_T_imu` of a camera, out of the calibration of its day."""
    velo_T_imu = read_motion(day / "calib_imu_to_velo.txt")
    rectified_T_imu = rectify @ read_motion(day / "calib_velo_to_cam.txt") @ velo_T_imu
    return se3.inverse(cam0_T_cam) @ rectified_T_imu


def camera_poses(
    drive: Path, numbers: Sequence[int], cam_T_imu: Float64[Tensor, "4 4"], cam0_T_cam: Float64[Tensor, "4 4"]
) -> Float64[Tensor, "n 4 4"]:
    """Return `world_T_cam` of frames of a drive, in the world of rectified camera 0 at the drive's first reading."""
    there = _readings(drive, "or turn poses off")
    readings = torch.stack([read_oxts(drive / "oxts" / "data" / f"{number:010d}.txt") for number in numbers])
    origin = read_oxts(there[0])
    imu_T_cam = se3.inverse(cam_T_imu)
    start = oxts_poses(origin[None], origin)[0] @ imu_T_cam @ se3.inverse(cam0_T_cam)
    return se3.inverse(start) @ oxts_poses(readings, origin) @ imu_T_cam


def inertial_steps(
    drive: Path, clock: Path, frame_time: Float64[Tensor, " n"], cam_T_imu: Float64[Tensor, "4 4"]
) -> tuple[InertialSteps, str]:
    """Return the readings between frames of a drive, and a note that says where they are from.

    Where the drive as it was recorded (`..._extract`, 100 readings a second) lies beside the synchronised one
    (`..._sync`, one reading a frame), its readings are taken. Stamps of readings and images differ by milliseconds: a
    stream that ends within one of its intervals from the first or last frame is continued to it, linearly.

    Args:
        drive: Folder of the drive.
        clock: `timestamps.txt` of the camera.
        frame_time: Of the frames, seconds since the first stamp in `clock`.
        cam_T_imu: See `camera_of_imu`.

    Raises Vo3dError for readings or stamps that are missing, and as `cut_to_frames` does.
    """
    if len(frame_time) < 2:
        raise Vo3dError(f"{drive}: one frame with imu: expected two or more, for readings between them")
    whole = drive.with_name(drive.name.removesuffix("_sync") + "_extract")
    source = whole if (whole / "oxts" / "data").is_dir() else drive
    files = _readings(source, "or turn imu off")
    stamps = source / "oxts" / "timestamps.txt"
    if not stamps.is_file():
        raise Vo3dError(f"{stamps}: no such file: expected a stamp for each reading: download it, or turn imu off")
    time = read_timestamps(stamps, clock)
    numbers = [int(path.stem) for path in files]
    if len(time) <= numbers[-1]:
        raise Vo3dError(
            f"{stamps}: has {len(time)} stamps, and there is a reading {numbers[-1]}: expected one for each, from "
            "reading 0 on: download the drive again"
        )
    time = time[numbers]
    near = (time >= frame_time[0] - MARGIN) & (time <= frame_time[-1] + MARGIN)  # of an excerpt the rest is not read
    if not bool(near.any()):
        raise Vo3dError(
            f"{stamps}: the stamps lie {time[0]:.3f} to {time[-1]:.3f} s after the first image: expected the frames "
            f"between them, {frame_time[0]:.3f} to {frame_time[-1]:.3f} s: download the drive again"
        )
    imu = torch.stack([read_oxts_imu(path) for path, wanted in zip(files, near.tolist(), strict=True) if wanted])
    time, imu = _continued(time[near], imu, frame_time)
    steps = cut_to_frames(time, imu, frame_time, str(stamps), cam_T_imu)
    rate = 1 / float(time.diff().median())
    return steps, f"inertial readings of {source.name}/oxts, {rate:.0f} a second"


def _continued(
    time: Float64[Tensor, " n"], imu: Float64[Tensor, "n 6"], frame_time: Float64[Tensor, " frames"]
) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m 6"]]:
    """Return a stream that reaches the first and last frame, where one interval is enough for it."""
    if len(time) < 2:
        return time, imu
    usual = time.diff().median()
    for at, end, beside in ((frame_time[0], 0, 1), (frame_time[-1], -1, -2)):
        beyond = (at - time[end]) * (1 if end else -1)
        if 0 < beyond <= usual and time[end] != time[beside]:
            share = (at - time[end]) / (time[beside] - time[end])
            row = torch.lerp(imu[end], imu[beside], share)
            pair = ((at[None], time), (row[None], imu))
            time, imu = (torch.cat(parts[:: -1 if end else 1]) for parts in pair)
    return time, imu


def _readings(drive: Path, otherwise: str) -> list[Path]:
    """Return the files of readings, in order."""
    folder = drive / "oxts" / "data"
    files = sorted(path for path in visible_paths(folder, "*.txt") if path.stem.isdecimal())
    if not files:
        raise Vo3dError(f"{folder}: holds no reading: expected 0000000000.txt and on, {otherwise}")
    return files
