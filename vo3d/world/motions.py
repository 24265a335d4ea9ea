"""The ways in which a camera goes along a road: in a car, fast and slow, on foot, in a hand, or not at all."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.world.path import RigidPath, Spline, knots
from vo3d.world.roads import RoadLine, drive
from vo3d.world.scene import Dice, generator_of
from vo3d.world.sensor import Sensor
from vo3d.world.visit import Motion

OWN_LANE = 1.5  # metres to the right of the centre line
SIDE_WALK = 7.0
CAMERA_HEIGHT = 1.65  # metres above the road of the world's origin: a camera of another height is above or below it
STRIDES = 1.8  # steps of a walker in a second


@dataclass(frozen=True)
class Gait:
    """The numbers of a motion; shakes are standard deviations."""

    lateral: float  # metres to the right of the centre line
    slowest: float  # m/s
    fastest: float
    sideways: float = 3.2  # m/s^2, the most
    forward: float = 1.8
    stops: float = 0.0  # share of the time
    knot: float = 0.2  # seconds between the path's control points
    shake: tuple[float, float, float] = (0.012, 0.004, 0.004)  # of control points: metres up, radians of pitch and roll
    strides: float = 0.0  # metres that a walker's head moves up and down
    sway: float = 0.15  # metres to the sides, slowly
    gaze: tuple[float, float, float] = (0.0, 0.0, 0.0)  # radians: how far yaw, pitch and roll wander, in seconds


# At 10 frames a second "wide" has steps of 0 to 3 metres and 0 to 6 degrees.
GAITS: dict[Motion, Gait] = {
    "car": Gait(OWN_LANE, 2.5, 15.0),
    "wide": Gait(OWN_LANE, 6.0, 30.0, sideways=15.0, forward=12.0, stops=0.1),
    "walking": Gait(
        SIDE_WALK, 0.9, 1.7, forward=0.8, knot=0.1, shake=(0.004, 0.006, 0.006), strides=0.03, gaze=(0.3, 0.06, 0.02)
    ),
    "hand-held": Gait(
        SIDE_WALK, 0.15, 0.8, forward=0.5, stops=0.2, knot=0.1, shake=(0.01, 0.012, 0.012), gaze=(0.6, 0.12, 0.08)
    ),
    "standing": Gait(SIDE_WALK, 0.0, 0.0, shake=(0.0, 0.0, 0.0), sway=0.0),
    "turning": Gait(SIDE_WALK, 0.0, 0.0, shake=(0.0, 0.0, 0.0), sway=0.0, gaze=(0.6, 0.1, 0.05)),
}


@dataclass(frozen=True)
class Ride:
    """The path of a camera along a road, and what has to keep clear of it."""

    path: RigidPath
    times: Float64[Tensor, " n"]  # seconds, of the control points
    driven: Float64[Tensor, " n"]  # metres along the line at those times
    lateral: float  # metres to the right of the line


def drawn_motion(motion: Motion, seed: int) -> Motion:
    """Return the motion, or draw one for "any"."""
    if motion != "any":
        return motion
    names = list(GAITS)
    return names[int(torch.randint(len(names), (), generator=generator_of(seed, "motion")))]


def longest_ride(motion: Motion, duration: float) -> float:
    """Return metres that no ride of so many seconds exceeds."""
    return GAITS[motion].fastest * (duration + 2.0)


def ride(
    motion: Motion, seed: int, line: RoadLine, start: float, duration: float, sensor: Sensor, lateral: float | None
) -> Ride:
    """Move a camera along a line for `duration` seconds.

    Args:
        motion: one of `GAITS`.
        seed: of everything random.
        line: the road.
        start: metres along the line at which the path begins.
        duration: seconds.
        sensor: how the camera is mounted.
        lateral: metres to the right of the centre line; None: those of the motion.
    """
    gait, generator = GAITS[motion], generator_of(seed, motion)
    lateral = gait.lateral if lateral is None else lateral
    times = knots(duration, sensor.rate, gait.knot)
    driven = torch.full_like(times, start)
    if gait.fastest > 0:
        clock = _clock(generator, times, gait.stops)
        driven = drive(
            generator, line, start, clock, gait.slowest, gait.fastest, sideways=gait.sideways, forward=gait.forward
        )
    # A car begins level and ahead: then the world's axes are those of its first view.
    fade = ((times - 0.6) / 2).clamp(0, 1) if gait.lateral == OWN_LANE else torch.ones_like(times)
    shake = torch.randn(3, len(times), generator=generator, dtype=torch.float64)
    height, pitch, roll = shake * torch.tensor(gait.shake, dtype=torch.float64)[:, None] * fade
    phase = 2 * math.pi * torch.rand(2, generator=generator, dtype=torch.float64)
    height = height + gait.strides * torch.sin(2 * math.pi * STRIDES * times + phase[0])
    sway = gait.sway * torch.sin(times * 0.7 + phase[1]) * fade
    x, z, heading = line.at(driven, lateral).unbind(1)
    x, z = x + sway * heading.cos(), z - sway * heading.sin()
    gaze = [size * _wander(generator, times) for size in gait.gaze]
    if motion == "standing":
        gaze[0] = gaze[0] - Dice(generator).uniform(0.0, 1.2)  # towards the road
    control = torch.stack((x, height, z, heading + gaze[0], pitch + gaze[1], roll + gaze[2]), 1)
    if gait.lateral == OWN_LANE:  # a spline does not pass through its control points: moved to begin in its place
        begin = Spline(control, float(times[0]), gait.knot)(torch.zeros(1, dtype=torch.float64))[0, :3]
        x0, z0, _ = line.at(torch.tensor([start], dtype=torch.float64), lateral)[0]
        control[:, :3] += torch.stack((x0, torch.zeros_like(x0), z0)) - begin
    control[:, 1] += CAMERA_HEIGHT - sensor.height
    control[:, 3] += sensor.yaw
    control[:, 4] += sensor.pitch
    control[:, 5] += sensor.roll
    return Ride(RigidPath(Spline(control, float(times[0]), gait.knot)), times, driven, lateral)


def _clock(generator: torch.Generator, times: Float64[Tensor, " n"], stops: float) -> Float64[Tensor, " n"]:
    """Return a time for each time that stands still now and then, for a share of it."""
    if stops == 0:
        return times
    pace = torch.rand(int((times[-1] - times[0]) / 2) + 3, generator=generator, dtype=torch.float64)
    pace = (pace > stops).double()
    place = (times - times[0]) / 2
    rate = torch.lerp(pace[place.long()], pace[place.long() + 1], place - place.floor())
    elapsed = torch.cat((torch.zeros(1, dtype=torch.float64), (rate[1:] * times.diff()).cumsum(0)))
    return elapsed - elapsed[(times.abs()).argmin()]


def _wander(generator: torch.Generator, times: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Draw a smooth curve in about -1 to 1 that takes some seconds from side to side."""
    parts = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    rates, phases = 2 * math.pi * (0.05 + 0.25 * parts[0]), 2 * math.pi * parts[1]
    waves = torch.sin(rates * times[:, None] + phases)
    return waves.mean(1) * 1.3
