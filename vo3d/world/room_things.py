"""Small things of a room that may lie in one place today and in another tomorrow."""

import math
from collections.abc import Callable, Sequence

from vo3d.world.furniture import (
    BLACK,
    BOOK,
    CLOTH,
    CLOTHS,
    COVERS,
    GREY,
    OAK,
    PAINTING,
    PLAIN,
    PRINT,
    STEEL,
    TERRACOTTA,
    TILED,
    WHITE,
    Furniture,
    Spot,
    moved_by,
)
from vo3d.world.meshes import superellipsoid
from vo3d.world.primitives import BALL, BOX, CYLINDER
from vo3d.world.scene import Dice

Maker = Callable[[Furniture, Spot], None]
STAYS = 0.55  # share of the things that a visit finds where they belong


def cup(maker: Furniture, spot: Spot) -> None:
    """Put down a mug with its handle."""
    glaze = maker.smooth(maker.shaded(GREY, (*COVERS, WHITE, WHITE)))
    side = ((0.0, 0.003), (0.03, 0.0), (0.039, 0.015), (0.042, 0.095), (0.037, 0.095), (0.035, 0.01), (0.0, 0.008))
    maker.turned(spot, side, glaze)
    maker.post(spot.at(0.0, 0.068, 0.0), 0.035, 0.002, PLAIN, maker.smooth((0.06, 0.035, 0.02)))
    for up, size in ((0.026, (0.026, 0.008, 0.01)), (0.068, (0.026, 0.008, 0.01)), (0.03, (0.008, 0.042, 0.01))):
        out = 0.05 if size[1] < 0.02 else 0.061
        maker.box(spot.at(out, up, 0.0), size, PLAIN, glaze)


def books(maker: Furniture, spot: Spot) -> None:
    """Pile two to four books, each turned a little."""
    up = 0.0
    for _ in range(int(maker.uniform(2.0, 4.99))):
        thick, tall, deep = maker.uniform(0.015, 0.04), maker.uniform(0.18, 0.25), maker.uniform(0.13, 0.17)
        lying = spot.at(0.0, up + thick / 2, 0.0, maker.uniform(-0.3, 0.3))
        maker.add(BOX, lying, (thick / 2, tall / 2, deep / 2), BOOK, maker.cover(), roll=math.pi / 2)
        up += thick


def bowl(maker: Furniture, spot: Spot) -> None:
    """Put down a bowl of fruit."""
    side = ((0.05, 0.0), (0.05, 0.012), (0.10, 0.035), (0.13, 0.075), (0.122, 0.075), (0.09, 0.04), (0.0, 0.03))
    maker.turned(spot, side, maker.smooth(maker.shaded(WHITE, (*COVERS, WHITE))))
    fruit = ((0.50, 0.09, 0.05), (0.55, 0.32, 0.05), (0.25, 0.36, 0.07))
    for number in range(5):
        turn, size = 1.3 * number, maker.uniform(0.03, 0.038)
        out = 0.0 if number == 4 else 0.052
        where = spot.at(out * math.sin(turn), 0.068 + 0.035 * (number == 4), out * math.cos(turn))
        maker.add(BALL, where, (size, size, size), PLAIN, maker.smooth(maker.shaded(GREY, fruit), 0.3, 0.03))


def vase(maker: Furniture, spot: Spot) -> None:
    """Put down a vase, of one of three shapes."""
    glaze, size = maker.smooth(maker.shaded(GREY, (*COVERS, WHITE)), 0.2), maker.uniform(0.8, 1.15)
    shapes = (
        ((0.04, 0.0), (0.07, 0.05), (0.075, 0.09), (0.05, 0.15), (0.025, 0.19), (0.035, 0.23), (0.027, 0.23)),
        ((0.05, 0.0), (0.045, 0.02), (0.06, 0.13), (0.065, 0.2), (0.045, 0.23), (0.05, 0.25), (0.04, 0.25)),
        ((0.05, 0.0), (0.085, 0.04), (0.09, 0.08), (0.06, 0.13), (0.04, 0.14), (0.045, 0.16), (0.035, 0.16)),
    )
    side = shapes[int(maker.uniform(0.0, 2.999))]
    maker.turned(spot, [(size * radius, size * up) for radius, up in (*side, (0.02, 0.1), (0.0, 0.1))], glaze)


def carton(maker: Furniture, spot: Spot) -> None:
    """Put down a printed box."""
    first, second = maker.shaded(GREY, COVERS), maker.shaded(WHITE, (*COVERS, WHITE))
    material = (*first, *second, 0.8, 0.03, maker.uniform(0.0, 1.0), maker.uniform(-0.4, 0.4),
                maker.uniform(0.03, 0.06), 0.3, 0.7)  # fmt: skip
    size = (maker.uniform(0.10, 0.18), maker.uniform(0.06, 0.2), maker.uniform(0.07, 0.13))
    maker.box(spot, size, PRINT, material)


