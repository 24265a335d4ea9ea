"""Things on a table, seen from a dome: boxes, cans, balls, books, piles, some leaning, before a plain background."""

import math
from dataclasses import dataclass, replace

import torch

from vo3d.geometry.rotations import axis_rotation
from vo3d.world.dome import DIFFUSE, RADIUS, dome_light
from vo3d.world.paints import MATERIAL_SIZE
from vo3d.world.path import RigidPath, Spline, knots
from vo3d.world.photographs import Pictures, photographs
from vo3d.world.posters import pictured
from vo3d.world.primitives import BALL, BOX, CYLINDER, PLANE
from vo3d.world.scene import Dice, Scene, SolidList
from vo3d.world.sensor import Sensor
from vo3d.world.table_paints import printed, speckled, wooden
from vo3d.world.textures import noise_lattice
from vo3d.world.visit import Seeds, Visit

OBEYS = ("photographs",)  # of `vo3d.world.visit.Visit`: the rest is drawn from one seed
VIEW_RANGE = 8.0  # metres
SPREAD = 0.15  # metres from the middle of the table within which things stand
TALLEST = 0.19  # metres
KNOT = 0.5  # seconds between the control points of the moving camera
SPECKLED, PRINTED, WOODEN = range(3)  # the scene's paints
Triple = tuple[float, float, float]


def build(seeds: Seeds, frames: int, sensor: Sensor, visit: Visit) -> Scene:
    """Build a table and a camera that sweeps over the dome for `frames` views."""
    generator = torch.Generator().manual_seed(seeds.place)
    solids = SolidList(MATERIAL_SIZE)
    table = _Table(generator, solids)
    table.background()
    table.top()
    table.things()
    built, light = solids.build(), dome_light(seeds.place, DIFFUSE)
    scene = Scene(
        solids=built,
        paints=(speckled, printed, wooden),
        light=light,
        camera=_sweep(generator, (frames - 1) / sensor.rate, sensor.rate),
        movers=None,
        lattice=noise_lattice(generator),
        view_range=VIEW_RANGE,
        shadows=True,
    )
    return _photographed(scene, seeds.place) if visit.photographs else scene


def _photographed(scene: Scene, seed: int) -> Scene:
    """Return the table with pictures on its printed boxes and books, not on the board."""
    solids = scene.solids
    boxes = (solids.kind == BOX) & (solids.paint == PRINTED) & (solids.half.amax(1) < SPREAD)
    solids = pictured(solids, boxes, len(scene.paints), Dice(torch.Generator().manual_seed(seed)))
    return replace(scene, solids=solids, paints=(*scene.paints, Pictures(photographs().pictures)))


def _sweep(generator: torch.Generator, duration: float, rate: float) -> RigidPath:
    """Swing a hand-held camera over the dome that looks at the table."""
    times = knots(duration, rate, KNOT)
    phase = 6.3 * torch.rand(2, generator=generator, dtype=torch.float64)
    azimuth = 0.9 * torch.sin(0.31 * times + phase[0])
    elevation = 0.82 + 0.36 * torch.sin(0.17 * times + phase[1])
    position = (
        torch.stack((azimuth.sin() * elevation.cos(), -elevation.sin(), -azimuth.cos() * elevation.cos()), 1) * RADIUS
    )
    angles = torch.stack((-azimuth, -elevation, torch.zeros_like(times)), 1)
    return RigidPath(Spline(torch.cat((position, angles), 1), float(times[0]), KNOT))


