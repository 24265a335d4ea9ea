"""Sunlight: the shadows that solids cast on points."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vo3d.world.primitives import BALL, BOX, CYLINDER, ENTER, PLANE, TRIANGLE, Triple
from vo3d.world.scene import Solids

SKIN = 3e-4  # metres that a point is lifted off its surface, so that no solid shades itself by rounding
RUN = 32  # points that are tested together against a solid
MOST_PAIRS = 4096  # of runs and solids that are tested at once

Enter = Callable[[Triple, Triple], Tensor]


def lit(
    solids: Solids, world: Float[Tensor, "3 n"], normal: Float[Tensor, "3 n"], to_sun: tuple[float, float, float]
) -> Float[Tensor, " n"]:
    """Return 1 where a surface point (metres) sees the sun past all solids, else 0; planes cast no shadow.

    The sun stands above the horizon, the solids are in the world's axes. It is fast where points that follow one
    another lie near one another.
    """
    sun = torch.tensor(to_sun, device=world.device)
    sunlit = (normal * sun[:, None]).sum(0) > 0
    open_ = sunlit.nonzero()[:, 0]
    points = world[:, open_] + SKIN * normal[:, open_]
    for kind in (BOX, BALL, CYLINDER, TRIANGLE):  # houses darken most: what they do, nothing else needs to
        dark = _shaded_runs(solids.select((solids.kind == kind).nonzero()[:, 0]), ENTER[kind], points, sun)
        sunlit[open_[dark]] = False
        open_, points = open_[~dark], points[:, ~dark]
    return sunlit.float()


def _shaded_runs(solids: Solids, enter: Enter, points: Float[Tensor, "3 n"], sun: Tensor) -> Bool[Tensor, " n"]:
    """Find which points lie in the shadow of solids of one kind, testing runs of points where a shadow may fall."""
    count = points.shape[1]
    if not len(solids) or not count:
        return torch.zeros(count, dtype=torch.bool, device=points.device)
    filled = torch.cat((points, points[:, -1:].expand(3, -count % RUN)), 1)
    runs = filled.view(3, -1, RUN)
    # In the sun's axes, two across and one towards it, a shadow is the solid's outline, drawn out away from the sun.
    axes = torch.cat((torch.linalg.svd(sun[None], full_matrices=True).Vh[1:], sun[None]))
    along = (axes @ filled).view(3, -1, RUN)
    low, high = along.amin(-1).T, along.amax(-1).T  # runs 3
    centre = solids.centre @ axes.T
    reach = ((axes @ solids.rotation).abs() * solids.half[:, None]).sum(-1)
    least, most = centre - reach, centre + reach
    least[:, 2] = -torch.inf
    near = ((least < high.amax(0)) & (most > low.amin(0))).all(1).nonzero()[:, 0]
    solids, least, most = solids.select(near), least[near], most[near]
    touch = torch.ones(len(low), len(near), dtype=torch.bool, device=points.device)
    for axis in range(3):
        touch &= low[:, axis, None] < most[:, axis]
        touch &= high[:, axis, None] > least[:, axis]
    local_R_world, middle = solids.normalising()
    direction = (local_R_world @ sun + 1e-9)[..., None]  # m 3 1
    hits = torch.zeros(len(low), RUN, device=points.device)
    for pairs in torch.split(touch.nonzero(), MOST_PAIRS):
        run, who = pairs.T
        origin = local_R_world[who] @ (runs[:, run].transpose(0, 1) - middle[who, :, None])
        ray = direction[who]
        t = enter((origin[:, 0], origin[:, 1], origin[:, 2]), (ray[:, 0], ray[:, 1], ray[:, 2]))
        hits.index_add_(0, run, (t < torch.inf).float())
    return hits.flatten()[:count] > 0


def shaded(
    solids: Solids, points: Float[Tensor, "n 3"], owner: Tensor, point: Tensor, to_sun: tuple[float, float, float]
) -> Bool[Tensor, " n"]:
    """Find which points lie in the shadow of a solid, testing the pairs (solid `owner`, point index `point`)."""
    dark = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    local_R_world, middle = solids.normalising()
    direction = local_R_world @ torch.tensor(to_sun, device=points.device) + 1e-9
    for kind, enter in ENTER.items():
        if kind == PLANE:
            continue
        chosen = (solids.kind[owner] == kind).nonzero()[:, 0]
        who, where = owner[chosen], point[chosen]
        offset = points[where] - middle[who]
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
