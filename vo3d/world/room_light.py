"""The light in a room: sky and sun through its window, lamps, and what walls send back, darker where things are near.

Shadows of window and lamps are soft: how much of each light reaches a place is found once, on a grid, by marching
through a field of distances (sphere tracing: Hart, The Visual Computer 1996). That of the sun has sharp edges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vo3d.world.primitives import BALL, CYLINDER, TRIANGLE
from vo3d.world.scene import Hits, Solids, column
from vo3d.world.shadows import lit

CELL = 0.065  # metres between the places of the field of distances
COARSE = 2  # of them from one to the next place of the grid of light
REACH = 0.6  # metres up to which distances are known
SMALL = 0.12  # metres: half length of things that matter close by only
STEPS, SHORTEST, LONGEST = 40, 0.04, 0.16  # of a march, metres
PENUMBRA = 0.14  # slope of a ray's distance from things beside it at which they do not hide any of the light
HALO = 0.35  # metres about a light that hide nothing: its own lamp
AROUND = ((0.04, 0.16), (0.12, 0.18), (0.28, 0.18), (0.60, 0.16))  # metres off a surface, weight of what is nearer
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Lights:
    """The n lights of a room: lamps that shine all around, or parts of a window that shine along a direction."""

    place: Float[Tensor, "n 3"]  # metres
    facing: Float[Tensor, "n 3"]  # unit, or zero for all around
    colour: Float[Tensor, "n 3"]  # the light on a paper one metre before it


@dataclass(frozen=True)
class RoomLight:
    """All the light of a room whose solids stand still."""

    low: Float[Tensor, "3"]  # metres: the least corner of the room
    high: Float[Tensor, "3"]
    distance: Float[Tensor, "1 1 z y x"]  # metres to the nearest surface, at most `REACH`
    reaches: Float[Tensor, "1 n _ _ _"]  # share of each light
    lights: Lights
    above: Triple  # light of walls and ceiling on what looks up
    below: Triple  # of walls and floor on what looks down
    window: Float[Tensor, "3 3"]  # its middle, and its half sides across and down, metres

    def illumination(self, hits: Hits, solids: Solids, offset: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
        """Compute the light on surface points; the solids and the points' `offset` are seen from one place."""
        world, normal = hits.world, hits.normal
        down = 0.5 + 0.5 * normal[1]
        total = torch.lerp(column(self.above, world), column(self.below, world), down) * self._openness(world, normal)
        off = 1.2 * CELL * COARSE
        share = _sampled(self.reaches, world + off * normal, self.low, self.high)
        lights = self.lights
        for number in range(len(lights.place)):
            ray = lights.place[number, :, None] - world
            square = (ray * ray).sum(0)
            ray = ray * square.rsqrt()
            strength = ((ray * normal).sum(0) * 0.9 + 0.1).clamp(min=0) / square.clamp(min=0.3)
            if bool(lights.facing[number].any()):
                strength = strength * -(ray * lights.facing[number, :, None]).sum(0).clamp(max=0)
            total = torch.addcmul(total, lights.colour[number, :, None], strength * share[number])
        return self._add_sun(total, hits, solids, offset)

    def _openness(self, world: Tensor, normal: Tensor) -> Float[Tensor, " n"]:
        """Estimate the share of light from all around that comes to points past what is near.

        Method: ambient occlusion from distances along the normal (Evans, SIGGRAPH course 2006).
        """
        hidden = torch.zeros_like(world[0])
        for step, weight in AROUND:
            near = _sampled(self.distance, world + step * normal, self.low, self.high)[0]
            hidden += weight * (1 - near / step).clamp(0, 1)
        return 1 - hidden

    def _add_sun(self, total: Tensor, hits: Hits, solids: Solids, offset: Tensor) -> Float[Tensor, "3 n"]:
        """Add sunlight where the ray to the sun goes through the window and past all solids."""
        if max(hits.light.sun) == 0:
            return total
        sun = column(hits.light.to_sun, hits.world)[:, 0]
        middle, across, down = self.window
        out = torch.linalg.cross(across, down)
        along = (out * sun).sum()
        if abs(float(along)) < 1e-6:
            return total
        distance = (out @ (middle[:, None] - hits.world)) / along
        there = hits.world + sun[:, None] * distance - middle[:, None]
        inside = (distance > 0) & ((hits.normal * sun[:, None]).sum(0) > 0)
        for side in (across, down):
            inside &= (side @ there).abs() < (side @ side)
        where = inside.nonzero()[:, 0]
        if not len(where):
            return total
        normal = hits.normal[:, where]
        bright = lit(solids, offset[:, where], normal, hits.light.to_sun) * (normal * sun[:, None]).sum(0)
        total[:, where] += column(hits.light.sun, total) * bright
        return total


