"""Furniture of a room, built of solids: each piece stands at a spot, its back to a wall or free in the room."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch

from vo3d.geometry.rotations import axis_rotation
from vo3d.world.meshes import Mesh, add_mesh, bent_sheet, revolved
from vo3d.world.posters import printed
from vo3d.world.primitives import BALL, BOX, CYLINDER
from vo3d.world.scene import Dice, SolidList

(PLAIN, TIMBER, WALLPAPER, TILED, BOOK, PAINTING, RUG, BOARDS, CLOTH, LEAVES, SHADE, PRINT,
 PICTURE) = range(13)  # the paints of a room  # fmt: skip
Triple = tuple[float, float, float]
OAK, WALNUT, BIRCH, PINE = ((0.42, 0.28, 0.15), (0.17, 0.095, 0.055), (0.56, 0.44, 0.29), (0.50, 0.33, 0.17))
WHITE, GREY, BLACK, STEEL = (0.70, 0.69, 0.66), (0.25, 0.25, 0.26), (0.035, 0.035, 0.04), (0.40, 0.40, 0.41)
TERRACOTTA = (0.42, 0.19, 0.11)
CLOTHS = ((0.22, 0.24, 0.27), (0.09, 0.13, 0.22), (0.40, 0.29, 0.10), (0.30, 0.11, 0.09), (0.14, 0.20, 0.15),
          (0.42, 0.38, 0.32), (0.16, 0.30, 0.33))  # fmt: skip
COVERS = ((0.45, 0.08, 0.07), (0.08, 0.16, 0.33), (0.10, 0.25, 0.17), (0.55, 0.43, 0.15), (0.62, 0.58, 0.50),
          (0.10, 0.10, 0.11), (0.35, 0.20, 0.12), (0.55, 0.28, 0.12), (0.25, 0.33, 0.40),
          (0.36, 0.14, 0.26))  # fmt: skip
ROUND = 10  # corners of what is round
INKS = ((0.72, 0.70, 0.62), (0.70, 0.56, 0.22), (0.06, 0.06, 0.07), (0.60, 0.16, 0.12))


@dataclass(frozen=True)
class Spot:
    """A place in the room, and the axes of what stands there: x right, z back (towards its wall), heights up."""

    x: float
    z: float
    yaw: float = 0.0
    up: float = 0.0  # metres above the floor

    def at(self, x: float, up: float, z: float, yaw: float = 0.0) -> "Spot":
        """Return a spot in the axes of this one."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return Spot(self.x + cos * x + sin * z, self.z - sin * x + cos * z, self.yaw + yaw, self.up + up)


