"""A town street: bends, houses with windows, trees, lamp posts, parked and moving cars, a car-borne camera."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vo3d.world.paints import MATERIAL_SIZE, Road, bodywork, facade, foliage, mottled, roof
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BALL, BOX, CYLINDER, PLANE
from vo3d.world.roads import RoadLine, drive, random_line, road_map, with_shadows
from vo3d.world.scene import Dice, Scene, SolidList
from vo3d.world.sensor import Sensor
from vo3d.world.textures import noise_lattice
from vo3d.world.times import drawn_time, outdoor_light
from vo3d.world.visit import Seeds, Visit

CAMERA_HEIGHT = 1.65  # metres above the road, as KITTI's; the first camera is the origin, so the ground is y = 1.65
LANE, KERB, WALK = 3.0, 5.0, 8.0  # metres from the centre line
OWN_LANE = 1.5  # metres to the right of the centre line
BEFORE, AFTER = 60.0, 200.0  # metres of road behind the first and ahead of the last view
SHARPEST = 12.5  # metres: radius of the tightest turn of the centre line
SLOWEST, FASTEST = 2.5, 15.0  # m/s
KNOT = 0.2  # seconds between the camera's control points
VIEW_RANGE = 170.0  # metres
GROUND, WALL, ROOF, ROUGH, LEAVES, CAR = range(6)  # the scene's paints


def build(seeds: Seeds, frames: int, sensor: Sensor, visit: Visit) -> Scene:
    """Build a street that is long enough for `frames` views."""
    generator = torch.Generator().manual_seed(seeds.place)
    duration = (frames - 1) / sensor.rate
    line = random_line(generator, BEFORE, FASTEST * duration + AFTER, SHARPEST)
    times = torch.arange(-6, math.ceil(duration / KNOT) + 8, dtype=torch.float64) * KNOT
    driven = drive(generator, line, BEFORE, times, SLOWEST, FASTEST)
    camera, start = _camera(generator, line, times, driven)
    line = replace(line, point=line.point - start)
    solids = SolidList(MATERIAL_SIZE)
    solids.add(PLANE, (0.0, CAMERA_HEIGHT, 0.0), (1.0, 1.0, 1.0), paint=GROUND)
    end = float(driven[-1]) + AFTER
    street = _Street(generator, line, solids)
    street.houses(10.0, end)
    street.trees(12.0, end)
    lamps = street.lamps(20.0, end)
    street.parked_cars(14.0, end)
    movers = street.moving_cars(times, driven)
    time = drawn_time(visit.time, seeds.time)
    built, light, low_sun = solids.build(), outdoor_light(time, seeds.time), time == "low-sun"
    ground_map = road_map(line, 16.0)
    if not low_sun:  # whose long shadows fall on walls too, and are found pixel by pixel
        still = built.select((built.object == 0).nonzero()[:, 0])
        ground_map = with_shadows(ground_map, still, CAMERA_HEIGHT, light.to_sun)
    ground = Road(line, ground_map, LANE, KERB, WALK)
    return Scene(
        solids=built,
        paints=(ground, facade, roof, mottled, foliage, bodywork),
        light=light,
        camera=camera,
        movers=movers,
        lattice=noise_lattice(generator),
        view_range=VIEW_RANGE,
        shadows=low_sun,
        lamps=lamps,
    )


def _camera(generator: torch.Generator, line: RoadLine, times: Tensor, driven: Tensor) -> tuple[RigidPath, Tensor]:
    """Drive a camera in the right lane, shaking like a car, and the x, z of its start, which becomes the origin."""
    x, z, heading = line.at(driven, OWN_LANE).unbind(1)
    fade = ((times - 0.6) / 2).clamp(0, 1)  # level at first: the world's axes are those of the first view
    shake = torch.randn(4, len(times), generator=generator, dtype=torch.float64) * fade
    height, pitch, roll = 0.012 * shake[0], 0.004 * shake[1], 0.004 * shake[2]
    sway = 0.15 * torch.sin(times * 0.7 + 6 * torch.rand((), generator=generator)) * fade
    x, z = x + sway * heading.cos(), z - sway * heading.sin()
    control = torch.stack((x, height, z, heading, pitch, roll), 1)
    spline = Spline(control, float(times[0]), KNOT)
    start = spline(torch.zeros(1, dtype=torch.float64))[0, :3]
    control[:, :3] -= start
    return RigidPath(spline), start[::2]


WALLS = ((0.62, 0.52, 0.36), (0.70, 0.66, 0.56), (0.45, 0.20, 0.13), (0.55, 0.36, 0.24), (0.66, 0.60, 0.50),
         (0.50, 0.52, 0.50), (0.62, 0.40, 0.28), (0.72, 0.62, 0.40), (0.36, 0.16, 0.11),
         (0.52, 0.58, 0.62))  # fmt: skip
BODIES = ((0.55, 0.56, 0.58), (0.03, 0.03, 0.035), (0.75, 0.75, 0.74), (0.35, 0.03, 0.03), (0.04, 0.08, 0.25),
          (0.20, 0.21, 0.22), (0.05, 0.16, 0.10), (0.45, 0.40, 0.30))  # fmt: skip


@dataclass
class _Street(Dice):
    """Puts things along the line; every position is drawn from one generator, in a fixed order."""

    line: RoadLine
    solids: SolidList

    def choose(self, options: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
        return options[int(torch.randint(len(options), (), generator=self.generator))]

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
        return float(self.line.distance(points).min()) > gap

    def houses(self, begin: float, end: float) -> None:
        """Build two rows of houses that follow the road, with gaps, and taller blocks behind some."""
        for side in (-1.0, 1.0):
            s = begin
            while s < end:
                width, depth = self.uniform(8.0, 18.0), self.uniform(8.0, 12.0)
                setback = WALK + (0.3 if self.chance(0.6) else self.uniform(1.5, 5.0))
                x, z, heading = self.place(s + width / 2, side * (setback + depth / 2))
                if self.clear(x, z, heading, (depth / 2, width / 2), WALK - 0.5):
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
                        material=material, yaw=yaw)  # fmt: skip
        tile = self.choose(((0.30, 0.12, 0.07), (0.22, 0.10, 0.07), (0.12, 0.12, 0.13), (0.36, 0.18, 0.10)))
        covered = (*tile, *wall, 0.3, 0.8, seed, 0.35)
        if self.chance(0.65):
            # A gable: a square beam turned by 45 degrees about its length, half sunk into the house.
            cos, sin, h = math.cos(yaw), math.sin(yaw), math.sqrt(0.5)
            turned = (cos * h, cos * h, sin, -h, h, 0.0, -sin * h, -sin * h, cos)
            edge = (depth / 2 + 0.4) * h
            self.solids.add(BOX, (x, ground - height + 0.25, z), (edge, edge, width / 2 - 0.02), paint=ROOF,
                            material=covered, rotation=turned)  # fmt: skip
        else:
            self.solids.add(BOX, (x, ground - height - 0.15, z), (depth / 2 + 0.3, 0.25, width / 2 + 0.3), paint=ROUGH,
                            material=(0.42, 0.41, 0.39, 0.36, 0.35, 0.33, 0.15, 1.0, seed), yaw=yaw)  # fmt: skip

    def trees(self, begin: float, end: float) -> None:
        """Plant trees on the side walks, and bushes behind them."""
        for side in (-1.0, 1.0):
            s = begin + self.uniform(0.0, 10.0)
            while s < end:
                x, z, heading = self.place(s, side * self.uniform(6.0, 6.6))
                if self.chance(0.7) and self.clear(x, z, heading, (1.0, 1.0), KERB - 0.4):
                    self.tree(x, z)
                s += self.uniform(8.0, 26.0)

    def tree(self, x: float, z: float) -> None:
        trunk, size, seed = self.uniform(2.2, 3.4), self.uniform(1.2, 2.0), self.uniform(0.0, 1.0)
        ground = CAMERA_HEIGHT
        bark = (0.14, 0.10, 0.07, 0.22, 0.19, 0.15, 0.45, 0.25, seed)
        self.solids.add(CYLINDER, (x, ground - trunk / 2 - 0.4, z), (0.09 * size, trunk / 2 + 0.4, 0.09 * size),
                        paint=ROUGH, material=bark)  # fmt: skip
        tone = self.uniform(0.8, 1.25)
        leaves = (0.05 * tone, 0.12 * tone, 0.025, 0.16 * tone, 0.22 * tone, 0.06, 0.75, 0.55, seed)
        self.solids.add(BALL, (x, ground - trunk - size, z), (size, size * 1.1, size), paint=LEAVES, material=leaves)
        for number in range(4):
            angle, radius = number * 1.6 + 6 * seed, size * self.uniform(0.5, 0.75)
            centre = (x + 0.7 * size * math.cos(angle), ground - trunk - size * self.uniform(0.5, 1.5),
                      z + 0.7 * size * math.sin(angle))  # fmt: skip
            self.solids.add(BALL, centre, (radius, radius, radius), paint=LEAVES, material=leaves)

    def lamps(self, begin: float, end: float) -> Tensor:
        """Set up lamp posts with an arm over the road; return where their lamps are, shape l 3."""
        s, side = begin, 1.0
        places = []
        steel = (0.20, 0.22, 0.22, 0.26, 0.27, 0.27, 0.2, 0.5)
        while s < end:
            x, z, heading = self.place(s, side * 5.5)
            if self.clear(x, z, heading, (0.2, 0.2), KERB - 0.2):
                ground, inward = CAMERA_HEIGHT, -side
                self.solids.add(CYLINDER, (x, ground - 3.2, z), (0.07, 3.2, 0.07), paint=ROUGH, material=steel)
                self.solids.add(CYLINDER, (x, ground - 0.5, z), (0.12, 0.5, 0.12), paint=ROUGH, material=steel)
                arm = (x + inward * 0.8 * math.cos(heading), ground - 6.4, z - inward * 0.8 * math.sin(heading))
                self.solids.add(BOX, arm, (0.9, 0.05, 0.06), paint=ROUGH, material=steel, yaw=heading)
                head = (x + inward * 1.6 * math.cos(heading), ground - 6.36, z - inward * 1.6 * math.sin(heading))
                self.solids.add(BOX, head, (0.4, 0.08, 0.14), paint=ROUGH, material=(*steel, 0.0, 1.0), yaw=heading)
                places.append((head[0], head[1] + 0.1, head[2]))
            s, side = s + self.uniform(22.0, 32.0), -side
        return torch.tensor(places, dtype=torch.float64).float().view(-1, 3)

    def parked_cars(self, begin: float, end: float) -> None:
        """Park cars in the bays on both sides."""
        for side in (-1.0, 1.0):
            s = begin
            while s < end:
                if self.chance(0.4):
                    x, z, heading = self.place(s + 3.0, side * self.uniform(3.95, 4.05))
                    yaw = heading + (math.pi if side < 0 else 0.0)
                    if self.clear(x, z, yaw, (0.9, 2.2), 2.6):
                        self.car((x, CAMERA_HEIGHT, z), yaw, 0)
                s += 6.0

    def car(self, ground: tuple[float, float, float], yaw: float, object_id: int) -> None:
        """Add a car whose wheels stand on the point `ground`: in the world, or in the axes of a moving object."""
        colour, seed = self.choose(BODIES), self.uniform(0.0, 1.0)
        length, width, tall = self.uniform(1.9, 2.2), self.uniform(0.82, 0.9), self.uniform(1.35, 1.6)
        cos, sin = math.cos(yaw), math.sin(yaw)

        def add(kind: int, across: float, up: float, along: float, half: tuple[float, float, float], paint: int,
                material: tuple[float, ...], rotation: tuple[float, ...] | None = None) -> None:  # fmt: skip
            centre = (ground[0] + across * cos + along * sin, ground[1] - up, ground[2] - across * sin + along * cos)
            self.solids.add(kind, centre, half, paint=paint, material=material, yaw=yaw, rotation=rotation,
                            object_id=object_id)  # fmt: skip

        body = (*colour, 0.0, 0.0, 0.0, 0.0, 1.0, seed, 0.0, float(object_id > 0))  # a driven car has its lamps on
        cabin = (*colour, 0.0, 0.0, 0.0, 0.0, 1.0, seed, 1.0)
        middle = 0.95
        add(BOX, 0.0, (0.25 + middle) / 2, 0.0, (width, (middle - 0.25) / 2, length), CAR, body)
        add(BOX, 0.0, (middle + tall) / 2, -0.25, (width - 0.1, (tall - middle) / 2, length * 0.55), CAR, cabin)
        tyre = (0.025, 0.025, 0.025, 0.05, 0.05, 0.05, 0.3, 0.3, seed)
        on_side = (0.0, cos, sin, -1.0, 0.0, 0.0, 0.0, -sin, cos)  # the cylinder's axis lies across the car
        for across in (-1.0, 1.0):
            for along in (-0.62, 0.64):
                add(CYLINDER, across * (width - 0.08), 0.32, along * length, (0.32, 0.1, 0.32), ROUGH, tyre, on_side)

    def moving_cars(self, times: Tensor, driven: Tensor) -> RigidPath:
        """Add, often, a car that keeps its distance ahead of the camera; oncoming ones, all of one speed."""
        paths = []
        if self.chance(0.7):
            gap = 22 + 8 * torch.sin(times * 0.11 + self.uniform(0.0, 6.0)) + self.uniform(0.0, 8.0)
            paths.append((driven + gap, OWN_LANE, 0.0))
        start, speed = float(driven[0]), self.uniform(5.0, 11.0)
        for number in range(max(1, int((float(driven[-1]) - start) / 45))):
            meeting = start + (number + self.uniform(0.3, 0.7)) * 45
            when = float(times[int(torch.searchsorted(driven, meeting).clamp(max=len(times) - 1))])
            paths.append((meeting - speed * (times - when), -OWN_LANE, math.pi))
        states = []
        for number, (s, lateral, turn) in enumerate(paths, start=1):
            x, z, heading = self.line.at(s, lateral).unbind(1)
            flat = torch.zeros_like(x)
            states.append(torch.stack((x, flat + CAMERA_HEIGHT, z, heading + turn, flat, flat), 1))
            self.car((0.0, 0.0, 0.0), 0.0, number)
        return RigidPath(Spline(torch.cat(states, 1), float(times[0]), KNOT))