def laptop(maker: Furniture, spot: Spot) -> None:
    """Put down an open laptop, its screen towards -z."""
    shell = maker.smooth(maker.choose((STEEL, GREY, BLACK)))  # type: ignore[arg-type]
    maker.box(spot.at(0.0, 0.0, -0.02), (0.33, 0.016, 0.22), PLAIN, shell)
    keys = (*BLACK, 0.12, 0.12, 0.12, 0.2, 0.02, 0.5, 0.019, 0.003)
    maker.box(spot.at(0.0, 0.0155, 0.01), (0.28, 0.002, 0.1), TILED, keys)
    lid = spot.at(0.0, 0.115, 0.12)
    maker.add(BOX, lid, (0.165, 0.11, 0.005), PLAIN, shell, pitch=-0.25)
    screen = (0.10, 0.22, 0.42, *maker.shaded(GREY, COVERS), 0.1, 0.05, maker.uniform(0.0, 1.0), 0.0, 0.0, 0.5, 0.3)
    front = lid.at(0.0, 0.0015, -0.0035)
    maker.add(BOX, front, (0.155, 0.098, 0.003), PAINTING, screen, pitch=-0.25)


def jar(maker: Furniture, spot: Spot) -> None:
    """Put down a pot of pens."""
    maker.post(spot, 0.04, 0.1, PLAIN, maker.smooth(maker.shaded(GREY, COVERS)))
    for number in range(4):
        pen = spot.at(0.02 * math.sin(1.9 * number), 0.11, 0.02 * math.cos(1.9 * number))
        ink = maker.smooth(maker.shaded(GREY, COVERS))
        maker.add(CYLINDER, pen, (0.004, 0.06, 0.004), PLAIN, ink, maker.uniform(-0.2, 0.2), maker.uniform(-0.2, 0.2))


def ball(maker: Furniture, spot: Spot) -> None:
    """Lay a ball on the floor."""
    size = maker.uniform(0.10, 0.14)
    first, second = maker.shaded(GREY, COVERS), maker.shaded(WHITE, (*COVERS, WHITE))
    material = (*first, *second, 0.3, 0.08, maker.uniform(0.0, 1.0), 0.09, 0.005)
    maker.add(BALL, spot.at(0.0, size, 0.0), (size, size, size), TILED if maker.chance(0.4) else PLAIN, material)


def crate(maker: Furniture, spot: Spot) -> None:
    """Put down a box of cardboard, its lid open or closed, or a basket."""
    size = (maker.uniform(0.32, 0.45), maker.uniform(0.22, 0.36), maker.uniform(0.28, 0.36))
    card = maker.smooth((0.40, 0.28, 0.17), 0.15)
    maker.box(spot, size, PLAIN, card)
    maker.box(spot.at(0.0, size[1] - 0.001, 0.0), (0.06, 0.003, size[2]), PLAIN, maker.smooth((0.55, 0.48, 0.34)))
    label = (*WHITE, 0.1, 0.1, 0.12, 0.7, 0.03, maker.uniform(0.0, 1.0), 0.0, 0.03, 0.5, 0.6)
    maker.box(spot.at(0.07, 0.3 * size[1], -size[2] / 2), (0.12, 0.08, 0.004), PRINT, label)


def stool(maker: Furniture, spot: Spot) -> None:
    """Stand a round stool or a pouffe."""
    if maker.chance(0.5):
        maker.post(spot, 0.24, 0.38, CLOTH, maker.cloth(maker.shaded(GREY, CLOTHS)))
        return
    wood = maker.wood()
    maker.post(spot.at(0.0, 0.42, 0.0), 0.17, 0.03, PLAIN, maker.smooth(wood, 0.3, 0.02))
    for number in range(3):
        turn = 2.1 * number
        maker.post(spot.at(0.12 * math.sin(turn), 0.0, 0.12 * math.cos(turn)), 0.016, 0.42, PLAIN, maker.smooth(OAK))


def flowerpot(maker: Furniture, spot: Spot) -> None:
    """Put down a small plant."""
    maker.post(spot, 0.06, 0.1, PLAIN, maker.smooth(TERRACOTTA))
    maker.plant(spot.at(0.0, 0.02, 0.0), 0.26)


def cushion(maker: Furniture, spot: Spot) -> None:
    """Lean a cushion against what is behind it."""
    cloth = maker.cloth(maker.shaded(GREY, (*CLOTHS, *COVERS)))
    shape = superellipsoid((0.22, 0.075, 0.21), round_=7.0, upright=2.0, steps=3)
    maker.mesh(spot.at(0.0, 0.2, 0.0), shape, CLOTH, cloth, pitch=math.pi / 2 - 0.35)


SMALL: tuple[Maker, ...] = (
    cup,
    books,
    bowl,
    vase,
    carton,
    cup,
    jar,
    books,
    flowerpot,
    laptop,
    cup,
    carton,
    vase,
    books,
    jar,
    carton,
    books,
)
LARGE: tuple[Maker, ...] = (ball, crate, stool, ball, crate)


def scatter(maker: Furniture, movers: Dice, makers: Sequence[Maker], spots: Sequence[Spot]) -> None:
    """Put things on spots, one on each: most where they belong in this place, the rest where a visit finds them.

    What things look like, and their own spots, are drawn by `maker`; which of them moved, and how, by `movers`.
    """
    order = sorted(range(len(spots)), key=lambda _: maker.uniform(0.0, 1.0))
    count = min(len(makers), len(spots))
    free = order[count:]
    for make, home in zip(makers, order[:count], strict=False):
        chosen = home
        if free and not movers.chance(STAYS):
            number = int(movers.uniform(0.0, len(free) - 1e-6))
            chosen, free[number] = free[number], home
        make(maker, moved_by(spots[chosen], movers, 0.025, 0.5))