@dataclass
class Furniture(Dice):
    """Builds pieces of furniture; what they look like is drawn, where they stand is given."""

    solids: SolidList
    floor: float  # y of the world, metres
    lamps: list[Spot] = field(default_factory=list)  # where the room's lamps are

    def add(
        self, kind: int, spot: Spot, half: Triple, paint: int, material: Sequence[float],
        pitch: float = 0.0, roll: float = 0.0, yaw: float = 0.0,
    ) -> None:  # fmt: skip
        """Add a solid whose middle is at a spot; it is rolled, then pitched, then turned in its axes."""
        centre = (spot.x, self.floor - spot.up, spot.z)
        self.solids.add(
            kind, centre, half, paint=paint, material=material, rotation=_turned(spot.yaw + yaw, pitch, roll)
        )

    def mesh(
        self, spot: Spot, mesh: Mesh, paint: int, material: Sequence[float], pitch: float = 0.0, yaw: float = 0.0
    ) -> None:
        """Add a mesh whose origin is at a spot; it is pitched, then turned in its axes."""
        centre = (spot.x, self.floor - spot.up, spot.z)
        add_mesh(self.solids, *mesh, centre=centre, paint=paint, material=material,
                 rotation=_turned(spot.yaw + yaw, pitch, 0.0))  # fmt: skip

    def turned(self, spot: Spot, profile: Sequence[tuple[float, float]], material: Sequence[float]) -> None:
        """Add a surface of revolution that stands on a spot; its profile is (radius, height), metres."""
        self.mesh(spot, revolved([(radius, -up) for radius, up in profile], ROUND), PLAIN, material)

    def box(self, spot: Spot, size: Triple, paint: int, material: Sequence[float], yaw: float = 0.0) -> None:
        """Add an upright box of a size (width, height, depth) that stands on a spot."""
        width, height, depth = size
        self.add(BOX, spot.at(0.0, height / 2, 0.0, yaw), (width / 2, height / 2, depth / 2), paint, material)

    def post(self, spot: Spot, radius: float, height: float, paint: int, material: Sequence[float]) -> None:
        """Add an upright cylinder that stands on a spot."""
        self.add(CYLINDER, spot.at(0.0, height / 2, 0.0), (radius, height / 2, radius), paint, material)

    def board(self, spot: Spot, size: Triple, wood: Triple) -> None:
        """Add a box of timber, grained along its longest side; of lacquer where the colour is white or black."""
        if wood in (WHITE, BLACK, GREY):
            return self.box(spot, size, PLAIN, self.smooth(wood))
        angle = 0.0 if size[0] >= max(size[1], size[2]) else math.pi / 2
        dark = tuple(0.62 * c for c in wood)
        self.box(spot, size, TIMBER, (*wood, *dark, 0.45, 0.02, self.uniform(0.0, 1.0), angle))
        return None

    def smooth(self, colour: Triple, amount: float = 0.06, wavelength: float = 0.05) -> tuple[float, ...]:
        """Draw the material of a surface of nearly one colour."""
        return (*colour, *(0.9 * c for c in colour), amount, wavelength, self.uniform(0.0, 1.0))

    def cloth(self, colour: Triple, wavelength: float = 0.02) -> tuple[float, ...]:
        """Draw the material of a woven cloth."""
        return (*colour, *(0.7 * c for c in colour), 0.35, wavelength, self.uniform(0.0, 1.0))

    def shaded(self, colour: Triple, options: Sequence[Triple] | None = None) -> Triple:
        """Draw a colour near one, or near one of several."""
        base = colour if options is None else self.choose(options)
        tone = self.uniform(0.85, 1.15)
        return base[0] * tone, base[1] * tone, base[2] * tone

    def wood(self) -> Triple:
        """Draw a wood, or white lacquer."""
        return self.choose((OAK, WALNUT, BIRCH, PINE, WHITE))  # type: ignore[return-value]

    # What stands at a wall: z = 0 is the wall, the room lies towards -z.

    def shelf(self, spot: Spot, width: float, height: float) -> list[Spot]:
        """Build a bookcase of upright boards; return the free ends of its boards, where small things may stand."""
        wood, depth, thick = self.wood(), 0.30, 0.022
        columns = max(round(width / 0.8), 1)
        bay = width / columns
        for number in range(columns + 1):
            self.board(spot.at(number * bay - width / 2, 0.0, -depth / 2), (thick, height, depth), wood)
        self.board(spot.at(0.0, 0.04, -0.012), (width, height - 0.05, 0.012), wood)
        levels = [0.06, *(0.06 + (height - 0.09) * i / 6 for i in range(1, 7))]
        for level in levels:
            self.board(spot.at(0.0, level, -depth / 2), (width, thick, depth - 0.01), wood)
        free: list[Spot] = []
        for level, above in pairwise(levels):
            for number in range(columns):
                left = number * bay - width / 2 + thick
                board = spot.at(left, level + thick, 0.0)
                end = self.row_of_books(board, bay - 2 * thick, above - level - thick)
                if bay - end > 0.22:
                    free.append(board.at((end + bay) / 2, 0.0, -0.16))
        return free

    def row_of_books(self, spot: Spot, width: float, height: float) -> float:
        """Put books on a board from its left end on; return how far they go."""
        x, filled = 0.008, width * (self.uniform(0.35, 1.0) if self.chance(0.85) else 0.0)
        series, left = 0, (0.0, 0.0, 0.0)
        while True:
            thick = self.uniform(0.014, 0.045)
            if x + thick > filled:
                break
            if series == 0:
                left, series = self.shaded(left, COVERS), int(self.uniform(1.0, 3.9))
                tall, deep = self.uniform(0.62, 0.92) * height, self.uniform(0.14, 0.2)
            series -= 1
            size = (thick - 0.002, min(tall, 0.30) * self.uniform(0.97, 1.0), deep)
            self.box(spot.at(x + thick / 2, 0.0, -0.26 + deep / 2), size, BOOK, self.cover(left))
            x += thick
        return x

    def cover(self, colour: Triple | None = None) -> tuple[float, ...]:
        """Draw the material of a book."""
        colour = self.shaded(WHITE, COVERS) if colour is None else colour
        return (*colour, *self.choose(INKS), 0.12, 0.05, self.uniform(0.0, 1.0), self.uniform(0.0, 1.0),
                self.uniform(0.0, 1.0))  # fmt: skip

    def cupboard(self, spot: Spot, width: float, height: float, depth: float = 0.45) -> None:
        """Build a cupboard with doors or drawers."""
        wood, front = self.wood(), self.wood()
        self.board(spot.at(0.0, 0.06, -depth / 2), (width, height - 0.08, depth - 0.02), wood)
        self.board(spot.at(0.0, height - 0.03, -depth / 2), (width + 0.03, 0.03, depth + 0.02), wood)
        self.box(spot.at(0.0, 0.0, -depth / 2 + 0.02), (width - 0.06, 0.06, depth - 0.08), PLAIN, self.smooth(BLACK))
        columns, rows = max(round(width / 0.5), 1), max(round(height / 0.35), 1) if self.chance(0.5) else 1
        for i in range(columns):
            for j in range(rows):
                wide, tall = width / columns, (height - 0.11) / rows
                panel = spot.at((i + 0.5) * wide - width / 2, 0.07 + j * tall, -depth + 0.002)
                self.board(panel.at(0.0, 0.005, 0.0), (wide - 0.012, tall - 0.01, 0.02), front)
                knob = panel.at(0.0 if rows > 1 else (0.35 - 0.7 * (i % 2 == 0)) * -wide, tall / 2, -0.022)
                self.add(BALL, knob, (0.014, 0.014, 0.014), PLAIN, self.smooth(STEEL))

    def table(self, spot: Spot, width: float, depth: float, height: float, round_legs: bool = False) -> None:
        """Build a table whose middle is at the spot."""
        wood, thick, leg = self.wood(), 0.03, 0.05
        self.board(spot.at(0.0, height - thick, 0.0), (width, thick, depth), wood)
        self.board(spot.at(0.0, height - thick - 0.08, 0.0), (width - 0.14, 0.08, depth - 0.14), wood)
        for x in (-1, 1):
            for z in (-1, 1):
                foot = spot.at(x * (width / 2 - 0.07), 0.0, z * (depth / 2 - 0.07))
                if round_legs:
                    self.post(foot, leg / 2, height - thick, PLAIN, self.smooth(STEEL if wood == WHITE else wood))
                else:
                    self.board(foot, (leg, height - thick, leg), wood)

    def chair(self, spot: Spot) -> "Chair":
        """Draw a chair."""
        return Chair(self, self.wood(), self.cloth(self.shaded(GREY, CLOTHS)), self.chance(0.5))

    def sofa(self, spot: Spot, width: float) -> None:
        """Build a sofa with its back to the wall."""
        cloth, seats = self.cloth(self.shaded(GREY, CLOTHS)), max(round((width - 0.4) / 0.7), 1)
        self.box(spot.at(0.0, 0.10, -0.45), (width, 0.22, 0.84), CLOTH, cloth)
        self.add(BOX, spot.at(0.0, 0.55, -0.14), (width / 2, 0.29, 0.1), CLOTH, cloth, pitch=-0.08)
        for x in (-1, 1):
            arm = spot.at(x * (width / 2 - 0.1), 0.1, -0.46)
            self.box(arm, (0.19, 0.48, 0.86), CLOTH, cloth)
            self.add(CYLINDER, arm.at(0.0, 0.48, 0.0), (0.1, 0.43, 0.1), CLOTH, cloth, pitch=math.pi / 2)
            for z in (-0.12, -0.8):
                self.post(spot.at(x * (width / 2 - 0.12), 0.0, z), 0.025, 0.1, PLAIN, self.smooth(WALNUT))
        seat = (width - 0.4) / seats
        for number in range(seats):
            middle = spot.at((number + 0.5) * seat - (width - 0.4) / 2, 0.0, 0.0)
            self.box(middle.at(0.0, 0.32, -0.52), (seat - 0.012, 0.14, 0.68), CLOTH, cloth)
            self.add(BOX, middle.at(0.0, 0.62, -0.27), (seat / 2 - 0.012, 0.2, 0.06), CLOTH, cloth, pitch=-0.2)

    def picture(self, spot: Spot, width: float, height: float, frame: Triple, photographs: bool) -> None:
        """Hang a framed picture, its middle at the spot, on the wall z = 0."""
        edge = 0.02 + 0.02 * self.uniform(0.0, 1.0)
        self.add(BOX, spot.at(0.0, 0.0, -0.012), (width / 2 + edge, height / 2 + edge, 0.012), PLAIN,
                 self.smooth(frame))  # fmt: skip
        drawn = self.painting(min(width, height))
        paint, material = (PICTURE, self.photograph()) if photographs else (PAINTING, drawn)
        self.add(BOX, spot.at(0.0, 0.0, -0.019), (width / 2, height / 2, 0.008), paint, material)

    def painting(self, size: float) -> tuple[float, ...]:
        """Draw the material of a picture."""
        kind = float(int(self.uniform(0.0, 2.99)))
        mat = size * self.uniform(0.06, 0.16) if self.chance(0.6) else 0.0
        first, second = self.shaded(GREY, COVERS), self.shaded(GREY, (*COVERS, *CLOTHS))
        return (*first, *second, 0.15, 0.06, self.uniform(0.0, 1.0), kind, mat, self.uniform(0.0, 1.0),
                self.uniform(0.0, 1.0))  # fmt: skip

    def photograph(self) -> tuple[float, ...]:
        """Draw the material of a photograph."""
        return printed(Dice(torch.Generator().manual_seed(int(self.uniform(0.0, 2.0**24)))), 0.03, WHITE, 0.8)

    def curtain(self, spot: Spot, width: float, height: float, colour: Triple) -> None:
        """Hang a curtain in folds, its middle at the spot on the floor."""
        folds = max(round(width / 0.075), 2)
        cloth = (*colour, *(0.85 * c for c in colour), 0.25, 0.03, self.uniform(0.0, 1.0))
        for number in range(folds):
            x = ((number + 0.5) / folds - 0.5) * width
            fold = spot.at(x, height / 2, self.uniform(-0.015, 0.015))
            self.add(CYLINDER, fold, (width / folds * 0.62, height / 2, 0.05), CLOTH, cloth)

    def plant(self, spot: Spot, height: float) -> None:
        """Put a plant in a pot."""
        pot = self.choose((TERRACOTTA, WHITE, GREY))
        wide = 0.10 + 0.05 * height
        rim = 1.7 * wide
        pot_profile = ((0.7 * wide, 0.0), (wide, 0.8 * rim), (1.1 * wide, 0.8 * rim), (1.1 * wide, rim),
                       (0.95 * wide, rim), (0.95 * wide, 0.9 * rim), (0.0, 0.9 * rim))  # fmt: skip
        self.turned(spot, pot_profile, self.smooth(pot))  # type: ignore[arg-type]
        leaves = int(8 + 10 * height)
        for number in range(leaves):
            turn, share = 2.4 * number + self.uniform(-0.3, 0.3), (number + 1.0) / leaves
            up = 1.7 * wide + (height - 1.7 * wide) * share
            out = (0.06 + 0.22 * math.sin(math.pi * min(share, 0.9)) ** 0.7) * min(1.0, 0.4 + height / 2)
            leaf = spot.at(out * math.sin(turn), up, out * math.cos(turn))
            size = self.uniform(0.8, 1.2) * (0.08 + 0.07 * height)
            tone = self.uniform(0.75, 1.25)
            green = (0.05 * tone, 0.13 * tone, 0.035, 0.13 * tone, 0.24 * tone, 0.07, 0.3, 0.06, share)
            # A sheet faces -z and stands up: laid back by its pitch it points away from the stem.
            blade = bent_sheet((0.1 * size, 0.7 * size, 0.8 * size, 0.5 * size, 0.0), 2 * size, across=0.9, along=0.9,
                               steps=2)  # fmt: skip
            self.mesh(leaf, blade, LEAVES, green, pitch=-self.uniform(0.5, 1.2), yaw=turn - spot.yaw)
            if number % 3 == 0:
                self.post(spot.at(0.3 * out * math.sin(turn), 1.7 * wide, 0.3 * out * math.cos(turn)), 0.006,
                          up - 1.7 * wide, PLAIN, self.smooth((0.16, 0.20, 0.08)))  # fmt: skip

    # Lamps; each notes where its light is.

    def shade(self, spot: Spot, radius: float, height: float, upper: float = 0.7) -> None:
        """Add a lamp's shade, its middle at the spot, and note the lamp."""
        material = (*self.smooth((0.72, 0.66, 0.54)), float(len(self.lamps)))
        self.mesh(spot, revolved([(upper * radius, -height / 2), (radius, height / 2)], 2 * ROUND), SHADE, material)
        self.lamps.append(spot)

    def standing_lamp(self, spot: Spot) -> None:
        """Stand a lamp on the floor."""
        self.post(spot, 0.15, 0.03, PLAIN, self.smooth(BLACK))
        self.post(spot, 0.013, 1.45, PLAIN, self.smooth(STEEL))
        self.shade(spot.at(0.0, 1.55, 0.0), 0.19, 0.28)

    def table_lamp(self, spot: Spot) -> None:
        """Stand a lamp on a table."""
        colour = self.shaded(GREY, COVERS)
        foot = ((0.0, 0.18), (0.02, 0.18), (0.05, 0.14), (0.08, 0.08), (0.07, 0.03), (0.05, 0.0))
        self.turned(spot, foot, self.smooth(colour))
        self.post(spot, 0.012, 0.26, PLAIN, self.smooth(STEEL))
        self.shade(spot.at(0.0, 0.31, 0.0), 0.13, 0.17)

    def ceiling_lamp(self, spot: Spot, drop: float) -> None:
        """Hang a lamp from the ceiling, whose height is that of the spot."""
        self.post(spot.at(0.0, -0.03, 0.0), 0.05, 0.03, PLAIN, self.smooth(WHITE))
        self.post(spot.at(0.0, -drop, 0.0), 0.006, drop, PLAIN, self.smooth(BLACK))
        self.shade(spot.at(0.0, -drop + 0.09, 0.0), 0.23, 0.18, 0.35)
        self.add(BALL, spot.at(0.0, -drop + 0.06, 0.0), (0.05, 0.05, 0.05), SHADE,
                 (*self.smooth(WHITE), float(len(self.lamps) - 1)))  # fmt: skip


