"""A town street: bends, houses with windows, trees, lamp posts, parked and moving cars, a car-borne camera."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.world.labels import BUILDING, POLE, ROAD, VEGETATION
from vo3d.world.motions import CAMERA_HEIGHT, OWN_LANE, Ride, drawn_motion, longest_ride, ride
from vo3d.world.movers import Movers, Place
from vo3d.world.paints import MATERIAL_SIZE, OWN, Road, bodywork, facade, foliage, mottled, roof
from vo3d.world.photographs import (
    GRASS,
    GRAVEL,
    Grained,
    GrainedRoad,
    Pictures,
    photographic_lattice,
    photographs,
)
from vo3d.world.posters import dress_houses
from vo3d.world.primitives import BALL, BOX, CYLINDER, PLANE
from vo3d.world.roads import WIDEST_TURN, RoadLine, random_line, road_map, with_shadows
from vo3d.world.scene import Dice, Paint, Scene, SolidList, generator_of
from vo3d.world.sensor import Sensor
from vo3d.world.textures import noise_lattice
from vo3d.world.times import drawn_time, outdoor_light
from vo3d.world.traffic import KNOT, num_objects, traffic
from vo3d.world.visit import Seeds, Visit

LANE, KERB, WALK = 3.0, 5.0, 8.0  # metres from the centre line
BEFORE, AFTER = 60.0, 200.0  # metres of road behind the origin and ahead of the last view, for what moves
BEND = 150.0  # metres of road behind its end that may come back to the things beside it
SHARPEST = 12.5  # metres: radius of the tightest turn of the centre line
VIEW_RANGE = 170.0  # metres
SEEN = VIEW_RANGE + 35.0  # metres from a camera to the places on the line of the farthest houses that it may see
FARTHEST_START, LONGEST, MOST_POSES = 20_000.0, 3600.0, 1e7  # metres, seconds, of all that moves
GROUND, WALL, ROOF, ROUGH, LEAVES, CAR, PICTURE = range(7)  # the scene's paints


def build(seeds: Seeds, frames: int, sensor: Sensor, visit: Visit) -> Scene:
    """Build as much of an endless street as `frames` views need.

    The place depends on its seed alone: what two scenes of one place both hold is the same in both. Raises Vo3dError
    for a visit that is too long, or too far along the road, to be held in memory.
    """
    duration, motion = (frames - 1) / sensor.rate, drawn_motion(visit.motion, seeds.path)
    line, camera = way(seeds, frames, sensor, visit)
    end = _end_of_view(line, camera)
    line = line.until(end + BEND)
    solids = SolidList(MATERIAL_SIZE)
    solids.add(PLANE, (0.0, CAMERA_HEIGHT, 0.0), (1.0, 1.0, 1.0), paint=GROUND, label=ROAD)

    def street(part: str) -> _Street:
        generator = generator_of(seeds.place, part)
        return _Street(generator, line, solids, Movers(generator, solids, CAR, ROUGH))

    for side in (-1.0, 1.0):
        street(f"houses {side}").houses(side, 10.0, end)
        street(f"trees {side}").trees(side, 12.0, end)
        street(f"parked cars {side}").parked_cars(side, 14.0, end)
    lamps = street("lamps").lamps(20.0, end)
    if visit.photographs:
        built = solids.build()
        dress_houses(solids, built.select((built.paint == WALL).nonzero()[:, 0]), line.distance, PICTURE)
    moving = Movers(generator_of(seeds.movers, "movers"), solids, CAR, ROUGH)
    lateral = torch.full_like(camera.times, camera.lateral)
    movers = traffic(moving, line, camera.times, camera.driven, lateral, duration, visit.traffic, CAMERA_HEIGHT,
                     sensor.baseline)  # fmt: skip
    built = solids.build()
    time = drawn_time(visit.time, seeds.time)
    light = outdoor_light(time, seeds.time)
    if motion not in {"car", "wide"}:
        light = replace(light, headlights=(0.0, 0.0, 0.0))
    near = line.until(end)
    ground_map, low_sun = road_map(near, 16.0), time == "low-sun"
    if not low_sun:  # whose long shadows fall on walls too, and are found pixel by pixel
        still = built.select((built.object == 0).nonzero()[:, 0])
        ground_map = with_shadows(ground_map, still, CAMERA_HEIGHT, light.to_sun)
    ground = Road(near, ground_map, LANE, KERB, WALK)
    scene = Scene(
        solids=built,
        paints=(ground, facade, roof, mottled, foliage, bodywork),
        light=light,
        camera=camera.path,
        movers=movers,
        lattice=noise_lattice(generator_of(seeds.place, "noise")),
        view_range=VIEW_RANGE,
        shadows=low_sun,
        lamps=lamps,
    )
    return _photographed(scene, ground, seeds.place) if visit.photographs else scene


def way(seeds: Seeds, frames: int, sensor: Sensor, visit: Visit) -> tuple[RoadLine, Ride]:
    """Draw the road of a street, longer than `frames` views need, and the camera's path along it.

    Raises Vo3dError as `build`.
    """
    duration = (frames - 1) / sensor.rate
    motion, start = drawn_motion(visit.motion, seeds.path), BEFORE + visit.start
    _check_extent(duration, visit)
    end = start + longest_ride(motion, duration)
    length = end + max(AFTER, SEEN / math.cos(WIDEST_TURN)) + BEND
    line = random_line(generator_of(seeds.place, "road"), BEFORE, length - BEFORE, SHARPEST)
    line = replace(line, point=line.point - torch.tensor([OWN_LANE, 0.0], dtype=torch.float64))
    return line, ride(motion, seeds.path, line.until(end + AFTER + BEND), start, duration, sensor, visit.lateral)


def _end_of_view(line: RoadLine, camera: Ride) -> float:
    """Find the length up to which what stands beside a line may be seen from a camera's path, metres."""
    last = float(camera.driven.max())
    ahead = torch.arange(last, line.length, 1.0, dtype=torch.float64)
    path = line.at(camera.driven, camera.lateral)[:, :2]
    seen = torch.cdist(line.at(ahead)[:, :2], path).amin(1) < SEEN
    return float(ahead[seen].max()) + 1.0


