"""The solids of what moves or is parked: cars, vans, lorries, and people whose arms and legs swing."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

from vo3d.world.labels import CAR, PERSON, TRUCK
from vo3d.world.primitives import BALL, BOX, CYLINDER
from vo3d.world.scene import Dice, SolidList

PARTS = 5  # of a person that move on their own, an id each: torso with head, left and right arm, left and right leg
LEG, SHOULDER, STEP_LENGTH = (
    0.48,
    0.33,
    0.41,
)  # hip above ground, shoulder above hip, length of a step: shares of height
SHARP, SPREAD = 0.97, 0.9  # how near a triangle the swing of a leg is (1 is one), and its size: feet slide least

Triple = tuple[float, float, float]

BODIES = ((0.55, 0.56, 0.58), (0.03, 0.03, 0.035), (0.75, 0.75, 0.74), (0.35, 0.03, 0.03), (0.04, 0.08, 0.25),
          (0.20, 0.21, 0.22), (0.05, 0.16, 0.10), (0.45, 0.40, 0.30))  # fmt: skip
VANS = ((0.72, 0.72, 0.70), (0.72, 0.72, 0.70), (0.60, 0.40, 0.03), (0.05, 0.12, 0.35), (0.40, 0.04, 0.03),
        (0.10, 0.28, 0.14), (0.25, 0.26, 0.28))  # fmt: skip
TOPS = ((0.03, 0.03, 0.04), (0.60, 0.58, 0.55), (0.42, 0.04, 0.04), (0.05, 0.10, 0.32), (0.08, 0.25, 0.12),
        (0.62, 0.42, 0.05), (0.22, 0.22, 0.24), (0.45, 0.20, 0.30), (0.10, 0.30, 0.38), (0.24, 0.15, 0.09))  # fmt: skip
TROUSERS = ((0.03, 0.03, 0.04), (0.05, 0.08, 0.17), (0.10, 0.14, 0.24), (0.16, 0.15, 0.14), (0.32, 0.26, 0.18),
            (0.12, 0.09, 0.06))  # fmt: skip
SKIN = ((0.58, 0.36, 0.26), (0.48, 0.28, 0.19), (0.30, 0.16, 0.10), (0.14, 0.07, 0.05))
HAIR = ((0.02, 0.017, 0.015), (0.07, 0.04, 0.025), (0.20, 0.12, 0.05), (0.38, 0.37, 0.36))


@dataclass(frozen=True)
class Place:
    """A point on the ground and a yaw for something to stand at, in the world or in the axes of a moving object."""

    ground: Triple = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    object_id: int = 0
    label: int = CAR


@dataclass
class Movers(Dice):
    """Adds things that move or are parked to a list of solids; what they look like is drawn from the generator."""

    solids: SolidList
    bodywork: int  # numbers of the paints `vo3d.world.paints.bodywork` and `mottled` in the scene
    mottled: int

    def vehicle(self, place: Place) -> tuple[float, float]:
        """Add a car, a van or a lorry; return half its length and half its width, metres."""
        draw = self.uniform(0.0, 1.0)
        return self.car(place) if draw < 0.55 else self.van(place) if draw < 0.8 else self.lorry(place)

    def car(self, place: Place) -> tuple[float, float]:
        """Add a car; return half its length and half its width, metres."""
        colour, seed = self.choose(BODIES), self.uniform(0.0, 1.0)
        length, width, tall = self.uniform(1.9, 2.2), self.uniform(0.82, 0.9), self.uniform(1.35, 1.6)
        middle, cabin = 0.95, length * 0.55
        self._panel(place, (0.25, middle), (-length, length), width, colour, seed)
        self._panel(place, (middle, tall), (-0.25 - cabin, cabin - 0.25), width - 0.1, colour, seed, glass=True)
        self._wheels(place, (-0.62 * length, 0.64 * length), width, 0.32, seed)
        return length, width

    def van(self, place: Place) -> tuple[float, float]:
        """Add a van with a closed body; return half its length and half its width, metres."""
        colour, seed = self.choose(VANS), self.uniform(0.0, 1.0)
        length, width, tall = self.uniform(2.4, 2.7), self.uniform(0.92, 1.0), self.uniform(1.95, 2.5)
        middle, front = 1.1, length - 0.75
        self._panel(place, (0.3, middle), (-length, length), width, colour, seed)
        self._panel(place, (middle, min(tall, 1.95)), (0.35 * length, front), width - 0.02, colour, seed, glass=True)
        metal = (*colour, *(0.85 * c for c in colour), 0.06, 0.8, seed)
        self._block(place, (middle, tall), (-length, 0.35 * length), width, metal)  # flush: no bright ledge
        dark = (0.03, 0.035, 0.04, 0.05, 0.05, 0.06, 0.1, 0.5, seed)
        if self.chance(0.6):  # windows in the doors behind
            for across in (-0.45 * width, 0.45 * width):
                self._block(place, (1.2, 1.75), (-length - 0.01, -length), 0.34 * width, dark, across)
        self._block(place, (middle, tall - 0.05), (-length - 0.012, -length), 0.015, dark)
        self._wheels(place, (-0.6 * length, 0.62 * length), width, 0.35, seed)
        return length, width

    def lorry(self, place: Place) -> tuple[float, float]:
        """Add a small lorry with a box; return half its length and half its width, metres."""
        place = replace(place, label=TRUCK)
        colour, box, seed = self.choose(BODIES), self.choose(VANS), self.uniform(0.0, 1.0)
        length, width, tall = self.uniform(2.8, 3.1), self.uniform(1.05, 1.12), self.uniform(2.7, 3.2)
        cab = length - 1.5
        self._panel(place, (0.4, 1.25), (cab, length), width - 0.08, colour, seed)
        self._panel(place, (1.25, 2.2), (cab, length - 0.1), width - 0.1, colour, seed, glass=True)
        self._panel(place, (0.45, 0.85), (-length, -length + 0.1), width, (0.05, 0.05, 0.055), seed)  # lamps behind
        steel = (0.05, 0.05, 0.055, 0.09, 0.08, 0.07, 0.3, 0.4, seed)
        self._block(place, (0.5, 0.9), (-length + 0.1, cab), 0.7 * width, steel)
        self._block(place, (0.9, tall), (-length, cab - 0.1), width, (*box, *(0.9 * c for c in box), 0.08, 1.2, seed))
        if self.chance(0.7):  # a stripe round the box
            stripe = self.choose(BODIES)
            low = self.uniform(1.2, 1.8)
            self._block(place, (low, low + self.uniform(0.15, 0.6)), (-length - 0.008, cab - 0.092), width + 0.008,
                        (*stripe, *stripe, 0.08, 1.2, seed))  # fmt: skip
        for across in (-0.01, 0.01):  # the gap between the doors behind
            self._block(place, (0.95, tall - 0.05), (-length - 0.012, -length), 0.012, steel, across)
        self._wheels(place, (-0.7 * length, -0.35 * length, 0.68 * length), width, 0.42, seed)
        return length, width

    def person(self, first_id: int) -> float:
        """Add a person in the axes of objects `first_id` to `first_id` + 4 (see `gait`); return the height, metres."""
        h = self.uniform(1.2, 1.5) if self.chance(0.2) else self.uniform(1.55, 1.9)
        seed, build = self.uniform(0.0, 1.0), self.uniform(0.9, 1.2)
        top, trousers = self._cloth(self.choose(TOPS), seed), self._cloth(self.choose(TROUSERS), seed)
        skin, hair = self._cloth(self.choose(SKIN), seed), self._cloth(self.choose(HAIR), seed)
        bare_arms, shorts, coat, bag = self.chance(0.3), self.chance(0.2), self.chance(0.25), self.chance(0.3)
        shoe = (0.03, 0.025, 0.025, 0.1, 0.09, 0.08, 0.2, 0.2, seed)
        wide, deep = 0.1 * h * build, 0.062 * h * build
        head = max(0.068 * h, 0.108)  # a child's is large for its height
        torso, *limb = (Place(object_id=first_id + part, label=PERSON) for part in range(PARTS))

        def add(place: Place, kind: int, up: float, half: Triple, cloth: tuple[float, ...], along: float = 0.0) -> None:
            self._part(place, kind, (0.0, up, along), half, self.mottled, cloth)

        # Heights above the hip.
        add(torso, CYLINDER, 0.155 * h, (wide, 0.165 * h, deep), top)
        add(torso, BALL, 0.31 * h, (1.28 * wide, 0.055 * h, 0.95 * deep), top)
        add(torso, BALL, -0.01 * h, (0.98 * wide, 0.06 * h, 1.05 * deep), top if coat else trousers)
        add(torso, CYLINDER, 0.37 * h, (0.03 * h, 0.04 * h, 0.03 * h), skin)
        middle = 0.52 * h - head
        add(torso, BALL, middle, (0.76 * head, head, 0.88 * head), skin, 0.01 * h)
        add(torso, BALL, middle + 0.16 * head, (0.84 * head, 0.95 * head, 0.86 * head), hair, -0.016 * h)
        if coat:
            add(torso, CYLINDER, -0.09 * h, (1.04 * wide, 0.13 * h, 1.15 * deep), top)
        if bag:
            sack = self._cloth(self.choose(TOPS), seed)
            add(torso, BOX, 0.2 * h, (0.75 * wide, 0.1 * h, 0.04 * h), sack, -deep - 0.035 * h)
        for arm in limb[:2]:
            sleeve = 0.1 * h if bare_arms else 0.165 * h
            add(arm, CYLINDER, -sleeve, (0.028 * h * build, sleeve, 0.03 * h * build), top)
            if bare_arms:
                add(arm, CYLINDER, -0.25 * h, (0.021 * h, 0.08 * h, 0.021 * h), skin)
            add(arm, BALL, -0.35 * h, (0.022 * h, 0.034 * h, 0.028 * h), skin)
        for leg in limb[2:]:
            cloth = (0.13 if shorts else 0.225) * h
            add(leg, CYLINDER, -cloth, (0.046 * h * build, cloth, 0.05 * h * build), trousers)
            if shorts:
                add(leg, CYLINDER, -0.35 * h, (0.034 * h, 0.1 * h, 0.036 * h), skin)
            add(leg, BOX, (0.02 - LEG) * h, (0.03 * h, 0.02 * h, 0.07 * h), shoe, 0.03 * h)
        return h

    def _cloth(self, colour: tuple[float, ...], seed: float) -> tuple[float, ...]:
        shade = self.uniform(0.75, 1.25)
        worn = tuple(min(shade * c, 0.8) for c in colour)
        return (*worn, *(0.8 * c for c in worn), 0.18, 0.14, seed)

    def _panel(self, place: Place, up: tuple[float, float], along: tuple[float, float], width: float,
               colour: tuple[float, ...], seed: float, *, glass: bool = False) -> None:  # fmt: skip
        """Add a painted part of a vehicle between two heights and two lengths, with lamps or, as a cabin, glass."""
        material = (
            *colour,
            0.0,
            0.0,
            0.0,
            0.0,
            1.0,
            seed,
            float(glass),
            float(place.object_id > 0),
        )  # lamps on where it is driven
        self._block(place, up, along, width, material, paint=self.bodywork)

    def _block(self, place: Place, up: tuple[float, float], along: tuple[float, float], width: float,
               material: tuple[float, ...], across: float = 0.0, *, paint: int | None = None) -> None:  # fmt: skip
        half = (width, (up[1] - up[0]) / 2, (along[1] - along[0]) / 2)
        centre = (across, (up[0] + up[1]) / 2, (along[0] + along[1]) / 2)
        self._part(place, BOX, centre, half, self.mottled if paint is None else paint, material)

    def _wheels(self, place: Place, along: tuple[float, ...], width: float, radius: float, seed: float) -> None:
        tyre = (0.025, 0.025, 0.025, 0.05, 0.05, 0.05, 0.3, 0.3, seed)
        cos, sin = math.cos(place.yaw), math.sin(place.yaw)
        on_side = (0.0, cos, sin, -1.0, 0.0, 0.0, 0.0, -sin, cos)  # the cylinder's axis lies across the vehicle
        for across in (0.08 - width, width - 0.08):
            for where in along:
                self._part(place, CYLINDER, (across, radius, where), (radius, 0.1, radius), self.mottled, tyre,
                           rotation=on_side)  # fmt: skip

    def _part(self, place: Place, kind: int, centre: Triple, half: Triple, paint: int, material: tuple[float, ...], *,
              rotation: tuple[float, ...] | None = None) -> None:  # fmt: skip
        """Add a solid by its place to the right, up and ahead, metres."""
        across, up, along = centre
        cos, sin = math.cos(place.yaw), math.sin(place.yaw)
        x, y, z = place.ground
        self.solids.add(kind, (x + across * cos + along * sin, y - up, z - across * sin + along * cos), half,
                        paint=paint, material=material, yaw=place.yaw, rotation=rotation, object_id=place.object_id,
                        label=place.label)  # fmt: skip


def gait(
    path: Float64[Tensor, "n 3"], ground: float, height: float, spacing: float, phase: float
) -> Float64[Tensor, "n 30"]:
    """Compute the control points of a person's `PARTS`, each (x, y, z, yaw, pitch, roll), who walks along a path.

    `path` holds x, z and yaw at instants `spacing` seconds apart, `ground` is its y, `phase` (radians) of the first
    step. Arms and legs swing with the way that is covered, so that feet keep up with the ground; one who stands hangs
    them. What a quintic spline takes off a swing is added before: a factor sinc(f spacing)^6 at the frequency f.
    """
    x, z, yaw = path.unbind(1)
    way = torch.hypot(x.diff(), z.diff())
    speed = torch.cat((way[:1], way)) / spacing
    step = STEP_LENGTH * height
    turn = torch.cat((way.new_zeros(1), way.cumsum(0))) * (math.pi / step) + phase
    wave = (SHARP * turn.sin()).asin() / math.asin(SHARP)  # nearly a triangle: the foot that stands keeps its place
    reach = SPREAD * math.asin(STEP_LENGTH / (2 * LEG)) * (speed / 0.7).clamp(max=1) * wave
    swing = reach / torch.sinc(speed * spacing / (2 * step)).clamp(min=0.5) ** 6
    hip = ground - LEG * height * reach.cos()
    shoulder, still = hip - SHOULDER * height * 0.94, torch.zeros_like(x)
    parts = ((0.0, hip, still), (-0.138, shoulder, -0.8 * swing), (0.138, shoulder, 0.8 * swing), (-0.052, hip, swing),
             (0.052, hip, -swing))  # fmt: skip
    states = [
        torch.stack((x + across * height * yaw.cos(), y, z - across * height * yaw.sin(), yaw, pitch, still), 1)
        for across, y, pitch in parts
    ]
    return torch.cat(states, 1)