@dataclass
class _Table(Dice):
    """Puts things on a table; everything is drawn from one generator, in a fixed order."""

    solids: SolidList

    def colour(self) -> Triple:
        """Draw a colour: grey to vivid, dark to light."""
        hue, vivid, value = self.uniform(0.0, 3.0), self.uniform(0.0, 0.9) ** 1.3, self.uniform(0.12, 0.75)
        channels = [1 - vivid * min(1.0, abs((hue - i + 1.5) % 3 - 1.5)) for i in range(3)]
        return value * channels[0], value * channels[1], value * channels[2]

    def material(self) -> tuple[int, tuple[float, ...]]:
        """Draw a paint and its numbers: mostly rich in texture, some moderate, a few poor."""
        first, second = self.colour(), self.colour()
        draw, seed = self.uniform(0.0, 1.0), self.uniform(0.0, 1.0)
        rich = 0.08 + 0.2 * self.uniform(0.0, 1.0) if draw > 0.88 else (0.5 if draw > 0.65 else 1.0)
        kind = self.uniform(0.0, 1.0)
        if kind < 0.45:
            return PRINTED, (*first, *second, 0.9 * rich, 0.03, seed, self.uniform(-0.6, 0.6),
                             self.uniform(0.012, 0.035), self.uniform(0.0, 0.5), self.uniform(0.3, 1.0))  # fmt: skip
        if kind < 0.85:
            return SPECKLED, (*first, *second, rich * self.uniform(0.5, 0.9), self.uniform(0.02, 0.08), seed)
        return WOODEN, self.wood(0.03, rich)

    def wood(self, board: float, rich: float) -> tuple[float, ...]:
        tone = self.uniform(0.25, 0.65)
        return (tone, 0.68 * tone, 0.42 * tone, 0.55 * tone, 0.34 * tone, 0.19 * tone, 0.5 * rich,
                self.uniform(0.012, 0.03), self.uniform(0.0, 1.0), self.uniform(0.0, 3.1), board)  # fmt: skip

    def background(self) -> None:
        """Add a floor, and walls behind, or nothing."""
        if self.chance(0.2):
            return
        dark = self.uniform(0.05, 0.6)
        first, second = self.colour(), self.colour()
        cloth = (*(dark * c for c in first), *(dark * c for c in second), self.uniform(0.1, 0.7),
                 self.uniform(0.1, 0.5), self.uniform(0.0, 1.0))  # fmt: skip
        self.solids.add(PLANE, (0.0, self.uniform(0.3, 0.75), 0.0), (1.0, 1.0, 1.0), paint=SPECKLED, material=cloth)
        if self.chance(0.6):
            wall = (
                *self.colour(),
                *self.colour(),
                self.uniform(0.1, 0.5),
                self.uniform(0.1, 0.4),
                self.uniform(0.0, 1.0),
            )
            yaw, far = self.uniform(-0.4, 0.4), self.uniform(1.0, 2.0)
            upright = axis_rotation(0, torch.tensor(math.pi / 2, dtype=torch.float64))  # the plane's -y becomes -z
            for turn in (-math.pi / 2, 0.0, math.pi / 2):
                angle = yaw + turn
                facing = axis_rotation(1, torch.tensor(angle, dtype=torch.float64)) @ upright
                centre = (far * math.sin(angle), 0.0, far * math.cos(angle))
                self.solids.add(PLANE, centre, (1.0, 1.0, 1.0), paint=SPECKLED, material=wall,
                                rotation=facing.flatten().tolist())  # fmt: skip

    def top(self) -> None:
        """Add the table's board, sometimes round, and sometimes a cloth or a sheet of paper on it."""
        half = (self.uniform(0.19, 0.26), 0.015, self.uniform(0.18, 0.23))
        draw = self.uniform(0.0, 1.0)
        paint, material = (WOODEN, self.wood(self.uniform(0.06, 0.15), 0.9)) if draw < 0.45 else self.material()
        if paint == PRINTED:  # larger than on things
            material = (*material[:10], 1.8 * material[10], *material[11:])
        kind = CYLINDER if self.chance(0.25) else BOX
        self.solids.add(kind, (0.0, half[1], 0.0), half, paint=paint, material=material, yaw=self.uniform(-0.4, 0.4))
        if self.chance(0.35):
            paint, material = self.material()
            centre = (self.uniform(-0.05, 0.05), -0.0005, self.uniform(-0.05, 0.05))
            sheet = (self.uniform(0.06, 0.11), 0.0005, self.uniform(0.06, 0.11))
            self.solids.add(BOX, centre, sheet, paint=paint, material=material, yaw=self.uniform(-1.5, 1.5))

    def things(self) -> list[Triple]:
        """Put four to ten things on discs of the table that do not overlap; return the discs: x, z, radius, metres."""
        placed: list[Triple] = []
        wanted = int(self.uniform(4.0, 10.99))
        makers = (self.box, self.can, self.ball, self.pile, self.books, self.house, self.plant, self.leaning)
        for _ in range(40 * wanted):
            if len(placed) == wanted:
                break
            size = self.uniform(0.022, 0.06)
            angle, distance = self.uniform(0.0, 2 * math.pi), SPREAD * math.sqrt(self.uniform(0.0, 1.0))
            x, z = distance * math.sin(angle), distance * math.cos(angle)
            if all(math.hypot(x - a, z - b) > size + r for a, b, r in placed):
                placed.append((x, z, size))
                makers[int(self.uniform(0.0, len(makers) - 1e-6))](x, z, size)
        return placed

    def rest(self, kind: int, x: float, z: float, half: Triple, turn: torch.Tensor, ground: float = 0.0) -> float:
        """Add a solid that rests on the height `ground` (up positive), a hair sunk in; return its height."""
        row = [float(turn[1, i]) * half[i] for i in range(3)]
        if kind == BOX:
            reach = sum(abs(value) for value in row)
        elif kind == CYLINDER:
            reach = abs(row[1]) + math.hypot(row[0], row[2])
        else:
            reach = math.hypot(*row)
        paint, material = self.material()
        up = ground + reach - 0.001
        self.solids.add(kind, (x, -up, z), half, paint=paint, material=material, rotation=turn.flatten().tolist())
        return up + reach

    def turned(self, pitch: float = 0.0, roll: float = 0.0) -> torch.Tensor:
        """Draw a rotation with a random yaw."""
        angles = torch.tensor([self.uniform(-math.pi, math.pi), pitch, roll], dtype=torch.float64)
        return axis_rotation(1, angles[0]) @ axis_rotation(0, angles[1]) @ axis_rotation(2, angles[2])

    def box(self, x: float, z: float, size: float) -> None:
        """Add a box that fills its disc."""
        angle = self.uniform(0.5, 1.07)
        half = (size * math.sin(angle), self.uniform(0.015, TALLEST / 2), size * math.cos(angle))
        self.rest(BOX, x, z, half, self.turned())

    def can(self, x: float, z: float, size: float) -> None:
        """Add a cylinder, standing or lying."""
        if self.chance(0.7):
            self.rest(CYLINDER, x, z, (size, self.uniform(0.02, TALLEST / 2), size), self.turned())
        else:
            radius = size * self.uniform(0.4, 0.65)
            self.rest(CYLINDER, x, z, (radius, 0.75 * size, radius), self.turned(roll=math.pi / 2))

    def ball(self, x: float, z: float, size: float) -> None:
        """Add a ball, or an egg that lies anyhow."""
        if self.chance(0.5):
            self.rest(BALL, x, z, (size, size, size), self.turned())
        else:
            half = (size, size * self.uniform(0.6, 0.9), size * self.uniform(0.6, 0.9))
            self.rest(BALL, x, z, half, self.turned(self.uniform(-0.6, 0.6), self.uniform(-0.6, 0.6)))

    def pile(self, x: float, z: float, size: float) -> None:
        """Pile two to four pieces on one another, each smaller than the one below."""
        top, reach = 0.0, size
        for _ in range(int(self.uniform(2.0, 4.99))):
            kind = (BOX, CYLINDER, BALL)[int(self.uniform(0.0, 2.999))]
            half = (0.7 * reach, self.uniform(0.3, 0.9) * reach, 0.7 * reach) if kind == BOX else (
                reach, reach if kind == BALL else self.uniform(0.3, 1.2) * reach, reach)  # fmt: skip
            if top + 2 * half[1] > TALLEST:
                return
            top = self.rest(kind, x, z, half, self.turned(), top)
            reach *= self.uniform(0.55, 0.85)
            if kind == BALL:
                return

    def books(self, x: float, z: float, size: float) -> None:
        """Add a stack of flat boxes, each turned its own way."""
        top = 0.0
        for _ in range(int(self.uniform(2.0, 5.99))):
            half = (size * self.uniform(0.6, 0.75), self.uniform(0.004, 0.014), size * self.uniform(0.45, 0.65))
            top = self.rest(BOX, x, z, half, self.turned(), top)

    def house(self, x: float, z: float, size: float) -> None:
        """Add a box with a gabled roof, as a model of a house."""
        turn = self.turned()
        half = (0.6 * size, self.uniform(0.6, 1.2) * size, 0.75 * size)
        top = self.rest(BOX, x, z, half, turn)
        gable = turn @ axis_rotation(2, torch.tensor(math.pi / 4, dtype=torch.float64))
        edge = 0.64 * size * math.sqrt(0.5)
        self.rest(BOX, x, z, (edge, edge, 0.76 * size), gable, top - edge * math.sqrt(2) + 0.1 * size)

    def plant(self, x: float, z: float, size: float) -> None:
        """Add a stem with a cluster of balls."""
        tall = self.uniform(0.06, 0.11)
        self.rest(CYLINDER, x, z, (0.2 * size, tall / 2, 0.2 * size), self.turned())
        self.rest(BALL, x, z, (0.6 * size, 0.6 * size, 0.6 * size), self.turned(), tall - 0.2 * size)
        for number in range(int(self.uniform(3.0, 5.99))):
            angle, radius = 2.2 * number + self.uniform(-0.5, 0.5), size * self.uniform(0.3, 0.45)
            across, up = 0.5 * size, tall + size * self.uniform(-0.2, 0.7)
            where = (x + across * math.sin(angle), z + across * math.cos(angle))
            self.rest(BALL, *where, (radius, radius, radius), self.turned(), up - radius)

    def leaning(self, x: float, z: float, size: float) -> None:
        """Add a box that stands on an edge or a corner."""
        half = (0.55 * size, self.uniform(0.3, 0.7) * size, 0.45 * size)
        self.rest(BOX, x, z, half, self.turned(self.uniform(-0.7, 0.7), self.uniform(-0.7, 0.7)))