def _check_extent(duration: float, visit: Visit) -> None:
    """Raise Vo3dError for what would take hours to build, or more memory than there is."""
    if visit.start > FARTHEST_START:
        raise Vo3dError(
            f"start {visit.start:g}: expected at most {FARTHEST_START:g} metres: all before it is built too"
        )
    if duration > LONGEST:
        raise Vo3dError(f"a drive of {duration:g} s: expected at most {LONGEST:g}: give fewer frames or a higher rate")
    numbers = num_objects(duration, visit.traffic) * duration / KNOT
    if numbers > MOST_POSES:
        raise Vo3dError(
            f"a drive of {duration:g} s with traffic {visit.traffic:g}: its paths would be {numbers:.2g} poses: "
            f"expected at most {MOST_POSES:.0e}: give fewer frames, a higher rate, or less traffic"
        )


def _photographed(scene: Scene, ground: Road, seed: int) -> Scene:
    """Return the street with the grain of photographs, and the paint of its pictures."""
    given = photographs()
    paints: list[Paint] = [*scene.paints, Pictures(given.pictures)]
    paints[GROUND] = GrainedRoad(ground, given.surfaces)
    paints[WALL] = Grained(paints[WALL], given.surfaces, GRAVEL, 0.4, bricks=OWN + 3)
    paints[LEAVES] = Grained(paints[LEAVES], given.surfaces, GRASS, 0.8, colours=2)
    lattice = photographic_lattice(generator_of(seed, "noise"), given.amplitude)
    return replace(scene, paints=tuple(paints), lattice=lattice)


WALLS = ((0.62, 0.52, 0.36), (0.70, 0.66, 0.56), (0.45, 0.20, 0.13), (0.55, 0.36, 0.24), (0.66, 0.60, 0.50),
         (0.50, 0.52, 0.50), (0.62, 0.40, 0.28), (0.72, 0.62, 0.40), (0.36, 0.16, 0.11),
         (0.52, 0.58, 0.62))  # fmt: skip


