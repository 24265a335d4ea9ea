"""Lamps at night: street lamps, and the head lamps of the car that bears the camera."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional

from vo3d.world.scene import Hits, Scene, column

REACH = 40.0  # metres at which the light of a street lamp ends; it fades over the last quarter
NEAREST = 1.5  # metres within which it is no longer brighter
MOST_LAMPS = 16  # street lamps that light a view: the nearest ahead
HEADLIGHTS = ((-0.62, 1.0, 0.8), (0.62, 1.0, 0.8))  # metres from the camera, in its axes: right, down, ahead


def lamp_light(scene: Scene, hits: Hits, world_T_cam: Float64[Tensor, "4 4"], time: float) -> Float[Tensor, "3 n"]:
    """Compute the light of lamps on surface points, by Lambert's law and the inverse square of the distance.

    Head lamps shine from the pose of the scene's own camera at `time`, whichever camera (`world_T_cam`) looks. No
    lamp casts a shadow.
    """
    light = scene.light
    total = torch.zeros_like(hits.a)
    for lamp in _street_lamps(scene.lamps, world_T_cam.float()):
        total += street_lamp(lamp, hits.world, hits.normal)
    found = column(light.lamps, hits.a) * total
    if max(light.headlights) > 0:
        car = scene.camera.poses(torch.tensor([time], dtype=torch.float64))[0, 0].to(hits.world)
        for place in HEADLIGHTS:
            found += column(light.headlights, hits.a) * _headlight(car, place, hits)
    return found


def street_lamp(
    lamp: Float[Tensor, "3"], world: Float[Tensor, "3 n"], normal: Float[Tensor, "3 n"]
) -> Float[Tensor, " n"]:
    """Compute the light of a lamp of strength 1 on surface points; it shines downwards, and a little sideways."""
    offset = lamp[:, None] - world
    square = (offset * offset).sum(0).clamp(min=1e-6)
    inverse = square.rsqrt()
    facing = ((offset * normal).sum(0) * inverse).clamp(min=0)
    down = (-offset[1] * inverse).clamp(min=0)  # y is down: the cosine between the beam and the plumb line
    end = ((REACH - square * inverse) * (4 / REACH)).clamp(0, 1)
    return facing * (0.08 + 0.92 * down) * end / square.clamp(min=NEAREST**2)


def _street_lamps(lamps: Float[Tensor, "l 3"] | None, world_T_cam: Float[Tensor, "4 4"]) -> list[Tensor]:
    """Return the lamps that may light what the camera sees, the nearest `MOST_LAMPS` of them."""
    if lamps is None or not len(lamps):
        return []
    offset = lamps - world_T_cam[:3, 3]
    ahead = lamps[offset @ world_T_cam[:3, 2] > -REACH]
    nearest = (ahead - world_T_cam[:3, 3]).square().sum(1).argsort()[:MOST_LAMPS]
    return list(ahead[nearest])


def _headlight(car: Float[Tensor, "4 4"], place: tuple[float, float, float], hits: Hits) -> Float[Tensor, " n"]:
    """Compute the light of a head lamp of strength 1: a low beam, wide, and cut off a little below the level."""
    source = car[:3, :3] @ column(place, hits.a) + car[:3, 3:]
    offset = hits.world - source
    across, below, ahead = car[:3, :3].mT @ offset
    ahead = ahead.clamp(min=0.05)
    aside, down = across / ahead, below / ahead
    cut = torch.sigmoid((down - 0.012) * 70)
    beam = torch.exp(-((aside / 0.38) ** 2)) * (0.03 + cut / (1 + (down / 0.08) ** 2))
    square = (offset * offset).sum(0)
    facing = (-(offset * hits.normal).sum(0) * square.rsqrt()).clamp(min=0)
    return torch.where(ahead > 0.05, facing * beam / square, 0.0)


def glare(radiance: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Add the halo that a lens draws about what is brighter than white: a 30th of an image's height wide."""
    height, width = radiance.shape[1:]
    cell = max(height // 32, 1)
    bright = functional.avg_pool2d((radiance - 1).clamp(0, 3)[None], cell, ceil_mode=True)
    for size in (3, 5):
        bright = functional.avg_pool2d(bright, size, stride=1, padding=size // 2)
    return radiance + functional.interpolate(bright, scale_factor=float(cell), mode="bilinear")[0, :, :height, :width]
