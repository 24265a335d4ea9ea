"""Roads: a smooth random line with bends, the speed of a careful driver along it, and a map from ground to road."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

STEP = 0.25  # metres between the points of a line
TILE_METRES = 16.0
CELL = 0.5  # metres between the nodes of the road map
NODES = int(TILE_METRES / CELL) + 1


@dataclass(frozen=True)
class RoadLine:
    """The centre line, sampled every `STEP` metres of its length; x, z in metres on flat ground."""

    point: Float64[Tensor, "n 2"]  # x, z
    heading: Float64[Tensor, " n"]  # yaw, rad: 0 along +z, positive to the right
    curvature: Float64[Tensor, " n"]  # 1/m, positive to the right

    @property
    def length(self) -> float:
        """Metres."""
        return (len(self.point) - 1) * STEP

    def at(self, s: Float64[Tensor, " n"], lateral: Float64[Tensor, " n"] | float = 0.0) -> Float64[Tensor, "n 3"]:
        """x, z and heading at lengths `s`, `lateral` metres to the right of the centre line."""
        position = (s / STEP).clamp(0, len(self.point) - 1.001)
        first = position.long()
        share = position - first
        state = torch.cat((self.point, self.heading[:, None]), 1)
        x, z, heading = torch.lerp(state[first], state[first + 1], share[:, None]).unbind(1)
        return torch.stack((x + lateral * heading.cos(), z - lateral * heading.sin(), heading), 1)

    def distance(self, points: Float64[Tensor, "m 2"]) -> Float64[Tensor, " m"]:
        """Distance of points (x, z) from the line, to within its sampling."""
        return torch.cat([torch.cdist(part, self.point[::2]).amin(1) for part in points.split(2048)])


def random_line(generator: torch.Generator, before: float, length: float, sharpest: float) -> RoadLine:
    """A line that runs straight through the origin along +z, with straights, bends and sharp turns both ways.

    It starts `before` metres before the origin and goes on for `length`; no turn is tighter than `sharpest` metres.
    The heading stays within 75 degrees of one direction, so the line never meets itself.
    """
    count = int((before + length) / STEP) + 2

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    main = uniform(-0.6, 0.6)
    pieces, heading, total = [torch.zeros(int((before + 25) / STEP), dtype=torch.float64)], 0.0, before + 25
    while total < before + length:
        if uniform(0, 1) < 0.6:
            radius, angle = uniform(sharpest, 3 * sharpest), math.radians(uniform(40, 115))
        else:
            radius, angle = uniform(60, 200), math.radians(uniform(8, 35))
        limit = math.radians(75)
        side = 1.0 if heading < main else -1.0
        if uniform(0, 1) < 0.35 and abs(heading - side * angle - main) < limit:
            side = -side
        angle = min(angle, limit - side * (heading - main))
        turn, straight = int(max(angle * radius, 6.0) / STEP), int(uniform(10, 60) / STEP)
        pieces += [torch.full((turn,), side * angle / (turn * STEP), dtype=torch.float64)]
        pieces += [torch.zeros(straight, dtype=torch.float64)]
        heading += side * angle
        total += (turn + straight) * STEP
    curvature = torch.cat(pieces)[:count]
    ease = int(4 / STEP)  # drivers turn the wheel gradually
    kernel = torch.ones(1, 1, 2 * ease + 1, dtype=torch.float64) / (2 * ease + 1)
    padded = torch.nn.functional.pad(curvature[None, None], (2 * ease, 2 * ease), mode="replicate")
    curvature = torch.nn.functional.conv1d(torch.nn.functional.conv1d(padded, kernel), kernel)[0, 0]
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
) -> Float64[Tensor, " n"]:
    """Length along the line reached at each time: random target speeds, slower in bends, limited acceleration.

    Speeds in m/s; the sideways acceleration stays under 3.2 m/s^2, the forward one within +-1.8 m/s^2 (squared speeds
    change by at most 2 a ds, which a running minimum from both sides imposes).
    """
    s = torch.arange(len(line.point), dtype=torch.float64) * STEP
    knots = torch.rand(int(line.length / 45) + 3, generator=generator, dtype=torch.float64)
    place = s / 45
    target = torch.lerp(knots[place.long()], knots[place.long() + 1], place - place.floor())
    target = slowest + (fastest - slowest) * ((target - 0.5) * 1.5 + 0.5).clamp(0, 1)
    square = torch.minimum(target, (3.2 / line.curvature.abs().clamp(min=1e-4)).sqrt()) ** 2
    gain = 2 * 1.8 * s
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

    Square tiles of nodes every `CELL` metres, only where the line is near.
    """

    origin: Float[Tensor, "2"]  # x, z of the first tile's corner
    table: Tensor  # rows columns: number of the tile, 0 where the line is far
    nodes: Float[Tensor, "t 3 k k"]  # length, lateral, sunlit

    def lookup(self, x: Float[Tensor, " n"], z: Float[Tensor, " n"]) -> Float[Tensor, "3 n"]:
        """Length, lateral (positive right) and sunlight, between nodes linearly."""
        column, row = (x - self.origin[0]) / TILE_METRES, (z - self.origin[1]) / TILE_METRES
        rows, columns = self.table.shape
        inside = (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
        i, j = row.long().clamp(0, rows - 1), column.long().clamp(0, columns - 1)
        tile = torch.where(inside, self.table[i, j], 0)
        u, v = ((column - j).clamp(0, 1) * (NODES - 1)), ((row - i).clamp(0, 1) * (NODES - 1))
        p, q = u.long().clamp(max=NODES - 2), v.long().clamp(max=NODES - 2)
        share_u, share_v = u - p, v - q
        flat = self.nodes.permute(1, 0, 2, 3).reshape(3, -1)
        base = (tile * NODES + q) * NODES + p
        top = torch.lerp(flat[:, base], flat[:, base + 1], share_u)
        below = torch.lerp(flat[:, base + NODES], flat[:, base + NODES + 1], share_u)
        return torch.lerp(top, below, share_v)


def road_map(line: RoadLine, width: float) -> RoadMap:
    """The map of all ground within `width` metres of the line (and some more, up to its tiles' borders)."""
    margin = width + TILE_METRES
    origin = line.point.amin(0) - margin
    columns, rows = (((line.point.amax(0) + margin - origin) / TILE_METRES).ceil().long()).tolist()
    coarse = line.point[:: int(2 / STEP)]
    centre_x = origin[0] + (torch.arange(columns, dtype=torch.float64) + 0.5) * TILE_METRES
    centre_z = origin[1] + (torch.arange(rows, dtype=torch.float64) + 0.5) * TILE_METRES
    centres = torch.stack(torch.meshgrid(centre_z, centre_x, indexing="ij")[::-1], -1).view(-1, 2)
    apart = torch.cat([torch.cdist(part, coarse).amin(1) for part in centres.split(4096)])
    used = (apart < width + TILE_METRES * 0.75).nonzero()[:, 0]
    table = torch.zeros(rows * columns, dtype=torch.long)
    table[used] = torch.arange(1, len(used) + 1)
    grid = (torch.arange(NODES, dtype=torch.float64) - (NODES - 1) / 2) * CELL
    local = torch.stack(torch.meshgrid(grid, grid, indexing="ij")[::-1], -1).view(-1, 2)
    nodes = torch.empty(len(used) + 1, 3, NODES * NODES)
    nodes[0, 0], nodes[0, 1], nodes[0, 2] = 0.0, 1000.0, 1.0
    for number, centre in enumerate(centres[used], start=1):
        near = (torch.cdist(centre[None], line.point)[0] < width + 2.5 * TILE_METRES).nonzero()[:, 0]
        points = local + centre
        nearest = near[torch.cdist(points, line.point[near]).argmin(1)]
        heading, offset = line.heading[nearest], points - line.point[nearest]
        along = offset[:, 0] * heading.sin() + offset[:, 1] * heading.cos()
        lateral = offset[:, 0] * heading.cos() - offset[:, 1] * heading.sin()
        nodes[number, 0], nodes[number, 1] = (nearest * STEP + along).float(), lateral.float()
        nodes[number, 2] = 1.0
    return RoadMap(origin.float(), table.view(rows, columns), nodes.view(-1, 3, NODES, NODES))
