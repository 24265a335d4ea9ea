"""Walks: several passes along one street at other times, among other movers, in other lanes and headings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.world.path import Spline
from vo3d.world.recorder import Recorder
from vo3d.world.scene import Dice, generator_of
from vo3d.world.scenes.street import way
from vo3d.world.sensor import Sensor
from vo3d.world.times import TIMES
from vo3d.world.visit import MOST_SEED, Time, Visit, check_seed

Role = Literal["database", "queries"]
RATE = 30.0  # Hz: at most half a metre from frame to frame
PACE = 9.0  # m/s, which rides are first tried at; on average they are slower
LANES = (-1.5, 2.5)  # metres to the right of the road's middle, of queries: from the other lane to the parked cars
LEAST_SPACING, LONGEST = 1.0, 5000.0  # metres
APART = 100.0  # metres from the world of one place of a set to that of the next, beside twice their length


@dataclass(frozen=True)
class Walk:
    """The choices of the passes along a place: those of the database in the own lane, ahead; those of queries drawn.

    Args:
        length: metres of road.
        spacing: metres of road between two views of a pass, to a quarter of a metre.
        database_times: light and weather of the passes of the database, one pass each.
        query_times: the same of the queries.
        passes: of the queries at each time, each under light, and among movers, of its own.
        turn: degrees by which the camera of queries is turned to the left or right at most, one angle a pass.
        traffic: how much moves, as a multiple of the usual.
        photographs: whether surfaces carry pictures and textures of photographs.

    Raises:
        Vo3dError: an unknown time, one that comes twice, none, or a number that no walk has.
    """

    length: float = 200.0
    spacing: float = 5.0
    database_times: Sequence[Time] = ("day",)
    query_times: Sequence[Time] = ("low-sun", "night", "rain", "fog")
    passes: int = 1
    turn: float = 15.0
    traffic: float = 1.0
    photographs: bool = False

    def __post_init__(self) -> None:
        for name in ("database_times", "query_times"):
            times = getattr(self, name)
            if isinstance(times, str) or not times or len(set(times)) < len(times) or not {*times} <= {*TIMES}:
                raise Vo3dError(f"{name} {times}: expected a list of some of {', '.join(TIMES)}, each once")
        checks = (
            ("spacing", self.spacing >= LEAST_SPACING, f"metres between two views, at least {LEAST_SPACING:g}"),
            (
                "length",
                2 * self.spacing <= self.length <= LONGEST,
                f"metres of road, at least two spacings ({2 * self.spacing:g}) and at most {LONGEST:g}",
            ),
            ("passes", self.passes >= 1, "at least 1 at each time"),
            ("turn", 0 <= self.turn <= 180, "degrees from 0 to 180"),
        )
        for name, holds, expected in checks:
            if not holds:
                raise Vo3dError(f"{name} {getattr(self, name)} of a walk: expected {expected}")
        Visit(traffic=self.traffic, photographs=self.photographs)  # which checks them

    def database(self, place: int, seed: int) -> "list[Pass]":
        """Draw the passes of the database along a place.

        Args:
            place: the seed of the street.
            seed: what light, weather, movers, paths, lanes and headings are drawn from.
        """
        return [self._drawn("database", place, seed, time, 1) for time in self.database_times]

    def queries(self, place: int, seed: int, time: Time | None = None) -> "list[Pass]":
        """Draw the passes of the queries along a place, as `database`: all, or those at a time."""
        times = self.query_times if time is None else (time,)
        return [self._drawn("queries", place, seed, one, number) for one in times for number in self._numbers()]

    def offset(self, number: int) -> Float64[Tensor, " 3"]:
        """Return what puts place `number` of a set apart from the others: metres to add to positions in its world."""
        return torch.tensor([(2 * self.length + APART) * number, 0.0, 0.0], dtype=torch.float64)

    def _numbers(self) -> range:
        return range(1, self.passes + 1)

    def _drawn(self, role: Role, place: int, seed: int, time: Time, number: int) -> "Pass":
        """Draw a pass, from its seed, place, role, time and number alone."""
        check_seed(seed, f"seed {seed} of a walk")
        check_seed(place, f"place {place} of a walk")
        generator = generator_of(seed, f"{role} {place} {time} {number}")
        light, movers, path = torch.randint(MOST_SEED + 1, (3,), generator=generator).tolist()
        begin, yaw, lateral = 0.0, 0.0, None
        if role == "queries":
            dice = Dice(generator)
            # Queries stand between the places of the database, by a tenth of the spacing at least.
            begin, lateral = self.spacing * dice.uniform(0.1, 0.9), dice.uniform(*LANES)
            yaw = math.radians(self.turn) * dice.uniform(-1.0, 1.0)
        visit = Visit(
            place, light, movers, path, time, lateral=lateral, traffic=self.traffic, photographs=self.photographs
        )
        views = int((self.length - begin) / self.spacing + 1e-9) + 1
        metres = tuple(begin + view * self.spacing for view in range(views))
        return Pass(f"{place:04d}-{time}-{number}", visit, Sensor(rate=RATE, yaw=yaw), metres)


@dataclass(frozen=True)
class Pass:
    """One way along a place, with a view at some metres of the road; no scene is built for where they are.

    Args:
        name: of the pass: its place, time and number.
        visit: the place and its time, movers and path.
        sensor: the camera.
        metres: along the road's middle line at which views are taken, ascending.
    """

    name: str
    visit: Visit
    sensor: Sensor
    metres: tuple[float, ...]

    @cached_property
    def names(self) -> list[str]:
        """Name the views by their metres, in which they differ."""
        return [f"{int(metres):04d}m" for metres in self.metres]

    @cached_property
    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Compute `world_T_cam` of the views, metres, in the world of the place."""
        return self._ride[1]

    @property
    def indices(self) -> list[int]:
        """List the frames of the recorder that are the views."""
        return self._ride[2]

    @cached_property
    def _ride(self) -> tuple[int, Float64[Tensor, "n 4 4"], list[int]]:
        """Find a ride that is long enough: its frames, and the pose and number of each that is a view."""
        frames = int(self.metres[-1] / PACE * RATE)
        while True:
            frames += 2 * int(RATE)
            camera = way(self.visit.seeds(0), frames, self.sensor, self.visit)[1]
            times = torch.arange(frames, dtype=torch.float64) / RATE
            path = camera.path.spline
            driven = Spline(camera.driven[:, None], path.start, path.spacing)(times)[:, 0]
            driven = driven - driven[0]
            if driven[-1] > self.metres[-1]:
                nearest = (driven - torch.tensor(self.metres)[:, None]).abs().argmin(1)
                return frames, camera.path.poses(times[nearest])[:, 0], nearest.tolist()

    def recorder(self, size: tuple[int, int]) -> Recorder:
        """Make the recorder whose frames `indices` are the views; `size` is height, width."""
        return Recorder("street", 0, self._ride[0], size, self.sensor, visit=self.visit)
