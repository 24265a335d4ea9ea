"""Roads: a smooth random line with bends, the speed of a careful driver along it, and a map from ground to road."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vo3d.world.scene import Dice, Solids
from vo3d.world.shadows import shaded, shadow_bounds

STEP = 0.25  # metres between the points of a line
WIDEST_TURN = math.radians(75)  # of a line's heading from its main direction
EASE = 4.0  # metres over which drivers turn the wheel
TILE_METRES = 16.0
CELL, SUN_CELL = 0.5, 0.25  # metres between the road map's nodes, for the road's shape and for sunlight


@dataclass(frozen=True)
class RoadLine:
    """The centre line, sampled every `STEP` metres of its length; x, z in metres on flat ground."""

    point: Float64[Tensor, "n 2"]  # x, z
    heading: Float64[Tensor, " n"]  # yaw, rad: 0 along +z, positive to the right
    curvature: Float64[Tensor, " n"]  # 1/m, positive to the right

    @property
    def length(self) -> float:
        """Measure the line, metres."""
        return (len(self.point) - 1) * STEP

    def until(self, s: float) -> "RoadLine":
        """Return the line up to a length, metres."""
        return replace(self, **{name: value[: int(s / STEP) + 2] for name, value in vars(self).items()})

    def at(self, s: Float64[Tensor, " n"], lateral: Float64[Tensor, " n"] | float = 0.0) -> Float64[Tensor, "n 3"]:
        """Find x, z and heading at lengths `s`, `lateral` metres to the right of the centre line."""
        position = (s / STEP).clamp(0, len(self.point) - 1.001)
        first = position.long()
        share = position - first
        state = torch.cat((self.point, self.heading[:, None]), 1)
        x, z, heading = torch.lerp(state[first], state[first + 1], share[:, None]).unbind(1)
        return torch.stack((x + lateral * heading.cos(), z - lateral * heading.sin(), heading), 1)

    def distance(self, points: Float64[Tensor, "m 2"]) -> Float64[Tensor, " m"]:
        """Measure the distance of points (x, z) from the line, to within its sampling."""
        sampled = self.point[::4]
        return torch.cat([torch.cdist(part, sampled).amin(1) for part in torch.split(points, 2048)])

    def keeps_clear(self, points: Float64[Tensor, "m 2"], gap: float) -> bool:
        """Tell whether points (x, z) near to each other are all more than `gap` metres from the line, as `distance`."""
        sampled = self.point[::4]
        inside = ((sampled > points.amin(0) - gap - 1) & (sampled < points.amax(0) + gap + 1)).all(1)
        return not bool((torch.cdist(points, sampled[inside]) <= gap).any())


def random_line(generator: torch.Generator, before: float, length: float, sharpest: float) -> RoadLine:
    """Draw a line that runs straight through the origin along +z, with straights, bends and sharp turns both ways.

    It starts `before` metres before the origin and goes on for `length`; no turn is tighter than `sharpest` metres.
    The heading stays within 75 degrees of one direction, so the line never meets itself. A longer line of the same
    generator has a shorter one as its beginning.
    """
    count = int((before + length) / STEP) + 2
    dice = Dice(generator)
    main = dice.uniform(-0.6, 0.6)
    pieces, heading, total = [torch.zeros(int((before + 25) / STEP), dtype=torch.float64)], 0.0, before + 25
    while total < before + length + 4 * EASE:
        if dice.chance(0.6):
            radius, angle = dice.uniform(sharpest, 3.0 * sharpest), math.radians(dice.uniform(40.0, 115.0))
        else:
            radius, angle = dice.uniform(60.0, 200.0), math.radians(dice.uniform(8.0, 35.0))
        side = 1.0 if heading < main else -1.0
        if dice.chance(0.35) and abs(heading - side * angle - main) < WIDEST_TURN:
            side = -side
        angle = min(angle, WIDEST_TURN - side * (heading - main))
        turn, straight = int(max(angle * radius, 6.0) / STEP), int(dice.uniform(10.0, 60.0) / STEP)
        bend = torch.full((turn,), side * angle / (turn * STEP), dtype=torch.float64)
        pieces += [bend, torch.zeros(straight, dtype=torch.float64)]
        heading += side * angle
        total += (turn + straight) * STEP
    curvature = torch.cat(pieces)
    ease = int(EASE / STEP)
    kernel = torch.ones(1, 1, 2 * ease + 1, dtype=torch.float64) / (2 * ease + 1)
    padded = torch.nn.functional.pad(curvature[None, None], (2 * ease, 2 * ease), mode="replicate")
    curvature = torch.nn.functional.conv1d(torch.nn.functional.conv1d(padded, kernel), kernel)[0, 0, :count]
    heading_line = torch.cat((torch.zeros(1, dtype=torch.float64), (curvature * STEP).cumsum(0)[:-1]))
    middle = heading_line + curvature * STEP / 2
    steps = torch.stack((middle.sin(), middle.cos()), 1) * STEP
    point = torch.cat((torch.zeros(1, 2, dtype=torch.float64), steps.cumsum(0)[:-1]))
    return RoadLine(point - point[round(before / STEP)], heading_line, curvature)


def drive(
    generator: torch.Generator,
    line: RoadLine,
    start: float,
    times: Float64[Tensor, " n"],
    slowest: float,
    fastest: float,
    *,
    sideways: float,
    forward: float,
) -> Float64[Tensor, " n"]:
    """Find the length along the line reached at each time: random target speeds, slower in bends, limited acceleration.

    Speeds in m/s; accelerations stay under `sideways` and within +-`forward`, m/s^2 (squared speeds change by at most
    2 a ds, which a running minimum from both sides imposes).
    """
    s = torch.arange(len(line.point), dtype=torch.float64) * STEP
    knots = torch.rand(int(line.length / 45) + 3, generator=generator, dtype=torch.float64)
    place = s / 45
    target = torch.lerp(knots[place.long()], knots[place.long() + 1], place - place.floor())
    target = slowest + (fastest - slowest) * ((target - 0.4) * 1.6 + 0.5).clamp(0, 1)
    square = torch.minimum(target, (sideways / line.curvature.abs().clamp(min=1e-4)).sqrt()) ** 2
    gain = 2 * forward * s
    square = (square - gain).cummin(0).values + gain
    square = ((square + gain).flip(0).cummin(0).values).flip(0) - gain
    elapsed = torch.cat(
        (torch.zeros(1, dtype=torch.float64), (STEP * 2 / (square[1:].sqrt() + square[:-1].sqrt())).cumsum(0))
    )
    first = round(start / STEP)
    elapsed = elapsed - elapsed[first]
    index = torch.searchsorted(elapsed, times).clamp(1, len(s) - 1)
    share = (times - elapsed[index - 1]) / (elapsed[index] - elapsed[index - 1])
    return (index - 1 + share) * STEP


@dataclass(frozen=True)
class RoadMap:
    """For ground points near a line: the length along it, the signed distance from it, and the sunlight.

    Square tiles of nodes, only where the line is near; tile 0 stands for everywhere else.
    """

    origin: Float[Tensor, "2"]  # x, z of the first tile's corner
    table: Int[Tensor, "rows columns"]  # number of the tile, 0 where the line is far
    corner: Float[Tensor, "t 2"]  # x, z of each tile's corner
    nodes: Float[Tensor, "2 nodes"]  # length, lateral; t k k nodes, k = TILE_METRES / CELL + 1 nodes a side
    sunlit: Float[Tensor, "1 spots"]  # share of sunlight; t q q spots, q = TILE_METRES / SUN_CELL + 1 nodes a side

    def lookup(self, x: Float[Tensor, " n"], z: Float[Tensor, " n"]) -> tuple[Tensor, Tensor, Tensor]:
        """Look up length, lateral (positive right) and sunlight, each of shape n, linear between the nodes."""
        column, row = (x - self.origin[0]) / TILE_METRES, (z - self.origin[1]) / TILE_METRES
        rows, columns = self.table.shape
        inside = (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
        i, j = row.long().clamp(0, rows - 1), column.long().clamp(0, columns - 1)
        tile = torch.where(inside, self.table[i, j], 0)
        u, v = (column - j).clamp(0, 1), (row - i).clamp(0, 1)
        length, lateral = _between_nodes(self.nodes, tile, u, v, CELL)
        return length, lateral, _between_nodes(self.sunlit, tile, u, v, SUN_CELL)[0]


def _between_nodes(nodes: Tensor, tile: Tensor, u: Tensor, v: Tensor, cell: float) -> Tensor:
    side = round(TILE_METRES / cell) + 1
    u, v = u * (side - 1), v * (side - 1)
    p, q = u.long().clamp(max=side - 2), v.long().clamp(max=side - 2)
    base = (tile * side + q) * side + p
    top = torch.lerp(nodes[:, base], nodes[:, base + 1], u - p)
    below = torch.lerp(nodes[:, base + side], nodes[:, base + side + 1], u - p)
    return torch.lerp(top, below, v - q)


def _tile_points(cell: float) -> Float64[Tensor, "k 2"]:
    """Return the nodes of a tile from its corner, x fastest."""
    grid = torch.arange(round(TILE_METRES / cell) + 1, dtype=torch.float64) * cell
    return torch.stack(torch.meshgrid(grid, grid, indexing="ij")[::-1], -1).view(-1, 2)


def road_map(line: RoadLine, width: float) -> RoadMap:
    """Make the map, all in sunlight, of the ground within `width` metres of the line and on to its tiles' borders."""
    margin = width + TILE_METRES
    origin = ((line.point.amin(0) - margin) / TILE_METRES).floor() * TILE_METRES  # nodes are the same for every length
    columns, rows = ((line.point.amax(0) + margin - origin) / TILE_METRES).ceil().long().tolist()
    corner_x = origin[0] + torch.arange(columns, dtype=torch.float64) * TILE_METRES
    corner_z = origin[1] + torch.arange(rows, dtype=torch.float64) * TILE_METRES
    corners = torch.stack(torch.meshgrid(corner_z, corner_x, indexing="ij")[::-1], -1).view(-1, 2)
    coarse = line.point[:: int(2 / STEP)]
    apart = torch.cat([torch.cdist(part + TILE_METRES / 2, coarse).amin(1) for part in torch.split(corners, 4096)])
    used = (apart < width + TILE_METRES * 0.75).nonzero()[:, 0]
    table = torch.zeros(rows * columns, dtype=torch.long)
    table[used] = torch.arange(1, len(used) + 1)
    local = _tile_points(CELL)
    nodes = torch.empty(2, len(used) + 1, len(local))
    nodes[:, 0] = torch.tensor([[0.0], [1000.0]])
    # Every second point of the line: what is lost between them, projecting on the tangent gives back.
    point, turn = line.point[::2], line.heading[::2]
    for number, corner in enumerate(corners[used], start=1):
        apart = torch.linalg.vector_norm(point - corner - TILE_METRES / 2, dim=1)
        near = (apart < apart.min() + 1.42 * TILE_METRES).nonzero()[:, 0]  # no other can be a tile point's nearest
        points = local + corner
        nearest = near[torch.cdist(points, point[near]).argmin(1)]
        heading, offset = turn[nearest], points - point[nearest]
        along = offset[:, 0] * heading.sin() + offset[:, 1] * heading.cos()
        lateral = offset[:, 0] * heading.cos() - offset[:, 1] * heading.sin()
        nodes[0, number], nodes[1, number] = (nearest * 2 * STEP + along).float(), lateral.float()
    corner = torch.cat((torch.zeros(1, 2), corners[used].float()))
    sunlit = torch.ones(1, (len(used) + 1) * len(_tile_points(SUN_CELL)))
    return RoadMap(origin.float(), table.view(rows, columns), corner, nodes.flatten(1), sunlit)


