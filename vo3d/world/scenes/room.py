"""A furnished room: walls with pictures, a window, shelves, tables, chairs, a sofa, lamps; a camera in a hand."""

import math
from dataclasses import dataclass, replace

from vo3d.world.furniture import (
    BIRCH,
    BLACK,
    BOARDS,
    CLOTH,
    CLOTHS,
    GREY,
    OAK,
    PLAIN,
    RUG,
    STEEL,
    TILED,
    WALLPAPER,
    WALNUT,
    WHITE,
    Furniture,
    Spot,
    Triple,
    moved_by,
)
from vo3d.world.paints import MATERIAL_SIZE, foliage
from vo3d.world.photographs import Pictures, photographs
from vo3d.world.primitives import BALL, BOX, CYLINDER
from vo3d.world.room_paints import LampShade, book, painting, parquet, plain, rug, tiles, timber, wallpaper
from vo3d.world.room_path import Space, wander
from vo3d.world.room_things import LARGE, SMALL, cushion, scatter
from vo3d.world.room_times import MAKERS, Window, lit_room
from vo3d.world.scene import Dice, Paint, Scene, SolidList, generator_of
from vo3d.world.sensor import Sensor
from vo3d.world.table_paints import printed, speckled
from vo3d.world.textures import noise_lattice
from vo3d.world.visit import Seeds, Visit

OBEYS = ("place_seed", "time_seed", "movers_seed", "path_seed", "time", "photographs")
TIMES = tuple(MAKERS)
FLOOR = 1.5  # metres from the world's origin down to the floor
THICK = 0.16  # metres: the walls
BESIDE = 0.95  # metres from the walls to where the camera goes
VIEW_RANGE = 20.0  # metres
NICHE = 1.3  # metres of the hall behind the door
WINDOW, SHELVES, DOOR, SOFA = range(4)  # what the walls are for, in their order around the room


def build(seeds: Seeds, frames: int, sensor: Sensor, visit: Visit) -> Scene:
    """Build a room, put its things where this visit finds them, and lead a camera through it."""
    solids = SolidList(MATERIAL_SIZE)
    place = Dice(generator_of(seeds.place, "room"))
    room = _Room(place.generator, solids, FLOOR, movers=Dice(generator_of(seeds.movers, "things")), visit=visit)
    room.build_walls()
    room.furnish()
    built = solids.build()
    light, indoors, glow = lit_room(seeds.time, visit.time, room.window, room.lamps, room.extent, built)
    paints: list[Paint] = [plain, timber, wallpaper, tiles, book, painting, rug, parquet, speckled, foliage,
                           LampShade(glow), printed]  # fmt: skip
    if visit.photographs:
        paints.append(Pictures(photographs().pictures))
    width, length = room.width / 2, room.length / 2
    space = Space((width - BESIDE, length - BESIDE), (width, length), FLOOR)
    return Scene(
        solids=built,
        paints=tuple(paints),
        light=light,
        camera=wander(seeds.path, space, (frames - 1) / sensor.rate, sensor.rate),
        movers=None,
        lattice=noise_lattice(generator_of(seeds.place, "noise")),
        view_range=VIEW_RANGE,
        indoors=indoors,
    )