def room_light(
    solids: Solids, low: Sequence[float], high: Sequence[float], lights: Lights, groups: Sequence[int],
    window: Float[Tensor, "3 3"], above: Triple, below: Triple,
) -> RoomLight:  # fmt: skip
    """Find how far surfaces are from each place in a room, and how much of each light comes there.

    Args:
        solids: what is in the room, and its walls, which are left out: their middles are not in it.
        low: the least corner of the room, metres.
        high: its other corner.
        lights: lamps, and parts of the window.
        groups: the number of one light for each light, whose shadows it takes.
        window: see `RoomLight`.
        above: see `RoomLight`.
        below: see `RoomLight`.
    """
    least, most = torch.tensor(low), torch.tensor(high)
    inside = ((solids.centre > least) & (solids.centre < most)).all(1).nonzero()[:, 0]
    distance = _distances(_without_meshes(solids.select(inside)), least, most)
    reaches = {group: _reach(distance, least, most, lights.place[group]) for group in dict.fromkeys(groups)}
    shares = torch.cat([reaches[group] for group in groups], 1) if groups else distance.new_zeros(1, 0, 2, 2, 2)
    return RoomLight(least, most, distance, shares, lights, above, below, window)


def _sampled(volume: Float[Tensor, "1 c z y x"], points: Tensor, low: Tensor, high: Tensor) -> Float[Tensor, "c n"]:
    """Interpolate a volume, whose outermost values lie on the room's surfaces, at points in metres."""
    place = (points - low[:, None]) * (2 / (high - low))[:, None] - 1
    found = functional.grid_sample(
        volume, place.T[None, None, None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return found[0, :, 0, 0]


def _distances(solids: Solids, low: Tensor, high: Tensor) -> Float[Tensor, "1 1 z y x"]:
    """Compute distances to the nearest surface of the room and of solids, at most `REACH` metres."""
    size = [math.ceil(float(length) / CELL) + 1 for length in high - low]
    axes = [torch.linspace(float(low[i]), float(high[i]), size[i]) for i in range(3)]
    walls = [torch.minimum(axis - axis[0], axis[-1] - axis) for axis in axes]
    field = torch.minimum(torch.minimum(walls[2][:, None, None], walls[1][:, None]), walls[0]).clamp(max=REACH)
    extent = (solids.rotation.abs() * solids.half[:, None]).sum(-1)
    small = solids.half.amax(1) < SMALL
    reach = torch.where(small, 0.25, REACH)[:, None]
    per_metre = (torch.tensor(size) - 1) / (high - low)
    first = ((solids.centre - extent - reach - low) * per_metre).ceil().clamp(min=0).long().tolist()
    last = ((solids.centre + extent + reach - low) * per_metre).floor().long().tolist()
    for number, (start, end) in enumerate(zip(first, last, strict=True)):
        part = tuple(slice(start[i], end[i] + 1) for i in (2, 1, 0))
        if field[part].numel() == 0:
            continue
        at = torch.meshgrid(*(axes[i][part[2 - i]] for i in (2, 1, 0)), indexing="ij")
        offset = torch.stack((at[2], at[1], at[0]), -1) - solids.centre[number]
        away = _outside(int(solids.kind[number]), offset @ solids.rotation[number], solids.half[number])
        if small[number]:  # its distances grow faster from 0.12 m on, so that they end with the box that was looked at
            away = away + 3 * (away - 0.12).clamp(min=0)
        field[part] = torch.minimum(field[part], away)
    return field[None, None]


def _without_meshes(solids: Solids) -> Solids:
    """Return the solids with an egg of its size in the place of every mesh: close enough for soft shadows."""
    if not solids.shape.shape[1]:
        return solids
    mesh = torch.where(solids.kind == TRIANGLE, solids.shape[:, 1].long(), -1)
    first = [int((mesh == number).nonzero()[0, 0]) for number in sorted(set(mesh.tolist())) if number >= 0]
    corners = solids.corners() + solids.centre[:, None]
    kept = solids.select(torch.cat(((mesh < 0).nonzero()[:, 0], torch.tensor(first, dtype=torch.long))))
    for row, number in enumerate(first, len(kept) - len(first)):
        part = corners[mesh == mesh[number]].flatten(0, 1)
        low, high = part.amin(0), part.amax(0)
        kept.kind[row], kept.centre[row], kept.half[row] = BALL, (low + high) / 2, (high - low) / 2
        kept.rotation[row] = torch.eye(3)
    return kept


def _outside(kind: int, local: Float[Tensor, "z y x 3"], half: Float[Tensor, "3"]) -> Float[Tensor, "z y x"]:
    """Compute the signed distance from a solid, in its own axes; of an egg, and of an oval post, an estimate."""
    if kind == BALL:
        egg: Tensor = (torch.linalg.vector_norm(local / half, dim=-1) - 1) * half.min()
        return egg
    beyond = local.abs() - half
    if kind == CYLINDER:
        round_ = torch.hypot(local[..., 0] / half[0], local[..., 2] / half[2]) - 1
        beyond = torch.stack((round_ * torch.minimum(half[0], half[2]), beyond[..., 1]), -1)
    outer: Tensor = torch.linalg.vector_norm(beyond.clamp(min=0), dim=-1)
    return outer + beyond.amax(-1).clamp(max=0)


def _reach(distance: Tensor, low: Tensor, high: Tensor, light: Float[Tensor, "3"]) -> Float[Tensor, "1 1 z y x"]:
    """Compute the share of a light that comes to each place of the grid of light."""
    size = [-(-(length - 1) // COARSE) + 1 for length in distance.shape[2:]]
    axes = [torch.linspace(float(low[i]), float(high[i]), size[2 - i]) for i in (2, 1, 0)]
    grid = torch.meshgrid(*axes, indexing="ij")
    place = torch.stack((grid[2].flatten(), grid[1].flatten(), grid[0].flatten()))
    ray = light[:, None] - place
    length = torch.linalg.vector_norm(ray, dim=0)
    ray = ray / length.clamp(min=1e-6)
    own = _sampled(distance, place, low, high)[0]
    gone, share = torch.full_like(length, 0.06), torch.ones_like(length)
    for _ in range(STEPS):
        near = _sampled(distance, place + gone * ray, low, high)[0]
        part = (near / (PENUMBRA * gone.clamp(min=0.3))).clamp(0, 1)
        share = torch.where(gone < length - HALO, torch.minimum(share, part), share)
        gone = gone + near.clamp(SHORTEST, LONGEST)
    # Places inside of solids take the light of their neighbours, for the surfaces beside them.
    valid = (own > 0).float().view(1, 1, *size)
    share = share.view(1, 1, *size) * valid
    share, weight = (functional.avg_pool3d(each, 3, 1, 1, count_include_pad=False) for each in (share, valid))
    return share / weight.clamp(min=1e-3)
