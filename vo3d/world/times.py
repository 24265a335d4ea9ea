"""Times of a place: light and weather, drawn from a seed."""

import math

import torch

from vo3d.errors import Vo3dError
from vo3d.world.scene import Dice, Light, generator_of
from vo3d.world.visit import Time

TIMES: tuple[Time, ...] = ("day", "low-sun", "night", "rain", "fog")
Triple = tuple[float, float, float]


def drawn_time(time: Time, seed: int) -> Time:
    """Return the time itself, or for "any" one that is drawn from the seed.

    Raises Vo3dError for a time that there is not.
    """
    if time == "any":
        return TIMES[int(torch.randint(len(TIMES), (), generator=generator_of(seed, "any time")))]
    if time not in TIMES:
        raise Vo3dError(f"no time {time!r}: expected one of {', '.join(TIMES)} or any")
    return time


def outdoor_light(time: Time, seed: int) -> Light:
    """Draw the light under the open sky at a time, "any" included (see `drawn_time`), from a seed."""
    time = drawn_time(time, seed)
    makers = {"day": _day, "low-sun": _low_sun, "night": _night, "rain": _rain, "fog": _fog}
    return makers[time](Dice(generator_of(seed, f"{time} light")))


def _towards(azimuth: float, height: float) -> Triple:
    """Return the unit vector at an azimuth and a height above the horizon, radians."""
    return math.cos(height) * math.sin(azimuth), -math.sin(height), math.cos(height) * math.cos(azimuth)


def _scaled(colour: Triple, factor: float) -> Triple:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _mixed(one: Triple, other: Triple, share: float) -> Triple:
    return tuple(a + share * (b - a) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def _day(dice: Dice) -> Light:
    azimuth, height, clouds, warm = torch.rand(4, generator=dice.generator).tolist()
    sun = 1.5 - 0.5 * clouds
    return Light(
        to_sun=_towards(2 * math.pi * azimuth, math.radians(36 + 28 * height)),
        sun=(sun, sun * (0.93 - 0.06 * warm), sun * (0.84 - 0.12 * warm)),
        ambient=(0.50, 0.56, 0.66),
        zenith=(0.10, 0.24, 0.58),
        horizon=(0.60, 0.70, 0.80),
        haze=420.0,
        clouds=0.25 + 0.5 * clouds,
    )


def _low_sun(dice: Dice) -> Light:
    """Draw a sun 4 to 14 degrees high: the lower, the redder and the weaker."""
    height, clear = dice.uniform(0.0, 1.0), dice.uniform(0.0, 1.0)
    tint = _mixed((1.0, 0.50, 0.20), (1.0, 0.74, 0.46), height)
    return Light(
        to_sun=_towards(dice.uniform(0.0, 2 * math.pi), math.radians(4 + 10 * height)),
        sun=_scaled(tint, 1.9 + 0.5 * height),
        ambient=_scaled(_mixed((0.38, 0.41, 0.52), (0.44, 0.49, 0.60), height), dice.uniform(0.8, 1.0)),
        zenith=_mixed((0.14, 0.20, 0.42), (0.12, 0.25, 0.54), height),
        horizon=_mixed((0.56, 0.47, 0.44), (0.60, 0.57, 0.54), height),
        haze=dice.uniform(220.0, 420.0),
        clouds=0.25 + 0.35 * clear,
        cloud=_mixed((0.85, 0.52, 0.40), (0.95, 0.76, 0.60), height),
        woods=0.25,
        dusk=_scaled(tint, dice.uniform(0.45, 0.8)),
    )


def _night(dice: Dice) -> Light:
    """Draw a night of street lamps, sodium or white, with more or less moon."""
    moon, town = dice.uniform(0.0, 1.0), dice.uniform(0.0, 1.0)
    lamp = _mixed((1.0, 0.56, 0.20), (1.0, 0.66, 0.30), dice.uniform(0.0, 1.0))
    if dice.chance(0.5):
        lamp = _mixed((1.0, 0.84, 0.62), (0.90, 0.96, 1.0), dice.uniform(0.0, 1.0))
    horizon = _mixed((0.040, 0.034, 0.040), (0.085, 0.060, 0.045), town)
    return Light(
        to_sun=_towards(dice.uniform(0.0, 2 * math.pi), math.radians(dice.uniform(30.0, 65.0))),
        sun=_scaled((0.75, 0.86, 1.0), 0.035 * moon),
        ambient=_mixed((0.014, 0.016, 0.024), (0.026, 0.024, 0.027), town),
        zenith=_mixed((0.004, 0.006, 0.014), (0.010, 0.012, 0.022), moon),
        horizon=horizon,
        haze=420.0,
        clouds=dice.uniform(0.2, 0.7),
        cloud=_scaled(horizon, 0.6),
        woods=0.012,
        lamps=_scaled(lamp, dice.uniform(30.0, 48.0)),
        headlights=_scaled((1.0, 0.93, 0.80), dice.uniform(90.0, 160.0)),
        windows=dice.uniform(0.12, 0.5),
    )


def _rain(dice: Dice) -> Light:
    """Draw a rainy day: flat light from a grey sky; what is left of the sun darkens the ground below things."""
    heavy, grey = dice.uniform(0.0, 1.0), dice.uniform(0.0, 1.0)
    bright = 1.0 - 0.25 * heavy
    return Light(
        to_sun=_towards(dice.uniform(0.0, 2 * math.pi), math.radians(72.0)),
        sun=_scaled((0.20, 0.20, 0.20), bright),
        ambient=_scaled(_mixed((0.50, 0.54, 0.60), (0.54, 0.54, 0.56), grey), bright),
        zenith=_scaled((0.42, 0.46, 0.52), bright),
        horizon=_scaled(_mixed((0.56, 0.61, 0.68), (0.62, 0.63, 0.66), grey), bright),
        haze=dice.uniform(150.0, 300.0),
        clouds=0.6,
        cloud=_scaled((0.34, 0.37, 0.42), bright),
        wet=dice.uniform(0.6, 1.0),
        rain=0.25 + 0.75 * heavy,
    )


def _fog(dice: Dice) -> Light:
    """Draw a foggy day: everything fades into one grey."""
    grey = _scaled(_mixed((0.60, 0.63, 0.67), (0.68, 0.67, 0.65), dice.uniform(0.0, 1.0)), dice.uniform(0.8, 1.05))
    return Light(
        to_sun=_towards(dice.uniform(0.0, 2 * math.pi), math.radians(72.0)),
        sun=(0.20, 0.20, 0.19),
        ambient=_scaled(grey, 0.85),
        zenith=_scaled(grey, 1.08),
        horizon=grey,
        haze=dice.uniform(25.0, 70.0),
        clouds=0.0,
        cloud=_scaled(grey, 1.08),
    )
