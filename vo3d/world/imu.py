"""Readings of an inertial sensor on a camera: exact from the path, then, if wished, with bias and noise."""

import math
from dataclasses import astuple, dataclass
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.world.path import GRAVITY, RigidPath
from vo3d.world.scene import generator_of


@dataclass(frozen=True)
class ImuErrors:
    """Errors of a real sensor; the defaults are those of a perfect one. All axes of a sensor have the same numbers.

    The bias of an axis at the first frame is drawn with the given standard deviation; t seconds later it has changed by
    another one of walk * sqrt(t). The white noise of a reading that stands for d seconds has density / sqrt(d), so that
    the mean over a time has the same error however many readings there are.

    Source: the model and the units of Kalibr and of EuRoC's sensor.yaml (Burri et al., IJRR 2016).
    Raises Vo3dError for a number that is negative or not finite.
    """

    gyro_bias: float = 0.0  # rad/s
    accelerometer_bias: float = 0.0  # m/s^2
    gyro_density: float = 0.0  # rad/s/sqrt(Hz)
    accelerometer_density: float = 0.0  # m/s^2/sqrt(Hz)
    gyro_walk: float = 0.0  # rad/s^2/sqrt(Hz), which is rad/s/sqrt(s)
    accelerometer_walk: float = 0.0  # m/s^3/sqrt(Hz)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise Vo3dError(f"{name} {value} of an inertial sensor: expected a number of at least 0")


# An ADIS16448, the sensor of EuRoC: densities and walks as its sensor.yaml states them, and as biases the standard
# deviations after switching on that the RotorS simulator (Furrer et al. 2016) states for it: 0.5 degrees/s and 20 mg.
MEMS = ImuErrors(
    gyro_bias=math.radians(0.5),
    accelerometer_bias=0.020 * 9.81,
    gyro_density=1.6968e-4,
    accelerometer_density=2.0e-3,
    gyro_walk=1.9393e-5,
    accelerometer_walk=3.0e-3,
)

ImuChoice = ImuErrors | Literal["mems"] | None  # "mems": `MEMS`; None: a perfect sensor


def check_imu_asked_for(imu: bool, choice: ImuChoice) -> None:
    """Raise Vo3dError for errors of readings that nobody asks for."""
    if choice is not None and not imu:
        raise Vo3dError(f"imu_errors {choice!r} without inertial readings: ask for imu, or leave the errors out")


def imu_errors_of(choice: ImuChoice) -> ImuErrors:
    """Return the errors that a choice stands for; Vo3dError for another word."""
    if choice is None:
        return ImuErrors()
    if isinstance(choice, ImuErrors):
        return choice
    if choice != "mems":
        raise Vo3dError(f"imu_errors {choice!r}: expected mems, the numbers of ImuErrors, or none for a perfect sensor")
    return MEMS


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
    elapsed = times.flatten().diff(prepend=frame_times[:1])  # since the first frame, then the reading before
    duration = (frame_times.diff() / readings).repeat_interleave(readings)
    sensed = with_errors(exact, elapsed, duration, errors, generator_of(seed, "imu"))
    return sensed.view(*times.shape, 6)


def with_errors(
    readings: Float64[Tensor, "n 6"],
    elapsed: Float64[Tensor, " n"],
    duration: Float64[Tensor, " n"],
    errors: ImuErrors,
    generator: torch.Generator,
) -> Float64[Tensor, "n 6"]:
    """Add the bias, its walk and the noise of a sensor to readings in time order.

    Args:
        readings: rad/s then m/s^2.
        elapsed: seconds since the reading before; of the first since the instant of the bias at the start.
        duration: seconds that each reading stands for.
        errors: of the sensor.
        generator: of what is drawn, which does not depend on the size of the errors.
    """
    count = len(readings)
    start, noise, step = (torch.randn(rows, 6, generator=generator, dtype=torch.float64) for rows in (1, count, count))
    sizes = torch.tensor(astuple(errors), dtype=torch.float64).view(3, 2)  # of gyroscope and accelerometer
    bias, density, walk = sizes.repeat_interleave(3, dim=1)
    wander = (step * elapsed[:, None].sqrt()).cumsum(0)
    sensed: Tensor = readings + start * bias + wander * walk + noise * density / duration[:, None].sqrt()
    return sensed