@dataclass
class _Street(Dice):
    """Puts things along the line; every position is drawn from one generator, in a fixed order."""

    line: RoadLine
    solids: SolidList
    movers: Movers

    def place(self, s: float, lateral: float) -> tuple[float, float, float]:
        """Find x, z and heading beside the line."""
        x, z, heading = self.line.at(torch.tensor([s], dtype=torch.float64), lateral)[0].tolist()
        return x, z, heading

    def clear(self, x: float, z: float, yaw: float, half: tuple[float, float], gap: float) -> bool:
        """Tell whether a rectangle on the ground keeps at least `gap` metres from the line everywhere."""
        n = 7
        grid = torch.linspace(-1, 1, n, dtype=torch.float64)
        a, b = (grid * half[0]).repeat(n), (grid * half[1]).repeat_interleave(n)
        cos, sin = math.cos(yaw), math.sin(yaw)
        points = torch.stack((x + a * cos + b * sin, z - a * sin + b * cos), 1)
        return self.line.keeps_clear(points, gap)

    def houses(self, side: float, begin: float, end: float) -> None:
        """Build a row of houses that follows the road, with gaps."""
        s = begin
        while s < end:
            width, depth = self.uniform(8.0, 18.0), self.uniform(8.0, 12.0)
            setback = WALK + (0.3 if self.chance(0.6) else self.uniform(1.5, 5.0))
            x, z, heading = self.place(s + width / 2, side * (setback + depth / 2))
            if self.clear(x, z, heading, (depth / 2, width / 2), WALK + 0.2):
                self.house(x, z, heading, width, depth)
            s += width + (0.0 if self.chance(0.5) else self.uniform(2.0, 9.0))

    def house(self, x: float, z: float, heading: float, width: float, depth: float) -> None:
        storeys, storey = int(self.uniform(2.0, 5.3)), self.uniform(2.8, 3.4)
        height = storeys * storey + 0.3
        wall = tuple(c * self.uniform(0.85, 1.1) for c in self.choose(WALLS))
        trim = (0.75, 0.74, 0.70) if self.chance(0.7) else (0.20, 0.13, 0.09)
        seed = self.uniform(0.0, 1.0)
        material = (*wall, *trim, self.uniform(0.1, 0.22), self.uniform(0.6, 2.0), seed,
                    self.uniform(2.0, 3.4), storey, self.uniform(0.36, 0.55),
                    float(self.chance(0.4)))  # fmt: skip
        yaw, ground = heading, CAMERA_HEIGHT
        self.solids.add(BOX, (x, ground - height / 2, z), (depth / 2, height / 2, width / 2), paint=WALL,
                        material=material, yaw=yaw, label=BUILDING)  # fmt: skip
        tile = self.choose(((0.30, 0.12, 0.07), (0.22, 0.10, 0.07), (0.12, 0.12, 0.13), (0.36, 0.18, 0.10)))
        covered = (*tile, *wall, 0.3, 0.8, seed, 0.35)
        if self.chance(0.65):
            # A gable: a square beam turned by 45 degrees about its length, half sunk into the house.
            cos, sin, h = math.cos(yaw), math.sin(yaw), math.sqrt(0.5)
            turned = (cos * h, cos * h, sin, -h, h, 0.0, -sin * h, -sin * h, cos)
            edge = (depth / 2 + 0.4) * h
            self.solids.add(BOX, (x, ground - height + 0.25, z), (edge, edge, width / 2 - 0.02), paint=ROOF,
                            material=covered, rotation=turned, label=BUILDING)  # fmt: skip
        else:
            self.solids.add(BOX, (x, ground - height - 0.15, z), (depth / 2 + 0.3, 0.25, width / 2 + 0.3), paint=ROUGH,
                            material=(0.42, 0.41, 0.39, 0.36, 0.35, 0.33, 0.15, 1.0, seed), yaw=yaw,
                            label=BUILDING)  # fmt: skip

    def trees(self, side: float, begin: float, end: float) -> None:
        """Plant trees on a side walk."""
        s = begin + self.uniform(0.0, 10.0)
        while s < end:
            x, z, heading = self.place(s, side * self.uniform(5.8, 6.2))
            if self.chance(0.7) and self.clear(x, z, heading, (1.0, 1.0), KERB - 0.4):
                self.tree(x, z)
            s += self.uniform(8.0, 26.0)

    def tree(self, x: float, z: float) -> None:
        trunk, size, seed = self.uniform(3.0, 4.0), self.uniform(1.2, 2.0), self.uniform(0.0, 1.0)
        ground = CAMERA_HEIGHT
        bark = (0.14, 0.10, 0.07, 0.22, 0.19, 0.15, 0.45, 0.25, seed)
        self.solids.add(CYLINDER, (x, ground - trunk / 2 - 0.4, z), (0.09 * size, trunk / 2 + 0.4, 0.09 * size),
                        paint=ROUGH, material=bark, label=VEGETATION)  # fmt: skip
        tone = self.uniform(0.8, 1.25)
        leaves = (0.05 * tone, 0.12 * tone, 0.025, 0.16 * tone, 0.22 * tone, 0.06, 0.75, 0.55, seed)
        self.solids.add(BALL, (x, ground - trunk - size, z), (size, size * 1.1, size), paint=LEAVES, material=leaves,
                        label=VEGETATION)  # fmt: skip
        for number in range(4):
            angle, radius = number * 1.6 + 6 * seed, size * self.uniform(0.5, 0.75)
            centre = (x + 0.7 * size * math.cos(angle), ground - trunk - size * self.uniform(0.5, 1.5),
                      z + 0.7 * size * math.sin(angle))  # fmt: skip
            self.solids.add(BALL, centre, (radius, radius, radius), paint=LEAVES, material=leaves, label=VEGETATION)

    def lamps(self, begin: float, end: float) -> Tensor:
        """Set up lamp posts with an arm over the road; return where their lamps are, shape l 3."""
        s, side = begin, 1.0
        places = []
        steel = (0.20, 0.22, 0.22, 0.26, 0.27, 0.27, 0.2, 0.5)
        while s < end:
            x, z, heading = self.place(s, side * 5.5)
            if self.clear(x, z, heading, (0.2, 0.2), KERB - 0.2):
                ground, inward = CAMERA_HEIGHT, -side
                self.solids.add(CYLINDER, (x, ground - 3.2, z), (0.07, 3.2, 0.07), paint=ROUGH, material=steel,
                                label=POLE)  # fmt: skip
                self.solids.add(CYLINDER, (x, ground - 0.5, z), (0.12, 0.5, 0.12), paint=ROUGH, material=steel,
                                label=POLE)  # fmt: skip
                arm = (x + inward * 0.8 * math.cos(heading), ground - 6.4, z - inward * 0.8 * math.sin(heading))
                self.solids.add(BOX, arm, (0.9, 0.05, 0.06), paint=ROUGH, material=steel, yaw=heading, label=POLE)
                head = (x + inward * 1.6 * math.cos(heading), ground - 6.36, z - inward * 1.6 * math.sin(heading))
                self.solids.add(BOX, head, (0.4, 0.08, 0.14), paint=ROUGH, material=(*steel, 0.0, 1.0), yaw=heading,
                                label=POLE)  # fmt: skip
                places.append((head[0], head[1] + 0.1, head[2]))
            s, side = s + self.uniform(22.0, 32.0), -side
        return torch.tensor(places, dtype=torch.float64).float().view(-1, 3)

    def parked_cars(self, side: float, begin: float, end: float) -> None:
        """Park cars in the bays on one side."""
        s = begin
        while s < end:
            if self.chance(0.4):
                x, z, heading = self.place(s + 3.0, side * self.uniform(3.95, 4.05))
                yaw = heading + (math.pi if side < 0 else 0.0)
                if self.clear(x, z, yaw, (0.9, 2.2), 2.6):
                    self.movers.car(Place((x, CAMERA_HEIGHT, z), yaw))
            s += 6.0