def with_shadows(ground_map: RoadMap, solids: Solids, ground: float, to_sun: tuple[float, float, float]) -> RoadMap:
    """Return the map with the shadows of `solids` on the ground y = `ground`, softened over half a metre."""
    low, high = shadow_bounds(solids, ground, to_sun)
    local = _tile_points(SUN_CELL).float()
    tiles, side = len(ground_map.corner), round(TILE_METRES / SUN_CELL) + 1
    corner = ground_map.corner[1:]
    # Pairs of solids and tiles that their shadows' bounds touch, then of solids and points inside the bounds.
    touching = ((low[:, None] < corner + TILE_METRES) & (high[:, None] > corner)).all(-1).nonzero()
    light = torch.ones(tiles, len(local))
    for pairs in torch.split(touching, 256):
        owner, tile = pairs[:, 0], pairs[:, 1]
        points = corner[tile][:, None] + local
        within = ((points > low[owner][:, None]) & (points < high[owner][:, None])).all(-1).nonzero()
        x, z = points[within[:, 0], within[:, 1]].unbind(1)
        spot = torch.stack((x, torch.full_like(x, ground), z), 1)
        dark = shaded(solids, spot, owner[within[:, 0]], torch.arange(len(spot)), to_sun)
        light[tile[within[dark, 0]] + 1, within[dark, 1]] = 0.0
    blurred = torch.nn.functional.pad(light.view(tiles, 1, side, side), (1, 1, 1, 1), mode="replicate")
    blurred = torch.nn.functional.avg_pool2d(blurred, 3, stride=1)
    return replace(ground_map, sunlit=blurred.reshape(1, -1))
