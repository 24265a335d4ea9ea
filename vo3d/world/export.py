"""Rendered drives as files, in the layout of KITTI odometry."""

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.progress import track

from vo3d.formats.kitti import write_sequence
from vo3d.sample import Sample
from vo3d.world.imu import ImuErrors
from vo3d.world.recorder import Recorder, Sensor

IMU_READINGS = 10  # between two frames, as the 100 Hz readings that come with KITTI


def render_sequence(recorder: Recorder, *, stereo: bool) -> Iterator[Sample]:
    """The frames of a recorder in order, as clips of one view with image, K, pose and time."""
    poses, times = recorder.poses(), recorder.times()
    K = recorder.camera.K.float()[None]
    for index in range(recorder.frames):
        left = recorder.frame(index)
        yield Sample(
            image=left.image[None].float() / 255,
            K=K,
            world_T_cam=poses[index : index + 1].float(),
            time=times[index : index + 1],
            right=recorder.frame(index, right=True).image[None].float() / 255 if stereo else None,
            left_T_right=recorder.left_T_right.float() if stereo else None,
            scene=f"{recorder.kind}-{recorder.seed:04d}",
            index=torch.tensor([index]),
        )


def render_to_kitti(
    kind: str, frames: int, seed: int, out: Path, size: tuple[int, int], stereo: bool = True, imu: bool = True
) -> None:
    """Render a drive and write it under `out` as the KITTI sequence named by the seed (two digits or more).

    Images, calibration, times and poses in the official layout; with `imu`, exact readings (10 between two frames) in
    `imus/`. `size` is height, width. Raises Vo3dError for an unknown kind, fewer than 2 frames, odd sizes, or a folder
    that holds images already.
    """
    recorder = Recorder(kind, seed, frames, size, Sensor())
    views = track(render_sequence(recorder, stereo=stereo), f"{kind} {seed}", total=frames)
    readings = recorder.imu(IMU_READINGS, ImuErrors()).float() if imu else None
    write_sequence(out, f"{seed:02d}", views, imu=readings)
