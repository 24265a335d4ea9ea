"""Places for pictures: posters, shop signs, murals and boards at houses, and things that are there anyway."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from vo3d.world.labels import BUILDING, UNKNOWN
from vo3d.world.paints import OWN, SEED
from vo3d.world.photographs import PICTURES
from vo3d.world.primitives import BOX
from vo3d.world.scene import Dice, SolidList, Solids

PAPER, STEEL, DARK = (0.78, 0.77, 0.74), (0.30, 0.31, 0.32), (0.08, 0.09, 0.10)
INKS = ((0.95, 0.95, 0.95), (1.0, 0.55, 0.35), (0.45, 0.75, 1.0), (0.6, 0.95, 0.6), (1.0, 0.85, 0.4))
WHOLE = 10.0  # metres: a margin that leaves no room for a picture
BOARD_ROOM = 9.6  # metres from the street to the house: a board stands on 1.5 of them and leaves the walk free
Triple = tuple[float, float, float]


def printed(dice: Dice, margin: float, colour: Triple, smallest: float = 0.6) -> tuple[float, ...]:
    """Draw a material for `photographs.Pictures`: most in their colours, some of one ink; a part of a picture, or all.

    `margin` in metres, `colour` is the margin's; at least the share `smallest` of the picture's width or height shows.
    """
    number = int(len(PICTURES) * dice.uniform(0.0, 1.0) ** 1.5)  # the last ones, which are dark, come less often
    colourful = dice.uniform(0.85, 1.0) if dice.chance(0.7) else dice.uniform(0.0, 0.25)
    ink = INKS[int(torch.randint(len(INKS), (), generator=dice.generator))]
    share, right, down, seed = (dice.uniform(low, 1.0) for low in (smallest, 0.0, 0.0, 0.0))
    return (*colour, *ink, colourful, margin, seed, float(number), share, right, down)


def poster(
    solids: SolidList,
    dice: Dice,
    centre: Sequence[float],
    half: Triple,
    *,
    paint: int,
    margin: float = 0.03,
    colour: Triple = PAPER,
    smallest: float = 0.6,
    rotation: Sequence[float] | None = None,
    yaw: float = 0.0,
    object_id: int = 0,
    label: int = UNKNOWN,
) -> None:
    """Add a thin box with a picture on its faces; it hangs in the world, or in the axes of a moving object.

    `paint` is the scene's number of `photographs.Pictures`; the other arguments are those of `SolidList.add` and of
    `printed`. All lengths in metres.
    """
    solids.add(BOX, centre, half, paint=paint, material=printed(dice, margin, colour, smallest), rotation=rotation,
               yaw=yaw, object_id=object_id, label=label)  # fmt: skip


def dress_houses(
    solids: SolidList, walls: Solids, distance: Callable[[Float64[Tensor, "n 2"]], Tensor], paint: int
) -> None:
    """Put posters, shop signs, murals and boards on and before houses, each house by a number of its own.

    `walls` are boxes of `paints.facade` whose x axis lies across the street; `distance` measures how far points (x, z)
    are from the street.
    """
    across = walls.rotation[:, ::2, 0] * walls.half[:, :1]
    left, right = (distance((walls.centre[:, ::2] + sign * across).double()) for sign in (-1, 1))
    for index, side in enumerate((left - right).sign().tolist()):
        material = walls.material[index].tolist()
        generator = torch.Generator().manual_seed(int(material[SEED] * 2**24))
        house = _House(generator, solids, walls.select(torch.tensor([index])), side, material[OWN + 1], paint)
        house.sign()
        house.posters()
        house.gables()
        if min(float(left[index]), float(right[index])) > BOARD_ROOM:
            house.board()


@dataclass
class _House(Dice):
    """One house to be dressed."""

    solids: SolidList
    wall: Solids  # one box
    side: float  # of its x axis that the front looks along
    storey: float  # metres
    paint: int

    def hang(self, x: float, up: float, z: float, half: Triple, *, margin: float = 0.03, colour: Triple = PAPER,
             smallest: float = 0.6, label: int = BUILDING) -> None:  # fmt: skip
        """Hang a picture `up` metres above the ground, at x and z of the house."""
        local = torch.stack((torch.tensor(x), self.wall.half[0, 1] - up, torch.tensor(z)))
        centre, turn = self.wall.centre[0] + self.wall.rotation[0] @ local, self.wall.rotation[0].flatten()
        poster(self.solids, self, centre.tolist(), half, paint=self.paint, margin=margin, colour=colour,
               smallest=smallest, rotation=turn.tolist(), label=label)  # fmt: skip

    def sign(self) -> None:
        """Put a shop's sign between the ground floor and the next, or none."""
        front, _, width = self.wall.half[0].tolist()
        if self.chance(0.4):
            half = (0.07, self.uniform(0.3, 0.5), self.uniform(1.0, min(3.0, 0.7 * width)))
            along = self.uniform(-1.0, 1.0) * (width - half[2])
            self.hang(self.side * (front + half[0]), 1.04 * self.storey, along, half, colour=DARK, smallest=0.9)

    def posters(self) -> None:
        """Glue posters to the front, at the height of eyes."""
        front, _, width = self.wall.half[0].tolist()
        for _ in range(int(self.uniform(-2.0, 4.0))):
            size = self.uniform(0.8, 1.2)
            along = self.uniform(-1.0, 1.0) * (width - 0.6)
            half = (0.015, 0.6 * size, 0.42 * size) if self.chance(0.7) else (0.015, 0.42 * size, 0.6 * size)
            self.hang(self.side * (front + half[0]), self.uniform(1.3, 1.7), along, half)

    def gables(self) -> None:
        """Cover a part of the side walls, where there is none of a neighbour, with a mural or a billboard."""
        front, tall, width = self.wall.half[0].tolist()
        for end in (-1.0, 1.0):
            if self.chance(0.45):
                half = (self.uniform(0.45, 0.8) * front, self.uniform(0.3, 0.6) * tall, 0.03)
                up = self.uniform(half[1] + 0.8, 2 * tall - half[1] - 0.5)
                self.hang(self.uniform(-0.15, 0.15) * front, up, end * (width + half[2]), half, margin=0.0)
            elif self.chance(0.5):
                half, across = (1.8, 1.3, 0.06), self.uniform(-1.0, 1.0) * (front - 2.0)
                self.hang(across, self.uniform(2.2, 3.4), end * (width + half[2]), half, margin=0.1, colour=STEEL)

    def board(self) -> None:
        """Stand a board between house and walk, its faces along the street, or none."""
        front, _, width = self.wall.half[0].tolist()
        if self.chance(0.7):
            x = self.side * (front + self.uniform(0.7, 0.9))
            z = self.uniform(-0.9, 0.9) * width
            self.hang(x, 1.65, z, (0.6, 0.9, 0.07), margin=0.06, colour=DARK, label=UNKNOWN)
            self.hang(x, 0.4, z, (0.15, 0.4, 0.05), margin=WHOLE, colour=DARK, label=UNKNOWN)


def pictured(solids: Solids, chosen: Bool[Tensor, " n"], paint: int, dice: Dice) -> Solids:
    """Return the solids with pictures on the chosen ones instead of what they show."""
    index = chosen.nonzero()[:, 0]
    materials = torch.tensor([printed(dice, 0.0, PAPER) for _ in index]).reshape(len(index), -1)
    return replace(
        solids,
        paint=solids.paint.index_fill(0, index, paint),
        material=solids.material.index_copy(0, index, materials),
    )
