"""The path of a camera in a hand, that wanders through the middle of a room and looks around."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.world.path import RigidPath, Spline, knots
from vo3d.world.scene import Dice, generator_of

LEG = 1.6  # seconds between the way points that pull at the camera
STEP = (0.35, 1.1)  # metres from a way point to the next; a spline goes no faster than they do
LOWEST, HIGHEST = 1.25, 1.7  # metres above the floor
GAZE = (0.25, 1.4)  # radians that the gaze turns on a leg
STEEPEST = 0.62  # radians below the horizon
AHEAD = 1.6  # metres to the wall that is looked at, at least
KNOT = 0.1  # seconds between the control points of the path
SHAKE = (0.004, 0.006, 0.007)  # metres of the position, radians of yaw and pitch, of roll
FASTEST_SHAKE = 3.0  # Hz


@dataclass(frozen=True)
class Space:
    """The free middle of a room in its own axes: half sides of the free rectangle and of the room, metres."""

    free: tuple[float, float]
    room: tuple[float, float]
    floor: float  # y of the world


def wander(seed: int, space: Space, duration: float, rate: float) -> RigidPath:
    """Draw a path for frames of a rate from 0 to `duration` seconds; a longer one begins as the shorter one does.

    A spline lies in the convex hull of its control points, so that the path stays in the free rectangle.
    """
    times = knots(duration, rate, KNOT)
    legs = math.ceil(float(times[-1]) / LEG) + 4
    points = _way_points(Dice(generator_of(seed, "way")), space, legs)
    back = math.ceil(-float(times[0]) / LEG) + 4  # before its first frame the path comes back from where it will go
    control = torch.cat((points[1 : back + 1].flip(0), points))
    state = Spline(control, -back * LEG, LEG)(times)
    return RigidPath(Spline(state + _shake(Dice(generator_of(seed, "shake")), times), float(times[0]), KNOT))


def _way_points(dice: Dice, space: Space, count: int) -> Float64[Tensor, "n 6"]:
    """Draw way points one after the other, at least 32: x, y, z, yaw, pitch, roll."""
    x, z = (dice.uniform(-0.8, 0.8) * half for half in space.free)
    yaw, turn, heading = dice.uniform(-math.pi, math.pi), 1.0, dice.uniform(-math.pi, math.pi)
    rows = []
    for _ in range(max(count, 32)):
        height, pitch, roll = dice.uniform(LOWEST, HIGHEST), -dice.uniform(0.02, STEEPEST), dice.uniform(-0.06, 0.06)
        rows.append((x, space.floor - height, z, yaw, pitch, roll))
        x, z, heading = _next(dice, space.free, x, z, heading)
        turn = -turn if dice.chance(0.15) else turn
        steps = [turn * dice.uniform(*GAZE) for _ in range(4)]
        views = [yaw + step for step in steps]
        yaw = next((view for view in views if _ahead(space.room, x, z, view) > AHEAD), views[-1])
    return torch.tensor(rows, dtype=torch.float64)


def _next(dice: Dice, free: tuple[float, float], x: float, z: float, heading: float) -> tuple[float, float, float]:
    """Draw a place within the free rectangle, a step away and rather ahead; return it with the way that leads there."""
    for number in range(40):
        widest = min(1.0 + 0.2 * number, math.pi)
        angle, step = heading + dice.uniform(-widest, widest), dice.uniform(*STEP)
        there = x + step * math.sin(angle), z + step * math.cos(angle)
        if abs(there[0]) < free[0] and abs(there[1]) < free[1]:
            return *there, angle
    return x / 2, z / 2, heading + math.pi


def _ahead(room: tuple[float, float], x: float, z: float, yaw: float) -> float:
    """Measure metres from a place to the wall in a direction."""
    right, forward = math.sin(yaw), math.cos(yaw)
    across = (math.copysign(room[0], right) - x) / right if abs(right) > 1e-9 else math.inf
    along = (math.copysign(room[1], forward) - z) / forward if abs(forward) > 1e-9 else math.inf
    return min(across, along)


def _shake(dice: Dice, times: Float64[Tensor, " n"]) -> Float64[Tensor, "n 6"]:
    """Draw the tremor of a hand as waves of several frequencies."""
    size = [SHAKE[0]] * 3 + [SHAKE[1]] * 2 + [SHAKE[2]]
    columns = []
    for amount in size:
        waves = [(dice.uniform(0.4, FASTEST_SHAKE), dice.uniform(0.0, 2 * math.pi)) for _ in range(5)]
        columns.append(sum(amount * 0.6 * torch.sin(2 * math.pi * rate * times + phase) for rate, phase in waves))
    return torch.stack(columns, 1)  # type: ignore[arg-type]