@dataclass
class Chair:
    """A chair that was drawn and may stand anywhere; its back is towards z, its front edge towards -z."""

    maker: Furniture
    wood: Triple
    cloth: tuple[float, ...]
    upholstered: bool

    def stand(self, spot: Spot) -> None:
        """Build it with the middle of its seat at a spot."""
        maker, wood = self.maker, self.wood
        for x in (-0.18, 0.18):
            maker.board(spot.at(x, 0.0, -0.18), (0.035, 0.44, 0.035), wood)
            maker.board(spot.at(x, 0.0, 0.19), (0.035, 0.87, 0.03), wood)
        maker.board(spot.at(0.0, 0.43, 0.0), (0.42, 0.025, 0.42), wood)
        if self.upholstered:
            maker.box(spot.at(0.0, 0.455, -0.01), (0.39, 0.03, 0.38), CLOTH, self.cloth)
            maker.box(spot.at(0.0, 0.58, 0.19), (0.33, 0.26, 0.035), CLOTH, self.cloth)
        else:
            for up in (0.56, 0.67, 0.78):
                maker.board(spot.at(0.0, up, 0.19), (0.33, 0.06, 0.018), wood)


def _turned(yaw: float, pitch: float, roll: float) -> list[float]:
    """Return the rotation that rolls, then pitches, then turns, nine numbers row by row."""
    y, x, z = torch.tensor([yaw, pitch, roll], dtype=torch.float64)
    turn: list[float] = (axis_rotation(1, y) @ axis_rotation(0, x) @ axis_rotation(2, z)).flatten().tolist()
    return turn


def moved_by(spot: Spot, dice: Dice, metres: float, turn: float) -> Spot:
    """Return a spot pushed and turned a little."""
    pushed = spot.at(dice.uniform(-metres, metres), 0.0, dice.uniform(-metres, metres))
    return replace(pushed, yaw=spot.yaw + dice.uniform(-turn, turn))
