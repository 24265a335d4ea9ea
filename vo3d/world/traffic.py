"""Traffic for a camera on a road: who drives and walks when and where, so that something is nearly always in view."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vo3d.world.movers import PARTS, Movers, Place, gait
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import PLANE
from vo3d.world.roads import RoadLine
from vo3d.world.scene import Solids

KNOT = 0.1  # seconds between control points: legs swing once a second
LANE = 1.5  # metres from the centre line to the middle of a lane
KERBSIDE, WALKS, FREE = 5.35, (7.0, 7.6), 7.15  # where people stand; walk towards and along; where nothing stands
ONCOMING, WALKER, CROSSER = 3.5, 2.3, 6.0  # seconds between two at amount 1
SPELLS = 80.0  # metres of the camera's way in which a leader's distance goes through a radian of its spells
SHORTEST = 2.2  # seconds between two oncoming vehicles, however many are wanted
PERSON_RADIUS = 0.35  # metres
BEFORE, AFTER = 1.0, 3.0  # seconds before the start and after the end in which some are met
HIDDEN = 500.0  # metres under the ground: where those are who would run into the camera


def num_objects(duration: float, amount: float) -> int:
    """Count the moving objects (ids) of a drive of `duration` seconds: the same for all seeds."""
    leaders, oncoming, walkers, crossers = _counts(duration, amount)
    return leaders + oncoming + PARTS * (walkers + crossers)


def _counts(duration: float, amount: float) -> tuple[int, int, int, int]:
    """Count vehicles ahead, oncoming vehicles, walkers, and people who cross; some are met before or after the end."""
    if amount == 0:
        return 0, 0, 0, 0
    span = duration + BEFORE + AFTER
    oncoming = math.ceil(span / max(ONCOMING / amount, SHORTEST))
    return min(round(2 * amount), 2), oncoming, math.ceil(span * amount / WALKER), math.ceil(
        duration * amount / CROSSER)  # fmt: skip


def traffic(
    movers: Movers,
    line: RoadLine,
    times: Float64[Tensor, " n"],
    driven: Float64[Tensor, " n"],
    lateral: Float64[Tensor, " n"],
    duration: float,
    amount: float,
    ground: float,
    baseline: float = 0.0,
) -> RigidPath | None:
    """Fill `movers.solids` with what moves, ids 1 to `num_objects(duration, amount)`, and return the paths of the ids.

    The camera is `driven` metres along the line and `lateral` metres to the right of it at evenly spaced `times`, from
    before 0 to after `duration` seconds. What the list of solids holds already is static: people keep clear of it. All
    is drawn from the generator of `movers`, `amount` scales how much there is; None for 0. `ground` is the ground's y,
    `baseline` the metres to the right of the camera that are kept free for a second one.
    """
    counts = _counts(duration, amount)
    if not any(counts):
        return None
    beyond = max(-int((times[0] / KNOT).round()), 8)  # seconds before the first frame and after the last, in knots
    time = torch.arange(-beyond, math.ceil(duration / KNOT) + beyond + 1, dtype=torch.float64) * KNOT
    place = ((time - times[0]) / (times[1] - times[0])).clamp(0, len(times) - 1.001)
    first = place.long()
    driven, lateral = (torch.lerp(v[first], v[first + 1], place - first) for v in (driven, lateral))
    drive = _Traffic(movers, line, ground, movers.solids.build(), time, driven, lateral, baseline)
    leaders, oncoming, walkers, crossers = counts
    drive.ahead(leaders, duration)
    drive.oncoming(oncoming, duration)
    drive.walkers(walkers, duration)
    drive.crossers(crossers, duration)
    return RigidPath(Spline(torch.cat(drive.states, 1), float(time[0]), KNOT))


def _over_a_second(values: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Average values at every `KNOT` over a second; a straight course stays as it is, also at its ends."""
    reach = round(0.5 / KNOT)
    steps = torch.arange(1, reach + 1, dtype=torch.float64)
    before = values[0] - steps.flip(0) * (values[1] - values[0])
    after = values[-1] + steps * (values[-1] - values[-2])
    return torch.cat((before, values, after)).unfold(0, 2 * reach + 1, 1).mean(1)


