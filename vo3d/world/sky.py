"""The sky: a gradient, the glow of the sun, clouds, a far line of trees; the colour that haze takes on."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vo3d.world.scene import Light, column
from vo3d.world.textures import fractal_noise

WOODS = 420.0  # metres to the far line of trees; in haze it is gone


def low_sky(light: Light, direction: Float[Tensor, "3 n"]) -> Float[Tensor, "3 #n"]:
    """Compute the colour at the horizon below a direction of any length: that of haze, warmer towards a low sun."""
    horizon = column(light.horizon, direction)
    if not max(light.dusk) > 0:
        return horizon
    sun = column((light.to_sun[0], 0.0, light.to_sun[2]), direction)
    towards = (direction * sun).sum(0) * ((direction * direction).sum(0) * (sun * sun).sum(0)).rsqrt()
    return horizon + column(light.dusk, direction) * (0.5 + 0.5 * towards) ** 3


def clear_sky(light: Light, direction: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
    """Compute the colour of the clear sky in unit directions."""
    up = (-direction[1]).clamp(min=0)
    return torch.lerp(low_sky(light, direction), column(light.zenith, direction), 1 - (1 - up) ** 4)


def sky_light(light: Light, lattice: Tensor, ray: Float[Tensor, "3 n"], pixel_angle: float) -> Float[Tensor, "3 n"]:
    """Paint the sky at infinity: a gradient, a glow about the sun, clouds, and a far line of trees on the horizon."""
    ray = ray * (ray * ray).sum(0).rsqrt()
    up = (-ray[1]).clamp(min=0)
    colour = clear_sky(light, ray)
    glow = (column(light.to_sun, ray) * ray).sum(0).clamp(min=0)
    colour = colour + column(light.sun, ray) * (0.25 * glow**8 + 2.0 * glow**256)
    height = up + 0.12
    x, z = ray[0] / height * 1.5, ray[2] / height * 1.5
    clouds = fractal_noise(lattice, x, z, pixel_angle * 2 / height**2, 1.0, 4)[0]
    cover = ((clouds + light.clouds * 2 - 1) * 1.2).clamp(0, 1) * (up * 8).clamp(0, 1)
    colour = torch.lerp(colour, column(light.cloud, ray), cover * 0.85)
    azimuth = torch.atan2(ray[0], ray[2])
    footprint = torch.full_like(up, pixel_angle)
    trees = 0.035 + 0.025 * fractal_noise(lattice, azimuth, torch.zeros_like(up), footprint, 0.15, 4)[0]
    wooded = ((trees - up) / pixel_angle + 0.5).clamp(0, 1) * min(1.0, math.exp(1 - WOODS / light.haze))
    return torch.lerp(colour, column((0.16, 0.22, 0.17), ray) * light.woods + low_sky(light, ray) * 0.55, wooded)
