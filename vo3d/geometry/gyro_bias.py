"""The bias of a gyroscope: from an interval at rest, or from rotations that are known otherwise."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.preintegration import Preintegration
from vo3d.geometry.rotations import so3_log

# Between what sensors show at rest over a second (KITTI's standing cars 0.0006 rad/s and 0.008 m/s^2, the noise of an
# ADIS16448 at 200 Hz 0.0024 and 0.03) and what motion does (a flight of EuRoC at least 0.054 and 0.19, a rendered room
# 0.036 and 0.15). Cars on even roads fall below: KITTI 06 at 12 m/s shows 0.0028 and 0.021.
RATE_AT_REST = 0.005  # rad/s, standard deviation of the rate of an axis
FORCE_AT_REST = 0.05  # m/s^2, standard deviation of the length of the force
CAUCHY = 2.385  # deviations at which a residual weighs half: 95 % as efficient as least squares for normal errors
ROUNDING = 1e-6  # seconds that instants may be off
DEVIATION = 0.674  # of a normal distribution: the median of absolute values


def gyro_bias_at_rest(
    time: Float64[Tensor, " n"], imu: Float[Tensor, "n 6"], source: str, seconds: float = 1.0
) -> Float64[Tensor, "3"]:
    """Find the quietest interval at rest in a stream of readings, and return the mean rate in it, rad/s.

    At rest means: over `seconds`, the rate of each axis and the length of the force deviate by less than
    `RATE_AT_REST` and `FORCE_AT_REST`. Straight motion at an even speed looks the same, which does no harm; so does an
    even turn, which does: it is taken for bias. In a car that never stops, take another way to the bias.

    Convention: as `preintegrate`; instants ascend.
    Raises Vo3dError, which begins with `source`, where a gyroscope reads the same all along, or nothing is at rest.
    """
    imu = imu.double()
    if len(imu) > 1 and bool((imu[:, :3] == imu[0, :3]).all()):
        words = ", ".join(f"{value:g}" for value in imu[0, :3].tolist())
        raise Vo3dError(
            f"{source}: the gyroscope reads ({words}) rad/s in all {len(imu)} readings: expected noise at least: the "
            "sensor is dead, or its columns are filled in: take other data, or leave the readings out"
        )
    values = torch.cat((imu[:, :3], imu[:, 3:].norm(dim=-1, keepdim=True)), -1)  # n 4
    first = torch.arange(len(time))[time + seconds <= time[-1:] + ROUNDING]
    last = torch.searchsorted(time, time[first] + seconds + ROUNDING, right=True)
    first, last = first[last - first > 2], last[last - first > 2]
    few = f"{source}: no {seconds:g} s at rest in {len(time)} readings"
    if not len(first):
        raise Vo3dError(f"{few}, which last less or are fewer than three in it: give a longer part of the recording")
    centred = values - values.mean(0)  # so that sums of squares keep their digits
    sums = torch.nn.functional.pad(torch.stack((centred, centred.square())).cumsum(1), (0, 0, 1, 0))  # 2 n+1 4
    mean, square = (sums[:, last] - sums[:, first]) / (last - first)[:, None]
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    best = int((deviation / deviation.new_tensor([RATE_AT_REST] * 3 + [FORCE_AT_REST])).amax(-1).argmin())
    rate, force = float(deviation[best, :3].max()), float(deviation[best, 3])
    if rate > RATE_AT_REST or force > FORCE_AT_REST:
        raise Vo3dError(
            f"{few}: at the quietest, from {time[first[best]]:.2f} s on, the rate deviates by {rate:.3f} rad/s and the "
            f"force by {force:.2f} m/s^2: expected at most {RATE_AT_REST:g} and {FORCE_AT_REST:g}: give a part of the "
            "recording with a rest in it"
        )
    return imu[first[best] : last[best], :3].mean(0)


def gyro_bias_from_rotations(
    moved: Preintegration, rotation: Float64[Tensor, "n 3 3"], iterations: int = 10
) -> Float64[Tensor, "3"]:
    """Find the bias of the gyroscope, rad/s, with which its steps agree best with known rotations of the sensor.

    Reweighted least squares (Cauchy's weights, deviations from the median of the residuals, so that up to half of the
    rotations may be wrong), linear in the change of the bias.

    Args:
        moved: n steps, all with the same bias taken off.
        rotation: from the axes of the sensor at the end of each step to those at its start.

    Convention: as `Preintegration`.
    Source: the initialisation of Qin et al., "VINS-Mono", TRO 2018, section V-B, equation 15, with robust weights.
    Raises Vo3dError without a step that lasts.
    """
    if not bool((moved.duration > 0).any()):
        raise Vo3dError("no step of known rotation and with readings: expected at least one to find a gyroscope's bias")
    change = moved.bias.new_zeros(6)
    weight = torch.ones_like(moved.duration)
    for _ in range(iterations):
        now = moved.at_bias(moved.bias + change)
        residual = so3_log(now.rotation.mT @ rotation)  # n 3
        slope = moved.by_bias[:, :3, :3]
        size = residual.norm(dim=-1)
        deviation = (size.median() / DEVIATION).clamp(min=1e-12)
        weight = 1 / (1 + (size / (CAUCHY * deviation)).square())
        normal = (slope.mT @ slope * weight[:, None, None]).sum(0)
        change[:3] += torch.linalg.solve(normal, ((slope.mT @ residual[..., None])[..., 0] * weight[:, None]).sum(0))
    return moved.bias[0, :3] + change[:3]
