"""Smooth paths with exact derivatives: quintic B-splines in time, and the camera that moves along one."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.geometry import se3
from vo3d.geometry.rotations import axis_rotation

DEGREE = 5  # four continuous derivatives: jerk-free readings for an inertial sensor

GRAVITY = (0.0, 9.81, 0.0)  # m/s^2 in the world's axes: y points down


def knots(duration: float, rate: float, spacing: float, fewest: int = 6) -> Float64[Tensor, " n"]:
    """Return the times of a spline's control points for frames from 0 to `duration` seconds, `rate` of them a second.

    At least `fewest` points lie before and `fewest` + 1 after; the first and last frame may be taken as much as the
    time between two frames before or after their own, by open or rolling shutters.
    """
    beyond = max(fewest, 3 + math.ceil(1 / (rate * spacing)))
    return torch.arange(-beyond, math.ceil(duration / spacing) + beyond + 2, dtype=torch.float64) * spacing


@dataclass(frozen=True)
class Spline:
    """A uniform quintic B-spline of time; it follows its control points smoothly without passing through them."""

    control: Float64[Tensor, "k d"]
    start: float  # time of control point 0, seconds
    spacing: float  # seconds between control points

    def __call__(self, time: Float64[Tensor, " n"], derivative: int = 0) -> Float64[Tensor, "n d"]:
        """Compute the value, or the exact time derivative of the given order, at `time`.

        Times must leave three control points on either side; beyond, the end segments are continued.
        Source: truncated-power form of the cardinal B-spline (Schoenberg 1946).
        """
        position = (time - self.start) / self.spacing
        first = position.floor().clamp(2, len(self.control) - 4)
        offset = position - first  # in [0, 1) within the range
        j = torch.arange(DEGREE + 1, dtype=torch.float64, device=time.device)
        k = torch.arange(DEGREE + 2, device=time.device)
        argument = (offset[:, None] + DEGREE - j)[..., None] - k
        power = DEGREE - derivative
        signs = torch.tensor(
            [(-1.0) ** i * math.comb(DEGREE + 1, i) for i in range(DEGREE + 2)],
            dtype=torch.float64,
            device=time.device,
        )
        weight = (argument.clamp(min=0) ** power * (argument > 0) * signs).sum(-1) / math.factorial(power)
        index = first.long()[:, None] + j.long() - 2
        value: Tensor = (weight[..., None] * self.control[index]).sum(1)
        return value / self.spacing**derivative


@dataclass(frozen=True)
class Motion:
    """State of a moving camera at n instants; vectors in the world's axes but for `angular_rate`."""

    world_T_cam: Float64[Tensor, "n 4 4"]
    velocity: Float64[Tensor, "n 3"]  # m/s
    acceleration: Float64[Tensor, "n 3"]  # m/s^2
    angular_rate: Float64[Tensor, "n 3"]  # rad/s, in the camera's axes


@dataclass(frozen=True)
class RigidPath:
    """One or more rigid bodies, cameras or objects, each on a spline of (x, y, z, yaw, pitch, roll).

    Convention: `world_T_body` rotates by R = R_y(yaw) R_x(pitch) R_z(roll), axes x right, y down, z forward;
    a positive yaw turns right. The spline holds the six numbers of body 0, then of body 1, ...
    """

    spline: Spline

    def poses(self, time: Float64[Tensor, " n"]) -> Float64[Tensor, "n m 4 4"]:
        """Return `world_T_body` of the m bodies at `time`, metres."""
        state = self.spline(time).view(len(time), -1, 6)
        turn = axis_rotation(1, state[..., 3]) @ axis_rotation(0, state[..., 4]) @ axis_rotation(2, state[..., 5])
        return se3.from_rotation_translation(turn, state[..., :3])

    def motion(self, time: Float64[Tensor, " n"]) -> Motion:
        """Compute the pose of body 0 and its exact derivatives at `time`."""
        state, rate = self.spline(time), self.spline(time, 1)
        pitch, roll = axis_rotation(0, state[:, 4]), axis_rotation(2, state[:, 5])
        axes = torch.eye(3, dtype=torch.float64, device=time.device)
        # R = Ry Rx Rz: each rate turns about its own axis, seen through the rotations that follow it.
        about_y = (pitch @ roll).mT @ axes[1] * rate[:, 3:4]
        about_x = roll.mT @ axes[0] * rate[:, 4:5]
        about_z = axes[2] * rate[:, 5:6]
        acceleration = self.spline(time, 2)[:, :3]
        return Motion(self.poses(time)[:, 0], rate[:, :3], acceleration, about_y + about_x + about_z)
