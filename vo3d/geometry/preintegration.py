"""Preintegration: what inertial readings say about a motion before its start is known.

Convention: readings are angular rate (rad/s) then specific force (m/s^2, gravity included: upwards at rest), in the
axes of the sensor; everything is computed in float64.
Source: Forster, Carlone, Dellaert, Scaramuzza, "On-manifold preintegration for real-time visual-inertial odometry",
TRO 2017, sections V and VI with appendices A and B, with the midpoint rule in place of theirs of Euler.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.rotations import cross_matrix, so3_exp, so3_right_jacobian


@dataclass(frozen=True)
class Preintegration:
    """The motion of a sensor over an interval, in its axes at the start: as if it began at rest and nothing weighed.

    Errors and derivatives have nine rows: rotation (radians, in the axes of the end: R exp(error)), velocity, position
    (both in the axes of the start). Columns of `by_bias` are the biases of gyroscope, then accelerometer.
    """

    rotation: Float64[Tensor, "*b 3 3"]  # start_R_end
    velocity: Float64[Tensor, "*b 3"]  # m/s: R_start^T (v_end - v_start - g t)
    position: Float64[Tensor, "*b 3"]  # metres: R_start^T (p_end - p_start - v_start t - g t^2 / 2)
    duration: Float64[Tensor, "*b"]  # seconds, t
    bias: Float64[Tensor, "*b 6"]  # rad/s, m/s^2: what was taken off the readings
    by_bias: Float64[Tensor, "*b 9 6"]  # derivatives of the nine by the bias
    covariance: Float64[Tensor, "*b 9 9"]  # of the nine, by the white noise of the readings; 0 without densities

    def at_bias(self, bias: Float64[Tensor, "*#b 6"]) -> "Preintegration":
        """Correct the motion, to first order, to what another bias of the readings makes of it.

        Derivatives and covariance stay as they are. Source: Forster et al. 2017, equation 44.
        """
        change = (self.by_bias @ (bias - self.bias)[..., None])[..., 0]
        turn, velocity, position = change[..., :3], change[..., 3:6], change[..., 6:]
        return replace(
            self,
            rotation=self.rotation @ so3_exp(turn),
            velocity=self.velocity + velocity,
            position=self.position + position,
            bias=bias.expand_as(self.bias),
        )

    def unbind(self) -> list["Preintegration"]:
        """Take apart the last axis of a batch, such as the steps of a clip."""
        axis = self.duration.ndim - 1
        parts = zip(*(value.unbind(axis) for value in vars(self).values()), strict=True)
        return [Preintegration(*values) for values in parts]

    @staticmethod
    def stack(steps: Sequence["Preintegration"]) -> "Preintegration":
        """Put intervals along a new first axis."""
        return Preintegration(
            *(torch.stack(values) for values in zip(*(vars(one).values() for one in steps), strict=True))
        )

    def predict(
        self,
        world_T_imu: Float64[Tensor, "*#b 4 4"],
        velocity: Float64[Tensor, "*#b 3"],
        gravity: Float64[Tensor, "*#b 3"],
    ) -> tuple[Float64[Tensor, "*b 4 4"], Float64[Tensor, "*b 3"]]:
        """Predict pose and velocity of the sensor at the end from those at the start.

        Convention: velocity (m/s) and gravity (m/s^2, downwards) in the axes of the world.
        Source: Forster et al. 2017, equation 31.
        """
        start, t = world_T_imu[..., :3, :3], self.duration[..., None]
        moved = (start @ self.position[..., None])[..., 0]
        place = world_T_imu[..., :3, 3] + velocity * t + gravity * t.square() / 2 + moved
        faster = velocity + gravity * t + (start @ self.velocity[..., None])[..., 0]
        return se3.from_rotation_translation(start @ self.rotation, place), faster


def preintegrate(
    imu: Float[Tensor, "*b n 6"],
    time: Float64[Tensor, "*b n"],
    bias: Float64[Tensor, "*#b 6"] | None = None,
    *,
    gyro_density: float = 0.0,
    accelerometer_density: float = 0.0,
) -> Preintegration:
    """Integrate a piecewise linear signal of readings from its first instant to its last; differentiable.

    Between two readings rate and force are taken to be constant, at their means, and force is turned by the rotation
    half-way: errors fall with the square of the time between readings. Instants that repeat add nothing, so that
    intervals of fewer readings are padded with their last.

    Args:
        imu: two readings or more, without NaN (see `interval_signals`).
        time: their instants, seconds, never descending.
        bias: taken off the readings; None: 0.
        gyro_density: of the white noise of the rate, rad/s/sqrt(Hz).
        accelerometer_density: of that of the force, m/s^2/sqrt(Hz).
    """
    imu = imu.double()
    bias = imu.new_zeros(6) if bias is None else bias
    dt = time.diff()[..., None]  # *b m 1
    middle = (imu[..., 1:, :] + imu[..., :-1, :]) / 2 - bias[..., None, :]
    rate, force = middle[..., :3], middle[..., 3:]
    turn = rate * dt
    whole, half = so3_exp(turn), so3_exp(turn / 2)
    rotations = [torch.eye(3, dtype=imu.dtype, device=imu.device).expand(*time.shape[:-1], 3, 3)]
    for step in whole.unbind(-3):
        rotations.append(rotations[-1] @ step)
    halfway = torch.stack(rotations[:-1], dim=-3) @ half  # *b m 3 3: from the axes of the sensor to those of the start
    acceleration = (halfway @ force[..., None])[..., 0]
    faster = acceleration * dt
    velocity = faster.cumsum(-2)
    position = ((velocity - faster / 2) * dt).sum(-2)
    change, noise = _error_model(whole, half, turn, halfway, force, dt[..., None])
    by_bias, covariance = _propagate(change, noise, dt[..., None], gyro_density, accelerometer_density)
    return Preintegration(
        rotation=rotations[-1],
        velocity=velocity[..., -1, :],
        position=position,
        duration=time[..., -1] - time[..., 0],
        bias=bias.expand(*time.shape[:-1], 6),
        by_bias=by_bias,
        covariance=covariance,
    )


def _error_model(
    whole: Float64[Tensor, "*b m 3 3"],
    half: Float64[Tensor, "*b m 3 3"],
    turn: Float64[Tensor, "*b m 3"],
    halfway: Float64[Tensor, "*b m 3 3"],
    force: Float64[Tensor, "*b m 3"],
    dt: Float64[Tensor, "*b m 1 1"],
) -> tuple[Float64[Tensor, "*b m 9 9"], Float64[Tensor, "*b m 9 6"]]:
    """Compute A and B of each interval: errors e become A e + dt B d, where d is added to rate and force."""
    leaned = -halfway @ cross_matrix(force)  # of the acceleration, by a turn in the axes half-way
    by_turn = leaned @ half.mT * dt  # of the velocity, by the error of the rotation
    by_rate = leaned @ so3_right_jacobian(turn / 2) * (dt / 2)
    zero, eye = torch.zeros_like(whole), torch.eye(3, dtype=whole.dtype, device=whole.device).expand_as(whole)
    change = (
        (whole.mT, zero, zero),
        (by_turn, eye, zero),
        (by_turn * (dt / 2), eye * dt, eye),
    )
    noise = (
        (so3_right_jacobian(turn), zero),
        (by_rate, halfway),
        (by_rate * (dt / 2), halfway * (dt / 2)),
    )
    return tuple(torch.cat([torch.cat(row, -1) for row in rows], -2) for rows in (change, noise))  # type: ignore[return-value]


def _propagate(
    change: Float64[Tensor, "*b m 9 9"],
    noise: Float64[Tensor, "*b m 9 6"],
    dt: Float64[Tensor, "*b m 1 1"],
    gyro_density: float,
    accelerometer_density: float,
) -> tuple[Float64[Tensor, "*b 9 6"], Float64[Tensor, "*b 9 9"]]:
    """Carry the derivatives by the bias and the covariance through all intervals, from zeros."""
    # White noise has the variance density^2 / dt in an interval, and B is multiplied by dt.
    densities = noise.new_tensor([gyro_density] * 3 + [accelerometer_density] * 3)
    shaken = noise * densities
    added = shaken @ shaken.mT * dt
    by_bias, covariance = torch.zeros_like(noise[..., 0, :, :]), torch.zeros_like(change[..., 0, :, :])
    for A, biased, more in zip(change.unbind(-3), (noise * dt).unbind(-3), added.unbind(-3), strict=True):
        by_bias = A @ by_bias - biased
        covariance = A @ covariance @ A.mT + more
    return by_bias, covariance


def interval_signals(
    imu: Float[Tensor, "*b s n 6"], imu_time: Float64[Tensor, "*b s n"], time: Float64[Tensor, "*b s"]
) -> tuple[Float64[Tensor, "*b s-1 n+2 6"], Float64[Tensor, "*b s-1 n+2"]]:
    """Complete the readings of a clip to a piecewise linear signal over the interval of each step, with their instants.

    A signal begins at one view and ends at the next. What it reads there is interpolated between the readings before
    and after, also those of the neighbouring steps; at the ends of the clip it is continued linearly (one reading
    alone: as a constant). Readings outside of the interval of their step count for ends alone. Shorter signals repeat
    their last instant. Gradients reach all readings, and no NaN.

    Args:
        imu, imu_time, time: the fields of a `Sample`, NaN where there is no reading.

    Raises Vo3dError for a clip without a single reading.
    """
    imu, instants = imu[..., 1:, :, :].double(), imu_time[..., 1:, :]
    if time.shape[-1] < 2:  # a view alone
        return imu.new_empty(*imu.shape[:-2], imu.shape[-2] + 2, 6), time.new_empty(*imu.shape[:-2], imu.shape[-2] + 2)
    known = ~instants.isnan()
    count = known.flatten(-2).sum(-1, keepdim=True)  # *b 1
    if not bool((count > 0).all()):
        raise Vo3dError("a clip has no inertial reading: expected some between its views: choose longer clips")
    imu = imu.where(known[..., None], 0.0)
    at_view = _at_views(imu.flatten(-3, -2), instants.where(known, torch.inf).flatten(-2), count, time)  # *b s 6
    begin, end = time[..., :-1, None], time[..., 1:, None]
    inside = known & (instants >= begin) & (instants <= end)
    instants = instants.where(inside, end)
    imu = imu.where(inside[..., None], at_view[..., 1:, None, :])
    instants, order = instants.sort(dim=-1, stable=True)  # steps of several frames have padding between their readings
    imu = torch.cat(
        (at_view[..., :-1, None, :], torch.take_along_dim(imu, order[..., None], -2), at_view[..., 1:, None, :]), -2
    )
    return imu, torch.cat((begin, instants, end), -1)


def _at_views(
    imu: Float64[Tensor, "*b m 6"],
    instants: Float64[Tensor, "*b m"],
    count: Tensor,
    time: Float64[Tensor, "*b s"],
) -> Float64[Tensor, "*b s 6"]:
    """Read the piecewise linear signal of `count` readings, others infinitely late, at the instants of views."""
    instants, order = instants.sort(dim=-1, stable=True)
    imu = torch.take_along_dim(imu, order[..., None], -2)
    after = torch.minimum(torch.searchsorted(instants, time.contiguous()).clamp(min=1), count - 1)
    before = (after - 1).clamp(min=0)
    earlier, later = (torch.take_along_dim(instants, index, -1) for index in (before, after))
    gap = later - earlier
    share = (time - earlier) / torch.where(gap > 0, gap, 1.0) * (gap > 0)
    low, high = (torch.take_along_dim(imu, index[..., None], -2) for index in (before, after))
    return torch.lerp(low, high, share[..., None])
