"""Readings of an inertial sensor on a camera: exact from the path, then, if wished, with bias and noise."""

from dataclasses import astuple, dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.world.path import GRAVITY, RigidPath


@dataclass(frozen=True)
class ImuErrors:
    """Errors of a real sensor; the defaults are those of a perfect one.

    A bias is constant over a recording and drawn once per axis with the given standard deviation; the noise of one
    reading at `rate` Hz has the standard deviation density * sqrt(rate).
    """

    gyro_bias: float = 0.0  # rad/s
    accelerometer_bias: float = 0.0  # m/s^2
    gyro_density: float = 0.0  # rad/s/sqrt(Hz)
    accelerometer_density: float = 0.0  # m/s^2/sqrt(Hz)


def reading_times(frame_times: Float64[Tensor, " frames"], readings: int) -> Float64[Tensor, "frames-1 n"]:
    """Return the instants of `readings` between every two frames, seconds.

    They lie in the middle of equal parts of the interval, so that a sum of reading times duration is an integral of
    second order.
    """
    parts = (torch.arange(readings, dtype=torch.float64) + 0.5) / readings
    return frame_times[:-1, None] + (frame_times[1:] - frame_times[:-1])[:, None] * parts


def imu_readings(
    path: RigidPath, frame_times: Float64[Tensor, " frames"], readings: int, errors: ImuErrors, seed: int
) -> Float64[Tensor, "frames-1 n 6"]:
    """Compute angular rate (rad/s) then specific force (m/s^2), `readings` of each between every two frames.

    The readings are taken at `reading_times`. Specific force is acceleration minus gravity: a sensor at rest reads
    9.81 upwards.

    Convention: the sensor sits in the camera and has its axes, x right, y down, z forward.
    """
    times = reading_times(frame_times, readings)
    motion = path.motion(times.flatten())
    gravity = torch.tensor(GRAVITY, dtype=torch.float64)
    force = (motion.world_T_cam[:, :3, :3].mT @ (motion.acceleration - gravity)[..., None])[..., 0]
    exact = torch.cat((motion.angular_rate, force), 1)
    generator = torch.Generator().manual_seed(seed)
    bias, noise = (torch.randn(count, 6, generator=generator, dtype=torch.float64) for count in (1, len(exact)))
    rate = readings / float((frame_times[1:] - frame_times[:-1]).mean())
    sizes = torch.tensor(astuple(errors), dtype=torch.float64).view(2, 2)  # of gyroscope and accelerometer
    bias_size, density = sizes.repeat_interleave(3, dim=1)
    readings_as_sensed: Tensor = exact + bias * bias_size + noise * density * rate**0.5
    return readings_as_sensed.view(*times.shape, 6)
