"""Integrate the inertial readings of recordings with true poses, and print how far they go from them.

    python tools/check_imu.py --gravity '[0, 9.81, 0]' --data '{"class_path": "vo3d.datasets.kitti.KITTIOdometry",
        "init_args": {"root": "data/kitti_odometry", "sequences": ["06"], "frames": [0, 51], "imu": true}}'
    python tools/check_imu.py --gravity '[0, 9.81, 0]' --kitti data/kitti_odometry --sequence 06      # without images

For each recording: the rotation from the first frame to the last by the gyroscope against the true one, with nothing
taken off the rates, with their mean in an interval at rest (where there is one), and with the bias that explains the
true rotations of the steps best; and the position that readings predict for the end of windows, from the true attitude
and velocity (central differences of the true positions) at their beginnings, with the last of these biases and with
none of the accelerometer's. Of a dataset frames are read, for their times; of `--kitti` only imus/06.mat, poses/06.txt
and sequences/06/times.txt. Nothing is trained.
"""

import math
import sys
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from jsonargparse import auto_cli
from torch import Tensor
from torch.utils.data import Dataset

from vo3d.errors import Vo3dError
from vo3d.formats.kitti import read_imu, read_times
from vo3d.formats.trajectories import read_trajectory
from vo3d.geometry import se3, so3_log
from vo3d.geometry.gyro_bias import gyro_bias_at_rest, gyro_bias_from_rotations
from vo3d.geometry.preintegration import Preintegration, interval_signals, preintegrate
from vo3d.inertial import InertialSteps
from vo3d.recording import Recording, recordings_of
from vo3d.settings.build import build


def check(
    data: dict[str, Any] | None = None,
    kitti: Path | None = None,
    sequence: str = "06",
    gravity: tuple[float, float, float] = (0.0, 0.0, -9.81),
    window: float = 0.5,
) -> None:
    """Print the figures of each recording of a dataset, or of a sequence of KITTI odometry without its images.

    Args:
        data: class_path and init_args of a dataset with poses and imu.
        kitti: the folder that holds imus, poses and sequences.
        sequence: its name there.
        gravity: in the axes of the world, m/s^2.
        window: seconds over which positions are predicted.
    """
    if (data is None) == (kitti is None):
        raise Vo3dError("expected --data or --kitti: give one of them")
    down = torch.tensor(gravity, dtype=torch.float64)
    if kitti is not None:
        time, poses, steps = kitti_files(kitti, sequence)
        print(f"{sequence}: {len(time)} frames")
        print(*(f"  {line}" for line in figures(sequence, time, poses, steps, down, window)), sep="\n")
        return
    dataset: Dataset[Any] = build(Dataset, data, "--data")
    for recording in recordings_of(dataset):
        print(f"{recording.name}: {len(recording)} frames")
        print(*(f"  {line}" for line in figures(recording.name, *parts_of(recording), down, window)), sep="\n")


def kitti_files(root: Path, name: str) -> tuple[Float64[Tensor, " n"], Float64[Tensor, "n 4 4"], InertialSteps]:
    """Read times, poses and readings of a sequence; Vo3dError where they are not of equally many frames."""
    time, found = read_times(root / "sequences" / name / "times.txt"), read_imu(root / "imus" / f"{name}.mat")
    poses = read_trajectory(root / "poses" / f"{name}.txt", "kitti").world_T_cam
    if not len(time) == len(poses) == len(found.imu) + 1:
        raise Vo3dError(
            f"{root}, {name}: {len(time)} times, {len(poses)} poses and readings of {len(found.imu) + 1} frames: "
            "expected as many: complete the files"
        )
    return time, poses, InertialSteps(found.imu, time[:-1, None] + time.diff()[:, None] * found.part)


def parts_of(recording: Recording) -> tuple[Float64[Tensor, " n"], Float64[Tensor, "n 4 4"], InertialSteps]:
    """Give times, poses and readings of a recording; Vo3dError where one of them is missing."""
    poses, steps = recording.poses(), recording.inertial()
    if poses is None or steps is None:
        raise Vo3dError(f"{recording.name}: has no {'poses' if poses is None else 'readings'}: turn poses and imu on")
    times = [recording.clip((index,)).time for index in range(len(recording))]
    time = torch.cat([one for one in times if one is not None])
    if len(time) < len(recording):
        raise Vo3dError(f"{recording.name}: has no times: expected those of the frames")
    return time, poses, steps