@dataclass
class _Vehicle:
    """A vehicle's length along the line at every instant, its distance beside it, and half its sides, metres."""

    s: Float64[Tensor, " n"]
    lateral: float
    half: tuple[float, float]


@dataclass
class _Traffic:
    """Schedules the traffic of one drive; everything is drawn in a fixed order."""

    movers: Movers
    line: RoadLine
    ground: float
    still: Solids
    time: Float64[Tensor, " n"]
    driven: Float64[Tensor, " n"]  # the camera's
    lateral: Float64[Tensor, " n"]
    baseline: float
    states: list[Float64[Tensor, "n numbers"]] = field(default_factory=list)
    vehicles: list[_Vehicle] = field(default_factory=list)
    spots: list[tuple[float, float]] = field(default_factory=list)  # length and side of those who stand at the kerb

    @property
    def next_id(self) -> int:
        return 1 + sum(state.shape[1] // 6 for state in self.states)

    def meetings(self, count: int, duration: float) -> list[tuple[float, float]]:
        """Draw `count` instants from a little before 0 to after `duration`, and where the camera is then."""
        period = (duration + BEFORE + AFTER) / max(count, 1)
        found = []
        for number in range(count):
            when = (number + self.movers.uniform(0.35, 0.65)) * period - BEFORE
            at = min(max(round((when - float(self.time[0])) / KNOT), 0), len(self.time) - 1)
            found.append((when, float(self.driven[at])))
        return found

    def ahead(self, count: int, duration: float) -> None:
        """Send vehicles ahead of a camera in the right lane, near but for spells; else some that pass it there."""
        dice = self.movers
        follows = bool(((self.lateral > 0) & (self.lateral < 2 * LANE)).all())
        speed, wave, spell = self._speed(), dice.uniform(0.0, 6.3), dice.uniform(-1.0, 1.2)
        near = 1.0 + dice.uniform(0.0, 1.5) + torch.sin(self.driven / 23 + wave)
        turned = (self.driven / SPELLS + spell).remainder(2 * math.pi)
        spells = ((turned - 0.65) / (math.pi - 1.3)).clamp(0, 1).mul(math.pi).sin() ** 2  # no speed jumps
        gap = 3.5 + near + dice.uniform(0.3, 0.5) * speed + 16 * spells
        passing = float(speed.max()) + dice.uniform(4.0, 7.0)
        for when, where in self.meetings(count, duration):
            half = dice.vehicle(Place(object_id=self.next_id))
            if follows:
                s = (self.driven + gap + half[0]).cummax(0).values  # nobody rolls back when the camera brakes hard
                s = _over_a_second(_over_a_second(s))  # nor starts at once
                gap = gap + 2 * half[0] + 3.0 + dice.uniform(0.0, 5.0) + 0.4 * speed
            else:
                s = where + passing * (self.time - when)
            self._drive(_Vehicle(s, LANE, half), 0.0)

    def oncoming(self, count: int, duration: float) -> None:
        """Send vehicles the other way, met one after the other, all of one speed."""
        speed = self.movers.uniform(6.0, 10.0)
        for when, where in self.meetings(count, duration):
            half = self.movers.vehicle(Place(object_id=self.next_id))
            self._drive(_Vehicle(where - speed * (self.time - when), -LANE, half), math.pi)

    def walkers(self, count: int, duration: float) -> None:
        """Let people walk on the side walks, both ways, those of one way of one speed; some stand at the kerb."""
        dice = self.movers
        # Nobody walks where the camera does: there is no room to pass.
        sides = [side for side in (-1.0, 1.0) if float((side * self.lateral).max()) < 5.0] or [-1.0, 1.0]
        speeds = {(side, way): dice.uniform(1.1, 1.6) for side in (-1.0, 1.0) for way in (-1.0, 1.0)}
        taken: dict[tuple[float, float], list[float]] = {lane: [] for lane in speeds}
        for when, where in self.meetings(count, duration):
            side, way = sides[int(dice.uniform(0.0, len(sides) - 1e-6))], 1.0 if dice.chance(0.5) else -1.0
            if dice.chance(0.15):
                self._stand(where + dice.uniform(0.0, 10.0), side)
                continue
            start = where - way * speeds[side, way] * when
            while any(abs(start - other) < 1.8 for other in taken[side, way]):
                start += 1.9
            taken[side, way].append(start)
            s = start + way * speeds[side, way] * self.time
            lane = WALKS[way > 0] + dice.uniform(-0.04, 0.04)
            self._walk(s, side * self._round_corners(s, side, lane), 0.0 if way > 0 else math.pi)

    def crossers(self, count: int, duration: float) -> None:
        """Let people cross the road ahead of the camera, who are off its lane when it comes; else they stand there."""
        dice = self.movers
        for when, where in self.meetings(count, duration):
            for _ in range(30):
                side = 1.0 if dice.chance(0.5) else -1.0
                s, speed = where + dice.uniform(2.0, 10.0), dice.uniform(1.2, 1.9)
                started = when - dice.uniform(0.0, 4.0) - KERBSIDE / speed
                lateral = side * (KERBSIDE - speed * (self.time - started)).clamp(-KERBSIDE, KERBSIDE)
                if self._may_cross(s, lateral):
                    self.spots += [(s, -1.0), (s, 1.0)]
                    self._walk(torch.full_like(lateral, s), lateral, -side * math.pi / 2)
                    break
            else:
                self._stand(where + 6.0, 1.0 if dice.chance(0.5) else -1.0)

    def _speed(self) -> Float64[Tensor, " n"]:
        """Compute the camera's speed along the line, m/s, averaged over a second."""
        speed = torch.cat((self.driven.diff(), self.driven[-1:] - self.driven[-2:-1])) / KNOT
        return _over_a_second(speed)

    def _drive(self, vehicle: _Vehicle, turn: float) -> None:
        """Set a vehicle's path; it is hidden where it would run into the camera."""
        x, z, heading = self._place(vehicle.s, vehicle.lateral)
        half = vehicle.half
        lateral = torch.full_like(vehicle.s, vehicle.lateral)
        met = self._met(vehicle.s, lateral, half[0] + 0.7, half[1] + 0.7, self.baseline)
        flat = torch.zeros_like(x)
        self.states.append(torch.stack((x, flat + self.ground + HIDDEN * met, z, heading + turn, flat, flat), 1))
        if not met:
            self.vehicles.append(vehicle)

    def _walk(self, s: Float64[Tensor, " n"], lateral: Float64[Tensor, " n"], turn: float) -> None:
        """Set the path of a new person, who is hidden where the camera would walk into it."""
        height = self.movers.person(self.next_id)
        met = self._met(s, lateral, PERSON_RADIUS + 0.7, PERSON_RADIUS + 0.6, self.baseline)
        x, z, heading = self._place(s, lateral)
        phase = self.movers.uniform(0.0, 6.3)
        path = torch.stack((x, z, heading + turn), 1)
        self.states.append(gait(path, self.ground + HIDDEN * met, height, KNOT, phase))

    def _stand(self, s: float, side: float) -> None:
        """Stand a person at the kerb, at the first free place from a length on."""
        places = s + 0.5 * torch.arange(1000, dtype=torch.float64)
        x, z, _ = self._place(places, side * KERBSIDE)
        taken = torch.tensor([spot for spot, beside in self.spots if beside == side], dtype=torch.float64)
        crowded = ((places[:, None] - taken).abs() < 3 * PERSON_RADIUS).any(1)
        free = (self._blocked(x, z, PERSON_RADIUS) | crowded).logical_not().nonzero()[:1, 0]
        where = places[free] if len(free) else places[-1:]
        self.spots.append((float(where), side))
        self._walk(where.expand(len(self.time)), torch.full_like(self.time, side * KERBSIDE),
                   self.movers.uniform(-3.0, 3.0))  # fmt: skip

    def _may_cross(self, s: float, lateral: Float64[Tensor, " n"]) -> bool:
        """Tell whether nothing stands on a way across, and neither a vehicle nor the camera comes while it is used."""
        across = torch.arange(-KERBSIDE, KERBSIDE, 0.25, dtype=torch.float64)
        x, z, _ = self._place(torch.full_like(across, s), across)
        place = torch.full_like(lateral, s)
        return not (
            any(abs(s - spot) < 3 * PERSON_RADIUS for spot, _ in self.spots)
            or bool(self._blocked(x, z, PERSON_RADIUS).any())
            or self._met(place, lateral, 4.0 + 0.6 * self._speed(), LANE)
            or any(
                bool((((s - v.s).abs() < v.half[0] + 1.5) & ((lateral - v.lateral).abs() < v.half[1] + 0.6)).any())
                for v in self.vehicles
            )
        )

    def _met(self, s: Tensor, lateral: Tensor, along: Tensor | float, across: float, right: float = 0.0) -> bool:
        """Tell whether the camera, or one `right` of it, ever comes nearer than two distances, metres, to a path."""
        aside = lateral - self.lateral
        return bool((((s - self.driven).abs() < along) & (-across < aside) & (aside < across + right)).any())

    def _round_corners(self, s: Float64[Tensor, " n"], side: float, lateral: float) -> Float64[Tensor, " n"]:
        """Keep to a distance from the centre line but near what stands there, which is passed at another."""
        x, z, _ = self._place(s, side * lateral)
        blocked = self._blocked(x, z, PERSON_RADIUS).double()[None, None]
        blocked = torch.nn.functional.max_pool1d(blocked, 31, stride=1, padding=15)
        padded = torch.nn.functional.pad(blocked, (7, 7), mode="replicate")
        return lateral + (FREE - lateral) * torch.nn.functional.avg_pool1d(padded, 15, stride=1)[0, 0]

    def _blocked(self, x: Float64[Tensor, " n"], z: Float64[Tensor, " n"], gap: float) -> Bool[Tensor, " n"]:
        """Find which places have less than `gap` metres to the boxes of what stands there."""
        points = torch.stack((x, torch.full_like(x, self.ground - 0.8), z), 1).float()
        radius, blocked = torch.linalg.vector_norm(self.still.half, dim=1) + 2 * gap, []
        for point in torch.split(points, 256):  # of a long way, a part has little beside it
            middle = point[len(point) // 2]
            reach = torch.linalg.vector_norm(point - middle, dim=1).max() + radius
            near = torch.linalg.vector_norm(self.still.centre - middle, dim=1) < reach
            still = self.still.select((near & (self.still.kind != PLANE)).nonzero()[:, 0])
            local = torch.einsum("pnk,nkl->pnl", point[:, None] - still.centre, still.rotation).abs()
            blocked.append((local < still.half + gap).all(-1).any(1))
        return torch.cat(blocked)

    def _place(
        self, s: Float64[Tensor, " n"], lateral: Float64[Tensor, " n"] | float
    ) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " n"], Float64[Tensor, " n"]]:
        """Find x, z and heading beside the line, which goes on straight beyond its ends."""
        x, z, heading = self.line.at(s, lateral).unbind(1)
        beyond = s - s.clamp(0, self.line.length)
        return x + beyond * heading.sin(), z + beyond * heading.cos(), heading