@dataclass
class _Room(Furniture):
    """Builds the walls of a room and puts furniture beside them."""

    movers: Dice = None  # type: ignore[assignment]
    visit: Visit = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.width, self.length = self.uniform(3.8, 4.5), self.uniform(4.6, 5.4)
        self.height = self.uniform(2.5, 2.7)
        self.turns, self.mirror = int(self.uniform(0.0, 3.999)), 1 if self.chance(0.5) else -1
        self.frame_wood = self.choose((WHITE, WHITE, OAK, WALNUT))
        self.extent = (
            (-self.width / 2, FLOOR - self.height, -self.length / 2),
            (self.width / 2, FLOOR, self.length / 2),
        )

    def wall(self, role: int) -> tuple[Spot, float]:
        """Return the spot at the foot of a wall's middle, inside the room, and the wall's length."""
        side = (self.turns + self.mirror * role) % 4
        away, length = (self.length, self.width) if side % 2 == 0 else (self.width, self.length)
        yaw = side * math.pi / 2
        return Spot(away / 2 * math.sin(yaw), away / 2 * math.cos(yaw), yaw), length

    def u(self, along: float) -> float:
        """Return a coordinate along a wall, mirrored where the room is."""
        return self.mirror * along

    def build_walls(self) -> None:
        """Build floor, ceiling and walls, with window and door."""
        self._floor_and_ceiling()
        tones: tuple[Triple, ...] = ((0.66, 0.64, 0.59), (0.50, 0.55, 0.50), (0.56, 0.60, 0.64), (0.62, 0.55, 0.44),
                                     (0.58, 0.46, 0.40), (0.68, 0.66, 0.63))  # fmt: skip
        base = self.shaded(WHITE, tones)
        papered = int(self.uniform(0.0, 3.999))
        skirting = self.choose((WHITE, WHITE, OAK, BIRCH))
        for role in range(4):
            second = tuple(c * self.uniform(0.55, 0.8) for c in self.shaded(WHITE, (*tones, *CLOTHS)))
            spot, length = self.wall(role)
            pattern = (float(int(self.uniform(0.0, 2.999))), self.uniform(0.14, 0.34))
            other = self.chance(0.35)
            paper = role == papered or (other and role == (papered + 2) % 4)
            material = (*base, *second, 0.1, 0.05, self.uniform(0.0, 1.0))
            hole = self._hole(role, length)
            for left, right, low, high in _around(hole, length / 2 + THICK, self.height):
                u, up = (left + right) / 2, (low + high) / 2
                own = (*material, *pattern, u, -up) if paper else self.smooth(base, 0.05, 0.12)
                self.add(BOX, spot.at(u, up, THICK / 2), ((right - left) / 2, (high - low) / 2, THICK / 2),
                         WALLPAPER if paper else PLAIN, own)  # fmt: skip
            for left, right, low, _ in _around(hole, length / 2, self.height):
                if low == 0 and (hole is None or hole[2] > 0 or right <= hole[0] or left >= hole[1]):
                    strip = (right - left, 0.08, 0.015)
                    self.board(spot.at((left + right) / 2, 0.0, -0.0075), strip, skirting)  # type: ignore[arg-type]
            if role == WINDOW:
                self._window(spot, hole)  # type: ignore[arg-type]
            if role == DOOR:
                self._door(spot, hole)  # type: ignore[arg-type]

    def _hole(self, role: int, length: float) -> tuple[float, float, float, float] | None:
        """Return left, right, low and high of the hole in a wall, metres, or None."""
        if role == WINDOW:
            half, middle = self.uniform(0.65, 0.95), self.uniform(-0.25, 0.25)
            return middle - half, middle + half, self.uniform(0.82, 0.95), self.height - self.uniform(0.25, 0.4)
        if role == DOOR:
            middle = self.u(length / 2 - self.uniform(0.75, 0.95))
            return middle - 0.44, middle + 0.44, 0.0, 2.02
        return None

    def _floor_and_ceiling(self) -> None:
        half = (self.width / 2 + THICK, 0.1, self.length / 2 + THICK)
        kind, seed = self.uniform(0.0, 1.0), self.uniform(0.0, 1.0)
        first = self.shaded(OAK, (OAK, WALNUT, PINE_FLOOR, BIRCH))
        dark = tuple(0.8 * c for c in first)
        if kind < 0.65:
            angle = 0.0 if self.chance(0.5) else math.pi / 2
            paint, material = BOARDS, (*first, *dark, 0.22, 0.02, seed, angle, self.uniform(0.1, 0.2))
        elif kind < 0.85:
            tone = self.shaded(WHITE, ((0.45, 0.42, 0.38), (0.35, 0.25, 0.18), (0.30, 0.31, 0.32)))
            paint, material = TILED, (*tone, *(0.6 * c for c in tone), 0.14, 0.1, seed, self.uniform(0.25, 0.45), 0.006)
        else:
            paint, material = CLOTH, (*self.cloth(self.shaded(GREY, CLOTHS), 0.012),)
        self.solids.add(BOX, (0.0, FLOOR + 0.1, 0.0), half, paint=paint, material=material)
        ceiling = (0.0, FLOOR - self.height - 0.1, 0.0)
        self.solids.add(BOX, ceiling, half, paint=PLAIN, material=self.smooth((0.74, 0.73, 0.71), 0.03, 0.2))

    def _window(self, spot: Spot, hole: tuple[float, float, float, float]) -> None:
        """Put a frame with bars into a window, a sill and a radiator below it, curtains beside it."""
        left, right, low, high = hole
        u, up, wide, tall = (left + right) / 2, (low + high) / 2, right - left, high - low
        depth = 0.6 * THICK
        for x in (left + 0.03, u, right - 0.03):
            self.board(spot.at(x, low, depth), (0.06, tall, 0.05), WHITE)
        for y in (low, high - 0.06, low + 0.68 * tall):
            self.board(spot.at(u, y, depth), (wide, 0.06, 0.045), WHITE)
        self.board(spot.at(u, low - 0.035, -0.03), (wide + 0.16, 0.035, 0.28), WHITE)
        fins = int(wide * 0.8 / 0.07)
        for number in range(fins):
            x = u + (number - (fins - 1) / 2) * 0.07
            self.box(spot.at(x, 0.14, -0.07), (0.05, 0.52, 0.08), PLAIN, self.smooth(WHITE))
        colour = self.shaded(GREY, (*CLOTHS, (0.60, 0.57, 0.50), (0.62, 0.60, 0.56)))
        rod = high + 0.1
        turned = spot.at(u, rod, -0.1)
        self.add(CYLINDER, turned, (0.012, wide / 2 + 0.45, 0.012), PLAIN, self.smooth(BLACK), roll=math.pi / 2)
        for side in (-1, 1):
            broad = self.uniform(0.28, 0.42)
            self.curtain(spot.at(u + side * (wide / 2 + 0.36 - broad / 2), 0.04, -0.1), broad, rod - 0.05, colour)
        self.window = Window(spot.at(u, up, 0.0), FLOOR, wide / 2, tall / 2)

    def _door(self, spot: Spot, hole: tuple[float, float, float, float]) -> None:
        """Hang a door into its frame, more or less open towards a hall."""
        left, right, _, high = hole
        colour: Triple = self.frame_wood  # type: ignore[assignment]
        middle, wide = (left + right) / 2, right - left
        for x in (left - 0.02, right + 0.02):
            self.board(spot.at(x, 0.0, THICK / 2 - 0.01), (0.08, high + 0.06, THICK + 0.04), colour)
        self.board(spot.at(middle, high, THICK / 2 - 0.01), (wide, 0.06, THICK + 0.04), colour)
        angle = -self.movers.choose(((0.0,), (0.0,), (0.35,), (0.8,), (1.25,)))[0] - self.movers.uniform(0.0, 0.12)
        wide -= 0.06
        hinge = spot.at(left + 0.03, 0.0, THICK - 0.02, angle)
        leaf = hinge.at(wide / 2, 0.01, 0.0)
        self.board(leaf, (wide, high - 0.03, 0.04), colour)
        for low, tall in ((0.2, 0.65), (1.0, 0.85)):
            self.board(leaf.at(0.0, low, -0.022), (wide - 0.24, tall, 0.012), colour)
        handle = leaf.at(wide / 2 - 0.07, 1.02, -0.05)
        self.add(CYLINDER, handle.at(-0.05, 0.0, 0.0), (0.01, 0.06, 0.01), PLAIN, self.smooth(STEEL), roll=math.pi / 2)
        self.add(CYLINDER, handle.at(0.0, 0.0, 0.01), (0.01, 0.03, 0.01), PLAIN, self.smooth(STEEL), pitch=math.pi / 2)
        hall = self.smooth((0.60, 0.57, 0.50))
        for x in (left - 0.55, right + 0.25):
            self.box(spot.at(x, -0.1, THICK + NICHE / 2), (0.1, self.height, NICHE), PLAIN, hall)
        self.box(spot.at(middle - 0.15, -0.1, THICK + NICHE), (wide + 0.9, self.height, 0.1), PLAIN, hall)
        self.box(spot.at(middle - 0.15, -0.1, THICK + NICHE / 2), (wide + 0.9, 0.1, NICHE), PLAIN,
                 self.smooth((0.30, 0.24, 0.18)))  # fmt: skip
        self.box(spot.at(middle - 0.15, 2.3, THICK + NICHE / 2), (wide + 0.9, 0.1, NICHE), PLAIN, hall)

    def furnish(self) -> None:
        """Put everything into the room."""
        small, large = [], []
        for part in (self._desk, self._shelves, self._dining, self._sitting):
            spots, floor_spots = part()
            small += spots
            large += floor_spots
        self.ceiling_lamp(Spot(self.uniform(-0.3, 0.3), self.uniform(-0.4, 0.4), 0.0, self.height), 0.36)
        if self.chance(0.8):
            size = (self.uniform(1.4, 1.9), 0.012, self.uniform(2.0, 2.5))
            first, second = self.shaded(GREY, CLOTHS), self.shaded(WHITE, (*CLOTHS, (0.6, 0.55, 0.45)))
            material = (*first, *second, 0.5, 0.015, self.uniform(0.0, 1.0), 0.12, self.uniform(0.16, 0.3))
            self.box(
                Spot(self.uniform(-0.2, 0.2), self.uniform(-0.3, 0.3), self.uniform(-0.08, 0.08)), size, RUG, material
            )
        scatter(self, self.movers, SMALL, small)
        scatter(self, self.movers, LARGE, large)

    def _desk(self) -> tuple[list[Spot], list[Spot]]:
        """Put a desk with its chair and lamp to one side of the window, a plant to the other."""
        spot, length = self.wall(WINDOW)
        x = self.u(length / 2 - 0.85)
        wide = self.uniform(1.2, 1.4)
        self.table(spot.at(x, 0.0, -0.5), wide, 0.65, 0.74)
        self.table_lamp(spot.at(x + self.u(wide / 2 - 0.18), 0.74, -0.33))
        self.chair(spot).stand(moved_by(spot.at(x, 0.0, -0.95, math.pi), self.movers, 0.12, 0.5))
        self.plant(spot.at(self.u(0.4 - length / 2), 0.0, -0.42), self.uniform(0.8, 1.5))
        tops = [spot.at(x + self.u(side), 0.74, -0.45, self.uniform(-0.2, 0.2)) for side in (-0.45, -0.1, 0.2)]
        sill = self.window.foot
        tops += [replace(sill.at(side * 0.4, 0.0, -0.05), up=sill.up - self.window.tall) for side in (-1, 1)]
        return tops, [spot.at(self.u(0.95 - length / 2), 0.0, -0.4)]

    def _shelves(self) -> tuple[list[Spot], list[Spot]]:
        """Put a bookcase and a cupboard against a wall, a picture above."""
        spot, length = self.wall(SHELVES)
        wide = self.uniform(1.2, 1.7)
        x = self.u(0.3 + wide / 2 - length / 2)
        tops = self.shelf(spot.at(x, 0.0, 0.0), wide, self.uniform(1.9, 2.2))
        broad = min(self.uniform(1.2, 1.6), length - wide - 0.7)
        x += self.u(wide / 2 + broad / 2 + 0.15)
        tall = self.uniform(0.75, 0.95)
        self.cupboard(spot.at(x, 0.0, 0.0), broad, tall)
        self._pictures(spot, x - broad / 2, x + broad / 2, tall + 0.25, 2.1)
        return [*tops, *(spot.at(x + side * broad, tall, -0.24) for side in (-0.35, 0.0, 0.35))], []

    def _dining(self) -> tuple[list[Spot], list[Spot]]:
        """Put a table with chairs against the wall beside the door, pictures above."""
        spot, length = self.wall(DOOR)
        x, wide = self.u(0.95 - length / 2), self.uniform(1.15, 1.35)
        self.table(spot.at(x, 0.0, -0.45), wide, 0.75, 0.75, round_legs=self.chance(0.4))
        for side in (-0.3, 0.3):
            home = spot.at(x + side, 0.0, -0.9, math.pi)
            out = self.movers.uniform(0.0, 0.3) if self.movers.chance(0.6) else 0.05
            self.chair(spot).stand(moved_by(home.at(0.0, 0.0, out), self.movers, 0.05, 0.35))
        self._pictures(spot, x - 0.7, x + 0.7, 1.15, 2.1)
        self._clock(spot.at(self.u(length / 2 - 1.6), 1.95, 0.0))
        tops = [spot.at(x + side, 0.75, back) for side, back in ((-0.4, -0.3), (0.0, -0.35), (0.4, -0.3), (-0.2, -0.6))]
        return tops, [spot.at(self.u(length / 2 - 1.75), 0.0, -0.35)]

    def _sitting(self) -> tuple[list[Spot], list[Spot]]:
        """Put a sofa with cushions, a low table and a standing lamp against a wall, pictures above."""
        spot, _ = self.wall(SOFA)
        wide = self.uniform(1.7, 2.1)
        x = self.u(self.uniform(-0.1, 0.25))
        self.sofa(spot.at(x, 0.0, -0.04), wide)
        places = [spot.at(x + (number - 1.5) * (wide - 0.75) / 3, 0.45, -0.42) for number in range(4)]
        scatter(self, self.movers, (cushion,) * 3, places)
        self._pictures(spot, x - 0.9, x + 0.9, 1.25, 2.15)
        self.standing_lamp(spot.at(x - self.u(wide / 2 + 0.35), 0.0, -0.35))
        low = spot.at(x + self.uniform(-0.2, 0.2), 0.0, -1.45)
        self.table(low, 0.95, 0.5, 0.42, round_legs=True)
        tops = [low.at(side, 0.42, 0.0) for side in (-0.28, 0.02, 0.3)]
        return tops, [spot.at(x + self.u(wide / 2 + 0.35), 0.0, -0.4)]

    def _pictures(self, spot: Spot, left: float, right: float, low: float, high: float) -> None:
        """Hang one to three pictures side by side between heights."""
        count = int(self.uniform(1.0, 3.99))
        each, tall = (right - left) / count, high - low
        for number in range(count):
            wide, high_ = self.uniform(0.55, 0.8) * each, self.uniform(0.6, 0.95) * tall
            middle = spot.at(left + (number + 0.5) * each, (low + high) / 2 + self.uniform(-0.03, 0.03), 0.0)
            frame = self.choose((BLACK, WALNUT, WHITE, OAK))
            self.picture(middle, min(wide, 1.5 * high_), min(high_, 1.5 * wide), frame, self.visit.photographs)  # type: ignore[arg-type]

    def _clock(self, spot: Spot) -> None:
        """Hang a clock."""
        for radius, depth, colour in ((0.15, 0.02, BLACK), (0.135, 0.022, WHITE)):
            self.add(CYLINDER, spot.at(0.0, 0.0, -depth), (radius, depth, radius), PLAIN, self.smooth(colour),
                     pitch=math.pi / 2)  # fmt: skip
        for turn, length in ((0.9, 0.045), (-1.4, 0.06)):
            hand = spot.at(length * math.sin(turn), length * math.cos(turn), -0.046)
            self.add(BOX, hand, (0.005, length, 0.002), PLAIN, self.smooth(BLACK), roll=turn)
        self.add(BALL, spot.at(0.0, 0.0, -0.046), (0.01, 0.01, 0.006), PLAIN, self.smooth(BLACK))


PINE_FLOOR = (0.46, 0.31, 0.17)


def _around(
    hole: tuple[float, float, float, float] | None, half: float, height: float
) -> list[tuple[float, float, float, float]]:
    """Split a wall around a hole into upright rectangles: left, right, low, high."""
    if hole is None:
        return [(-half, half, 0.0, height)]
    left, right, low, high = hole
    parts = [(-half, left, 0.0, height), (right, half, 0.0, height), (left, right, high, height)]
    return [*parts, (left, right, 0.0, low)] if low > 0 else parts