def figures(
    name: str,
    time: Float64[Tensor, " n"],
    poses: Float64[Tensor, "n 4 4"],
    steps: InertialSteps,
    gravity: Float64[Tensor, "3"],
    window: float,
) -> list[str]:
    """Compute the lines of one recording."""
    fields = steps.since_previous(range(len(time)), name)
    imu, instants = fields["imu"], fields["imu_time"]
    assert imu is not None and instants is not None  # noqa: PT018, S101  as since_previous gives them
    signals, when = interval_signals(imu, instants, time)
    world_T_imu = poses if steps.cam_T_imu is None else poses @ steps.cam_T_imu
    R = world_T_imu[:, :3, :3]
    moved = preintegrate(signals, when)
    known = gyro_bias_from_rotations(moved, R[:-1].mT @ R[1:])
    lines = [f"rotation, {time[-1] - time[0]:.1f} s, no bias taken off: {off(moved, R):.3f} deg"]
    flat = when.flatten().unique(return_inverse=True)
    first = torch.zeros_like(flat[0], dtype=torch.long).scatter_(0, flat[1], torch.arange(len(flat[1])))
    try:
        rest = gyro_bias_at_rest(flat[0], signals.flatten(0, 1)[first], name)
        lines.append(
            f"rotation, bias at rest {spelled(rest)}: {off(preintegrate(signals, when, six(rest)), R):.3f} deg"
        )
    except Vo3dError as error:
        lines.append(f"bias at rest: {error}")
    unbiased = preintegrate(signals, when, six(known))
    lines.append(f"rotation, bias by true rotations {spelled(known)}: {off(unbiased, R):.3f} deg")
    errors, seconds = position_errors(unbiased, world_T_imu, time, gravity, window)
    low, high = errors.quantile(errors.new_tensor([0.5, 0.9])).tolist()
    lines.append(
        f"position after {seconds:.2f} s, {len(errors)} windows: median {low:.4f} m, 90th percentile {high:.4f} m"
    )
    return lines


def off(moved: Preintegration, R: Float64[Tensor, "n 3 3"]) -> float:
    """Compute the angle between the rotation of all steps and the true one, degrees."""
    found = R[0]
    for step in moved.unbind():
        found = found @ step.rotation
    return math.degrees(float(so3_log(R[-1].mT @ found).norm()))


def position_errors(
    moved: Preintegration,
    world_T_imu: Float64[Tensor, "n 4 4"],
    time: Float64[Tensor, " n"],
    gravity: Float64[Tensor, "3"],
    window: float,
) -> tuple[Float64[Tensor, " m"], float]:
    """Compute the errors of position at the ends of windows, metres, and the median length of those, seconds."""
    position = world_T_imu[:, :3, 3]
    (velocity,) = torch.gradient(position, spacing=(time,), dim=0, edge_order=2)
    parts, errors, lengths = moved.unbind(), [], []
    for start in range(1, len(time) - 1):  # differences at the ends of the recording are of one side
        end = int(torch.searchsorted(time, time[start] + window - 1e-3))
        if end >= len(time):
            break
        pose, speed = world_T_imu[start], velocity[start]
        for step in parts[start:end]:
            pose, speed = step.predict(pose, speed, gravity)
        errors.append(se3.relative(world_T_imu[end], pose)[:3, 3].norm())
        lengths.append(time[end] - time[start])
    if not errors:
        raise Vo3dError(f"the frames last {time[-1] - time[0]:.2f} s: expected more than a window of {window:g} s")
    return torch.stack(errors), float(torch.stack(lengths).median())


def six(bias: Float64[Tensor, "3"]) -> Float64[Tensor, "6"]:
    """Put the bias of a gyroscope before none of an accelerometer."""
    return torch.cat((bias, torch.zeros_like(bias)))


def spelled(bias: Float64[Tensor, "3"]) -> str:
    """Spell three numbers."""
    return "(" + ", ".join(f"{value:.4f}" for value in bias.tolist()) + ") rad/s"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        auto_cli(check, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"check_imu: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
