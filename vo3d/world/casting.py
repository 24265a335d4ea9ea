"""Ray casting over 8x8 tiles, each solid only where it may appear: which solid each pixel sees, and how far."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vo3d.world.primitives import ENTER, PLANE
from vo3d.world.scene import Solids

TILE = 8  # pixels: small enough to follow outlines, large enough for batched arithmetic
NEAR, FAR = 0.05, 2000.0  # metres; the ground beyond is as high as a fifth of a pixel, and hidden by haze
NOTHING = torch.iinfo(torch.int64).max

# The 12 edges of a box as pairs of its corners; corner i has the signs of the bits of i.
_EDGES = [(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: intrinsics in pixels, size in pixels."""

    K: Float64[Tensor, "3 3"]
    height: int
    width: int

    @property
    def steepest(self) -> float:
        """Compute the largest |x| / z of what the image, borders included, shows."""
        right, bottom = self.width - 0.5, self.height - 0.5
        corners = self.K.new_tensor([[-0.5, right, -0.5, right], [-0.5, -0.5, bottom, bottom], [1.0, 1.0, 1.0, 1.0]])
        return float((self.K.inverse() @ corners)[0].abs().max())

    @property
    def tiles(self) -> tuple[int, int]:
        """Count the rows and columns of tiles that cover the image."""
        return -(-self.height // TILE), -(-self.width // TILE)

    def untile(self, values: Tensor) -> Tensor:
        """Turn values in tile order, (... tiles 64), into an image (... h w)."""
        rows, columns = self.tiles
        image = values.view(*values.shape[:-2], rows, columns, TILE, TILE).transpose(-3, -2)
        return image.reshape(*values.shape[:-2], rows * TILE, columns * TILE)[..., : self.height, : self.width]


@dataclass(frozen=True)
class Seen:
    """The nearest solid at each pixel, in tile order."""

    solids: Solids  # those that may be in view
    depth: Float[Tensor, "t 64"]  # metres along z; inf where nothing is seen
    solid: Int[Tensor, "t 64"]  # index into `solids`; meaningless where nothing is seen
    pixel: Float[Tensor, "2 t 64"]  # x and y of the pixels

    def of_solid(self, values: Int[Tensor, " n"], nothing: int) -> Int[Tensor, "t 64"]:
        """Return each pixel's own of `values`, one for each solid, or `nothing` where nothing is seen."""
        return torch.where(self.depth < torch.inf, values[self.solid] if len(values) else nothing, nothing)


def cast(solids: Solids, camera: Camera, world_T_cam: Float64[Tensor, "4 4"], view_range: float) -> Seen:
    """Find the nearest solid along every pixel's ray; solids farther than `view_range` metres are left out."""
    device = solids.centre.device
    solids, low, high = _in_view(solids, camera, world_T_cam, view_range)
    rows, columns = camera.tiles
    tile = torch.arange(rows * columns, device=device)
    left, top = (tile % columns * TILE).float(), (tile // columns * TILE).float()
    inner = torch.arange(TILE * TILE, device=device)
    across, down = (inner % TILE).float(), (inner // TILE).float()
    pixel = torch.stack((left[:, None] + across, top[:, None] + down))

    # Normalised axes of a solid <- pixel (x, y, 1): one 3x3 matrix and one origin per solid, in float64.
    local_R_world, middle = solids.normalising(torch.float64)
    turn = (local_R_world @ world_T_cam[:3, :3] @ camera.K.inverse()).float()
    origin = (local_R_world @ (world_T_cam[:3, 3] - middle)[..., None])[..., 0].float()

    nearest = torch.full((rows * columns, TILE * TILE), NOTHING, device=device)
    for kind, enter in ENTER.items():
        of_kind = (solids.kind == kind).nonzero()[:, 0]
        if not len(of_kind):
            continue
        who, where = _pairs(of_kind, low, high, columns)
        start, matrix = origin[who], turn[who]
        corner = matrix @ torch.stack((left[where], top[where], torch.ones_like(left[where])), -1)[..., None] + 1e-9
        direction = [
            torch.addcmul(torch.addcmul(corner[:, i], matrix[:, i, :1], across), matrix[:, i, 1:2], down)
            for i in range(3)
        ]
        t = enter((start[:, :1], start[:, 1:2], start[:, 2:]), (direction[0], direction[1], direction[2]))
        # Positive floats order as their bits do: depth above, the solid below, so that one minimum finds both.
        key = (t.view(torch.int32).long() << 32) | who[:, None]
        nearest.scatter_reduce_(0, where[:, None].expand(-1, TILE * TILE), key, "amin")
    depth = (nearest >> 32).int().view(torch.float32)
    seen = depth < FAR  # NaN where nothing was tested, inf where all tests missed
    return Seen(solids, torch.where(seen, depth, torch.inf), (nearest & 0xFFFFFFFF) * seen, pixel)


def _in_view(
    solids: Solids, camera: Camera, world_T_cam: Float64[Tensor, "4 4"], view_range: float
) -> tuple[Solids, Tensor, Tensor]:
    """Solids that may be in view, with the first and last tile (column, row) that each may touch, shape n 2."""
    offset = solids.seen_from(world_T_cam[:3, 3]).centre
    world_T_cam = world_T_cam.float()
    reach = torch.linalg.vector_norm(solids.half, dim=1)
    ahead = offset @ world_T_cam[:3, 2]
    close = (ahead + reach > NEAR) & (torch.linalg.vector_norm(offset, dim=1) - reach < view_range)
    # A point at x, z is in view where |x| <= slope z; of one that is `reach` away x - slope z differs by no more than
    # reach hypot(1, slope).
    slope = camera.steepest
    wide = (offset @ world_T_cam[:3, 0]).abs() - reach * math.hypot(1, slope) < ahead * slope
    chosen = ((close & wide) | (solids.kind == PLANE)).nonzero()[:, 0]
    solids, offset = solids.select(chosen), offset[chosen]

    corners = solids.corners() + offset[:, None]
    corners = corners @ (world_T_cam[:3, :3] @ camera.K.mT.to(corners))  # homogeneous pixels, z in metres
    ends = corners[:, torch.tensor(_EDGES, device=offset.device).T]  # n 2 12 3
    depth = ends[..., 2]
    step = ((NEAR - depth) / (depth.flip(1) - depth)).clamp(0, 1)  # each end moved along its edge to the near plane
    clipped = torch.where((depth < NEAR)[..., None], ends + step[..., None] * (ends.flip(1) - ends), ends)
    valid = (depth.amax(1, keepdim=True) > NEAR).expand_as(depth)[..., None]
    screen = clipped[..., :2] / clipped[..., 2:].clamp(min=NEAR)
    size = torch.tensor([camera.width - 1, camera.height - 1], device=offset.device)
    plane = (solids.kind == PLANE)[:, None]  # without an end: it may touch every tile
    low = torch.where(plane, 0.0, torch.where(valid, screen, torch.inf).amin((1, 2)))
    high = torch.where(plane, size, torch.where(valid, screen, -torch.inf).amax((1, 2)))
    visible = ((low <= size) & (high >= 0) & (low <= high)).all(1)
    low = (low.clamp(min=0).minimum(size) / TILE).long()
    high = (high.clamp(min=0).minimum(size) / TILE).long()
    return solids.select(visible), low[visible], high[visible]


def _pairs(member: Tensor, low: Tensor, high: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Return every (solid, tile) pair of the members' rectangles of tiles."""
    low, extent = low[member], high[member] - low[member] + 1
    count = extent.prod(1)
    owner = torch.repeat_interleave(torch.arange(len(member), device=member.device), count)
    number = torch.arange(len(owner), device=member.device) - (count.cumsum(0) - count)[owner]
    width = extent[owner, 0]
    tile = (low[owner, 1] + number // width) * columns + low[owner, 0] + number % width
    return member[owner], tile
