"""The solids that the world is built of, each a unit shape under an affine map, and their ray casting.

A solid has a centre, a rotation and half extents; in its own normalised axes (`local = R^T (p - c) / half`) a box is
the cube [-1, 1]^3, a cylinder the unit disc in x, z times [-1, 1] in y, a ball the unit ball, a plane y = 0 (its upper
side is -y). A triangle lies in z = 0, seen from both sides: its base is y = 1 with x in [-1, 1], its apex (0, -1), to
which its axes are sheared (`Solids.normalising`). The ray parameter t is unchanged by the affine map, so every solid is
met in its simplest form.
Convention: directions are not normalised; with a camera ray of z = 1 the parameter t is the depth.
"""

import torch
from jaxtyping import Float
from torch import Tensor

PLANE, BOX, CYLINDER, BALL, TRIANGLE = range(5)
# Triangles that share an edge each reach this far beyond it, in half extents and as a share of the ray's origin: more
# than float32 rounds, so that no ray slips between them, and far less than a pixel.
SEAM, SEAM_SHARE = 1e-5, 2e-6

Triple = tuple[Tensor, Tensor, Tensor]


def enter_plane(origin: Triple, direction: Triple) -> Float[Tensor, "..."]:
    """Ray parameter where rays meet the plane y = 0 from its upper side (y < 0); inf where they do not."""
    t = -origin[1] / direction[1]
    return torch.where((direction[1] > 0) & (t > 0), t, torch.inf)


def enter_box(origin: Triple, direction: Triple) -> Float[Tensor, "..."]:
    """Ray parameter where rays enter the cube [-1, 1]^3 (slab method); inf where they miss or start inside."""
    near, far = _slab(origin[0], direction[0])
    for axis in (1, 2):
        next_near, next_far = _slab(origin[axis], direction[axis])
        near, far = torch.maximum(near, next_near), torch.minimum(far, next_far)
    return torch.where((near < far) & (near > 0), near, torch.inf)


def enter_cylinder(origin: Triple, direction: Triple) -> Float[Tensor, "..."]:
    """Ray parameter where rays enter the capped unit cylinder about y; inf where they miss or start inside."""
    middle, reach = _round((origin[0], origin[2]), (direction[0], direction[2]))
    near, far = _slab(origin[1], direction[1])
    near, far = torch.maximum(near, middle - reach), torch.minimum(far, middle + reach)
    return torch.where((near < far) & (near > 0), near, torch.inf)


def enter_ball(origin: Triple, direction: Triple) -> Float[Tensor, "..."]:
    """Ray parameter where rays enter the unit ball; inf where they miss or start inside."""
    middle, reach = _round(origin, direction)
    near = middle - reach
    return torch.where(near > 0, near, torch.inf)


def enter_triangle(origin: Triple, direction: Triple) -> Float[Tensor, "..."]:
    """Ray parameter where rays meet the triangle (-1, 1), (1, 1), (0, -1) in z = 0 from either side; else inf."""
    t = -origin[2] / direction[2]
    x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
    seam = SEAM + SEAM_SHARE * (origin[0].abs() + origin[1].abs())
    return torch.where((t > 0) & (y < 1 + seam) & (x.abs() < 0.5 + 0.5 * y + seam), t, torch.inf)


ENTER = {
    PLANE: enter_plane,
    BOX: enter_box,
    CYLINDER: enter_cylinder,
    BALL: enter_ball,
    TRIANGLE: enter_triangle,
}


def local_normal(kind: Tensor, point: Float[Tensor, "3 n"]) -> tuple[Float[Tensor, "3 n"], Tensor]:
    """Outward normal, in normalised axes and not of unit length, at surface points, and the axis 0..2 it is nearest to.

    A normal of the metric axes is this divided by the half extents. A triangle has no outside: its normal is z or -z.
    """
    size = point.abs()
    radius = torch.hypot(point[0], point[2])
    side = (kind == CYLINDER) & (radius > size[1])
    axis = torch.where(size[0] > size[2], 0, 2)
    upright = torch.where(kind == CYLINDER, ~side, size[1] > torch.maximum(size[0], size[2])) | (kind == PLANE)
    axis = torch.where(kind == TRIANGLE, 2, torch.where(upright, 1, axis))
    face = torch.zeros_like(point).scatter_(0, axis[None], 1.0) * torch.where(point < 0, -1.0, 1.0)
    face = torch.where(kind == PLANE, torch.tensor([[0.0], [-1.0], [0.0]], device=point.device), face)
    around = torch.stack((point[0], torch.zeros_like(radius), point[2]))
    normal = torch.where(side, around, torch.where(kind == BALL, point, face))
    return normal, axis


def within(kind: Tensor, point: Float[Tensor, "*b n 3"]) -> Tensor:
    """Tell which points, in the normalised axes of n solids of a kind, lie inside of them; of a plane: below it.

    Nothing is inside of a triangle, nor of a surface of triangles.
    """
    x, y, z = point.unbind(-1)
    round_ = x * x + z * z < 1
    box = point.abs().amax(-1) < 1
    ball = (point * point).sum(-1) < 1
    shapes = torch.stack((y > 0, box, round_ & (y.abs() < 1), ball, torch.zeros_like(ball)))
    chosen: Tensor = shapes.gather(0, kind.expand(y.shape)[None])[0]
    return chosen


def _slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    inverse = direction.reciprocal()
    middle, reach = -origin * inverse, inverse.abs()
    return middle - reach, middle + reach


def _round(origin: tuple[Tensor, ...], direction: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Middle and half length, as ray parameters, of the chord through the unit circle or ball; NaN where none."""
    square = sum((d * d for d in direction), start=torch.zeros_like(direction[0]))
    along = sum((o * d for o, d in zip(origin, direction, strict=True)), start=torch.zeros_like(direction[0]))
    middle = -along / square
    # The distance of the nearest point: far from the shape this keeps the digits that b^2 - 4ac would lose.
    nearest = sum(
        ((o + middle * d).square() for o, d in zip(origin, direction, strict=True)), start=torch.zeros_like(square)
    )
    return middle, torch.sqrt((1 - nearest) / square)
