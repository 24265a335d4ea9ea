"""Times of a room: sun and sky before its window, or its lamps at night, drawn from a seed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.world.furniture import Spot
from vo3d.world.room_light import Lights, RoomLight, Triple, room_light
from vo3d.world.scene import Dice, Light, Solids, generator_of
from vo3d.world.visit import Time

PANES = (3, 2)  # parts of the window, across and down, that light the room


@dataclass(frozen=True)
class Window:
    """A window: its middle in the inner face of its wall, and its half sides, metres."""

    foot: Spot
    floor: float
    wide: float
    tall: float

    def point(self, across: float, down: float, back: float) -> Float[Tensor, "3"]:
        """Return a point, the first two as shares of the half sides, the third metres towards the outside."""
        spot = self.foot.at(across * self.wide, 0.0, back)
        return torch.tensor([spot.x, self.floor - spot.up + down * self.tall, spot.z])

    @property
    def outwards(self) -> Float[Tensor, "3"]:
        """Return the unit vector out of the room."""
        return torch.tensor([math.sin(self.foot.yaw), 0.0, math.cos(self.foot.yaw)])


def lit_room(
    seed: int, time: Time, window: Window, lamps: Sequence[Spot], box: tuple[Triple, Triple], solids: Solids
) -> tuple[Light, RoomLight, Float[Tensor, "l 3"]]:
    """Light a room at a time; return sun and sky, all its light, and how bright the shade of each lamp is."""
    if time == "any":
        time = list(MAKERS)[int(torch.randint(len(MAKERS), (), generator=generator_of(seed, "any time in a room")))]
    dice = Dice(generator_of(seed, f"{time} in a room"))
    light, sky, above, below = MAKERS[time](dice, window)
    glow = torch.zeros(len(lamps), 3)
    places, facing, colours, groups = _panes(window, sky)
    if max(light.sun) > 0:
        _add_patch(light, window, box, places, facing, colours, groups)
    if light.dark:
        on = [dice.chance(0.6) for _ in lamps[:-1]]
        on.append(dice.chance(0.8) or not any(on))  # that below the ceiling
        for number, lamp in enumerate(lamps):
            tint = torch.tensor(light.lamps) * dice.uniform(0.8, 1.2) * (1.5 if number == len(lamps) - 1 else 0.8)
            if on[number]:
                glow[number] = tint * 1.6
                groups.append(len(places))
                places.append(torch.tensor([lamp.x, window.floor - lamp.up, lamp.z]))
                facing.append(torch.zeros(3))
                colours.append(tint)
    lights = Lights(torch.stack(places), torch.stack(facing), torch.stack(colours))
    middle = window.point(0.0, 0.0, 0.0)
    edges = torch.stack((middle, window.point(1.0, 0.0, 0.0) - middle, window.point(0.0, 1.0, 0.0) - middle))
    return light, room_light(solids, *box, lights, groups, edges, above, below), glow


def _panes(window: Window, sky: Triple) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[int]]:
    """Return the parts of the window as lights: places, directions, colours, and the middle one's number for each."""
    columns, rows = PANES
    area = 4 * window.wide * window.tall / (columns * rows)
    places = [
        window.point((2 * i + 1) / columns - 1, (2 * j + 1) / rows - 1, -0.12)
        for j in range(rows)
        for i in range(columns)
    ]
    count = len(places)
    return places, [-window.outwards] * count, [torch.tensor(sky) * area / math.pi] * count, [count // 2 - 2] * count


def _add_patch(
    light: Light, window: Window, box: tuple[Triple, Triple], places: list[Tensor], facing: list[Tensor],
    colours: list[Tensor], groups: list[int],
) -> None:  # fmt: skip
    """Add the light that the floor sends back from where the sun shines on it."""
    sun, middle = torch.tensor(light.to_sun), window.point(0.0, 0.0, 0.0)
    low, high = (torch.tensor(corner) for corner in box)
    ends = torch.where(sun > 0, (middle - low) / sun, (middle - high) / sun)
    place = middle - sun * (ends.clamp(min=0.2).min() - 0.15)
    area = 4 * window.wide * window.tall * max(float((window.outwards * sun).sum()), 0.0)
    groups.append(len(places))
    places.append(place)
    facing.append(torch.tensor([0.0, -1.0, 0.0]))
    colours.append(torch.tensor(light.sun) * torch.tensor([0.36, 0.30, 0.24]) * area / math.pi)


def _sun(window: Window, aside: float, height: float) -> Triple:
    azimuth = window.foot.yaw + aside
    return math.cos(height) * math.sin(azimuth), -math.sin(height), math.cos(height) * math.cos(azimuth)


def _scaled(colour: Triple, factor: float) -> Triple:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _day(dice: Dice, window: Window) -> tuple[Light, Triple, Triple, Triple]:
    """Draw a day of sun or clouds: sun and sky, the light of a pane, that from above and below."""
    clear = dice.uniform(0.0, 1.0)
    sun = 0.0 if clear < 0.25 else 1.0 + 1.4 * clear
    sky = _scaled((0.92, 0.98, 1.06), dice.uniform(6.0, 8.0))
    light = Light(
        to_sun=_sun(window, dice.uniform(-0.9, 0.9), math.radians(dice.uniform(25.0, 55.0))),
        sun=(sun, 0.93 * sun, 0.82 * sun),
        ambient=(0.5, 0.55, 0.62),
        zenith=(0.30, 0.52, 0.95),
        horizon=(0.74, 0.82, 0.92),
        haze=1e6,
        clouds=0.75 - 0.5 * clear,
        cloud=(1.2, 1.2, 1.22),
        woods=1.3,
    )
    bright = dice.uniform(0.9, 1.1)
    return light, sky, _scaled((0.52, 0.51, 0.50), bright), _scaled((0.45, 0.41, 0.36), bright)


def _low_sun(dice: Dice, window: Window) -> tuple[Light, Triple, Triple, Triple]:
    """Draw an evening whose sun shines far into the room."""
    sun = dice.uniform(2.2, 3.0)
    light = Light(
        to_sun=_sun(window, dice.uniform(-0.75, 0.75), math.radians(dice.uniform(9.0, 18.0))),
        sun=(sun, 0.70 * sun, 0.42 * sun),
        ambient=(0.45, 0.42, 0.42),
        zenith=(0.30, 0.38, 0.62),
        horizon=(0.95, 0.78, 0.62),
        haze=1e6,
        clouds=dice.uniform(0.2, 0.5),
        cloud=(1.1, 0.85, 0.7),
        woods=0.7,
        dusk=(0.35, 0.2, 0.08),
    )
    return light, _scaled((1.0, 0.9, 0.82), dice.uniform(3.5, 5.0)), (0.40, 0.36, 0.33), (0.36, 0.30, 0.25)


def _night(dice: Dice, window: Window) -> tuple[Light, Triple, Triple, Triple]:
    """Draw a night with lamps on."""
    warm = dice.uniform(0.0, 1.0)
    lamp = (1.0, 0.72 + 0.14 * warm, 0.44 + 0.28 * warm)
    light = Light(
        to_sun=_sun(window, dice.uniform(-0.8, 0.8), math.radians(40.0)),
        sun=(0.0, 0.0, 0.0),
        ambient=(0.02, 0.02, 0.03),
        zenith=(0.006, 0.008, 0.018),
        horizon=(0.03, 0.028, 0.035),
        haze=1e6,
        clouds=0.4,
        cloud=(0.03, 0.028, 0.032),
        woods=0.03,
        lamps=_scaled(lamp, dice.uniform(0.8, 1.1)),
    )
    return light, (0.02, 0.022, 0.03), _scaled(lamp, 0.22), _scaled(lamp, 0.18)


MAKERS: dict[Time, Callable[[Dice, Window], tuple[Light, Triple, Triple, Triple]]] = {
    "day": _day,
    "low-sun": _low_sun,
    "night": _night,
}
