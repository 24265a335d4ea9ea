"""Sunlight: the shadows that solids cast on points."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vo3d.world.primitives import ENTER, PLANE
from vo3d.world.scene import Solids

SKIN = 3e-4  # metres that a point is lifted off its surface, so that no solid shades itself by rounding


def lit(
    solids: Solids, world: Float[Tensor, "3 n"], normal: Float[Tensor, "3 n"], to_sun: tuple[float, float, float]
) -> Float[Tensor, " n"]:
    """Return 1 where a surface point (metres) sees the sun past all static solids, else 0; planes cast no shadow.

    The sun stands above the horizon.
    """
    sun = torch.tensor(to_sun, device=world.device)
    sunlit = (normal * sun[:, None]).sum(0) > 0
    solids = solids.select(((solids.object == 0) & (solids.kind != PLANE)).nonzero()[:, 0])
    facing = sunlit.nonzero()[:, 0]
    if len(solids) and len(facing):
        points = (world[:, facing] + SKIN * normal[:, facing]).T.contiguous()
        # A solid matters to a point below its top whose ray passes its ball of radius |half|, as the sun sees them.
        across = torch.linalg.svd(sun[None], full_matrices=True).Vh[1:].T
        reach = torch.linalg.vector_norm(solids.half, dim=1)
        flat, centre = points @ across, solids.centre @ across  # n 2, m 2
        apart = (flat[:, 0] - centre[:, :1]).square() + (flat[:, 1] - centre[:, 1:]).square()  # m n
        top = solids.centre[:, 1] - (solids.rotation[:, 1].abs() * solids.half).sum(1)
        below = points[:, 1] > top[:, None]
        pairs = ((apart < reach.square()[:, None]) & below).nonzero()
        sunlit[facing[shaded(solids, points, pairs[:, 0], pairs[:, 1], to_sun)]] = False
    return sunlit.float()


def shaded(
    solids: Solids, points: Float[Tensor, "n 3"], owner: Tensor, point: Tensor, to_sun: tuple[float, float, float]
) -> Bool[Tensor, " n"]:
    """Find which points lie in the shadow of a solid, testing the pairs (solid `owner`, point index `point`)."""
    dark = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    local_R_world = solids.rotation.mT / solids.half[..., None]
    direction = local_R_world @ torch.tensor(to_sun, device=points.device) + 1e-9
    for kind, enter in ENTER.items():
        if kind == PLANE:
            continue
        chosen = (solids.kind[owner] == kind).nonzero()[:, 0]
        who, where = owner[chosen], point[chosen]
        offset = points[where] - solids.centre[who]
        origin = (local_R_world[who] @ offset[..., None])[..., 0].T
        ray = direction[who].T
        hit = enter((origin[0], origin[1], origin[2]), (ray[0], ray[1], ray[2])) < torch.inf
        dark[where[hit]] = True
    return dark


def shadow_bounds(
    solids: Solids, ground: float, to_sun: tuple[float, float, float]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    """Return the smallest and largest (x, z) of each solid's shadow on the ground y = `ground`; a plane casts none."""
    corners = solids.corners() + solids.centre[:, None]
    length = (ground - corners[..., 1]) / to_sun[1]  # to_sun[1] is negative: a high corner's shadow falls away from it
    x = corners[..., 0] + length * to_sun[0]
    z = corners[..., 2] + length * to_sun[2]
    low, high = torch.stack((x.amin(1), z.amin(1)), 1), torch.stack((x.amax(1), z.amax(1)), 1)
    plane = (solids.kind == PLANE)[:, None]
    return torch.where(plane, math.inf, low), torch.where(plane, -math.inf, high)
