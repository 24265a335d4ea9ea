"""Meshes in the rendered world: surfaces as vertices and faces, and how they become solids of a scene.

A mesh is vertices in metres, for each face the numbers of its three corners (in any order: both sides are seen), and
for each vertex its texture coordinates a, b, metres along the surface. Vertices at one place are one, whatever their
texture coordinates. Convention: y is down, so that the upper end of a thing has the smaller y.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from vo3d.errors import Vo3dError
from vo3d.world.labels import UNKNOWN
from vo3d.world.primitives import TRIANGLE
from vo3d.world.scene import SolidList, turn_of

CREASE = math.radians(40)  # faces that meet at less are one smooth surface
THIN = 1e-4  # metres: half the thickness of the box that a triangle lies in
FLATTEST = 1e-6  # height over base of a triangle that has a direction

Mesh = tuple[Float[Tensor, "n 3"], Int[Tensor, "m 3"], Float[Tensor, "n 2"]]


def add_mesh(
    solids: SolidList,
    vertices: Float[Tensor, "n 3"],
    faces: Int[Tensor, "m 3"],
    texture: Float[Tensor, "n 2"] | None = None,
    *,
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    paint: int,
    material: Sequence[float] = (),
    yaw: float = 0.0,
    rotation: Sequence[float] | None = None,
    object_id: int = 0,
    label: int = UNKNOWN,
    crease: float = CREASE,
) -> None:
    """Add the faces of a mesh, one triangle each; its origin comes to `centre`, turned as `SolidList.add` turns.

    Faces that meet at less than `crease` radians are shaded as one smooth surface; with 0 all are flat. Without texture
    coordinates those of a face are two of its x, y, z, the ones that it leans from least, as on a box. Faces without an
    area are left out. Raises Vo3dError for corners or numbers that are none.
    """
    vertices = vertices.double().cpu()
    faces = faces.long().cpu()
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        found = f"{int(faces.min())} to {int(faces.max())}"
        raise Vo3dError(f"faces with corners {found} of {len(vertices)} vertices: expected 0 to {len(vertices) - 1}")
    if not bool(vertices.isfinite().all()):
        raise Vo3dError("a mesh with vertices that are not finite: expected metres: leave their faces out")
    faces, turn, half, apex = _frames(vertices, faces)
    points = vertices[faces]
    middle = 0.5 * (points[:, 0] + points[:, 1]) - half[:, 1:2] * turn[..., 1]
    flat = (points - middle[:, None]) @ turn  # m corners 3, z = 0
    place = torch.unique(vertices, dim=0, return_inverse=True)[1]
    normal = _corner_normals(points, place[faces], turn[..., 2], crease) @ turn
    axis = turn[..., 2].abs().argmax(1, keepdim=True).expand(-1, 3)
    ab = _as_on_a_box(points, axis) if texture is None else texture.double().cpu()[faces]
    given = torch.cat((normal[..., :2] / normal[..., 2:], ab), 2)
    slopes = torch.linalg.solve(torch.cat((torch.ones_like(flat[..., :1]), flat[..., :2]), 2), given)
    placed = torch.tensor(turn_of(yaw, rotation), dtype=torch.float64).view(3, 3)
    middle = middle @ placed.T + torch.tensor(centre, dtype=torch.float64)
    shape = torch.cat((apex[:, None], torch.full_like(apex, len(solids))[:, None], slopes.flatten(1)), 1)
    for at, size, axes, row in zip(
        middle.tolist(), half.tolist(), (placed @ turn).flatten(1).tolist(), shape.tolist(), strict=True
    ):
        solids.add(
            TRIANGLE,
            at,
            size,
            paint=paint,
            material=material,
            rotation=axes,
            object_id=object_id,
            label=label,
            shape=row,
        )


def revolved(profile: Sequence[tuple[float, float]], segments: int = 32) -> Mesh:
    """Turn a profile about the y axis: vases, bowls, cups, lamp shades; `profile` is (radius, y), metres, in order."""
    radius, y = torch.tensor(profile, dtype=torch.float64).T
    angle = (torch.arange(segments + 1) % segments).double() * (2 * math.pi / segments)
    x, z = radius[:, None] * angle.sin(), radius[:, None] * angle.cos()
    return _grid(torch.stack((x, y[:, None].expand_as(x), z), -1))


def bent_sheet(
    widths: Sequence[float], length: float, *, across: float = 0.0, along: float = 0.0, steps: int = 8
) -> Mesh:
    """Bend a sheet: the back of a chair, a leaf, paper. It stands on the origin and faces -z.

    `widths` (metres) are those at equal steps from the lower end to the upper one, at least two; 0 is a tip. The sheet
    is an arc of `across` radians over its largest width, with its sides towards -z, and one of `along` radians from
    its foot, which stands upright, to its top, which leans towards +z.
    """
    width = torch.tensor(widths, dtype=torch.float64)
    s = torch.linspace(0, length, len(width), dtype=torch.float64)
    share = torch.linspace(-0.5, 0.5, steps + 1, dtype=torch.float64)
    side, sag = _arc(width[:, None] * share, across / float(width.max()))
    up, back = _arc(s, along / length)
    lean = s[:, None] * (along / length)  # of the sheet's normal, which is -z at the foot
    y = -up[:, None] - sag * lean.sin()
    z = back[:, None] - sag * lean.cos()
    return _grid(torch.stack((side, y.expand_as(side), z.expand_as(side)), -1))


def superellipsoid(half: Sequence[float], *, round_: float = 8.0, upright: float = 8.0, steps: int = 8) -> Mesh:
    """Blow up a box: (|x|^r + |z|^r)^(u/r) + |y|^u = 1 in half extents, r = `round_`, u = `upright`; from 2 on.

    With 8 and 8 it is a box with round edges, with 6 and 2 a cushion that is thick in the middle, with 2 and 2 a ball.
    Texture runs over six sides as on a box, or, where u < r, over an upper and a lower one.
    """
    cube, faces, side = _cube(steps)
    x, y, z = cube.abs().unbind(1)
    size = ((x**round_ + z**round_) ** (upright / round_) + y**upright) ** (1 / upright)
    extents = torch.tensor(half, dtype=torch.float64)
    points = cube / size[:, None] * extents
    if upright < round_:
        return points, faces, points[:, ::2]
    return points, faces, _as_on_a_box(cube * extents, side)


def tapered_box(half: Sequence[float], taper: float) -> Mesh:
    """Make a box about the origin whose upper side is smaller or larger than its lower one, by a factor `taper`."""
    cube, faces, side = _cube(1)
    scale = torch.where(cube[:, 1:2] < 0, taper, 1.0)
    points = cube * torch.cat((scale, torch.ones_like(scale), scale), 1) * torch.tensor(half, dtype=torch.float64)
    return points, faces, _as_on_a_box(points, side)


def _arc(s: Tensor, curvature: float) -> tuple[Tensor, Tensor]:
    """Compute how far an arc of length s comes along, and off, its direction at s = 0."""
    if abs(curvature) < 1e-9:
        return s, torch.zeros_like(s)
    return (s * curvature).sin() / curvature, (1 - (s * curvature).cos()) / curvature


def _grid(points: Float[Tensor, "r c 3"]) -> Mesh:
    """Make two faces of every four neighbours in a grid of points; a runs along its rows, b along its columns."""
    rows, columns = points.shape[:2]
    number = torch.arange(rows * columns).view(rows, columns)
    lengths = [torch.linalg.vector_norm(points.diff(dim=1 - i), dim=2).mean(i).cumsum(0) for i in range(2)]
    a, b = (functional.pad(length, (1, 0)) - length[-1] / 2 for length in lengths)
    texture = torch.stack((a.expand(rows, -1), b[:, None].expand(-1, columns)), -1).flatten(0, 1)
    p, q, r, s = (part.flatten() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    return points.flatten(0, 1), torch.cat((torch.stack((p, q, r), 1), torch.stack((p, r, s), 1))), texture


def _cube(steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make vertices and faces of the cube [-1, 1]^3 with `steps` squares along each edge.

    Its sides share no vertices; returned third is the axis that the side of each vertex looks along.
    """
    tick = torch.linspace(-1, 1, steps + 1, dtype=torch.float64)
    first, second = torch.meshgrid(tick, tick, indexing="ij")
    square = (torch.stack((torch.full_like(first, end), first, second), -1) for end in (-1.0, 1.0))
    grids = [_grid(points.roll(axis, -1)) for points in square for axis in range(3)]
    count = len(grids[0][0])
    faces = torch.cat([grid[1] + number * count for number, grid in enumerate(grids)])
    return torch.cat([grid[0] for grid in grids]), faces, torch.arange(3).repeat(2).repeat_interleave(count)


def _frames(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the faces that have an area, with their longest side first, their axes, half extents and apex.

    The axes are columns: x along the base, y from the apex to the base, z the normal; the apex is its x from the
    base's middle as a share of the half base.
    """
    points = vertices[faces]
    longest = torch.linalg.vector_norm(points.roll(-1, 1) - points, dim=2).argmax(1)
    faces = faces.gather(1, (longest[:, None] + torch.arange(3)) % 3)
    start, end, top = vertices[faces].unbind(1)
    base = torch.linalg.vector_norm(end - start, dim=1)
    x = (end - start) / base[:, None].clamp(min=1e-300)
    foot = ((top - start) * x).sum(1, keepdim=True)
    down = start + foot * x - top
    height = torch.linalg.vector_norm(down, dim=1)
    whole = height > FLATTEST * base
    faces, x, base, height = faces[whole], x[whole], base[whole], height[whole]
    y = down[whole] / height[:, None]
    half = torch.stack((base / 2, height / 2, torch.full_like(base, THIN)), 1)
    turn = torch.stack((x, y, torch.linalg.cross(x, y)), 2)
    return faces, turn, half, 2 * foot[whole, 0] / base - 1


def _corner_normals(points: Tensor, faces: Tensor, normal: Tensor, crease: float) -> Float[Tensor, "m 3 3"]:
    """Average, at each corner of each face, the normals of the faces there that meet it at less than `crease`.

    Each counts by its angle at the corner, so that the result does not depend on how a surface is cut into triangles.
    """
    ahead, behind = (functional.normalize(points.roll(shift, 1) - points, dim=2) for shift in (-1, 1))
    angle = (ahead * behind).sum(2).clamp(-1, 1).acos().flatten()
    vertex, order = faces.flatten().sort(stable=True)  # corners 3 f + i in the order of their vertices
    count = torch.bincount(vertex)
    first, count = (count.cumsum(0) - count)[vertex], count[vertex]
    one = torch.repeat_interleave(torch.arange(len(order)), count)  # every two corners at one vertex, by their place
    other = order[first[one] + torch.arange(len(one)) - (count.cumsum(0) - count)[one]]
    one = order[one]
    cos = (normal[one // 3] * normal[other // 3]).sum(1)
    smooth = (cos.abs() > math.cos(crease)) | (one == other)
    weight = torch.where(smooth, angle[other] * cos.sign(), 0.0)  # a neighbour may be turned inside out
    total = torch.zeros(len(order), 3, dtype=points.dtype).index_add_(0, one, weight[:, None] * normal[other // 3])
    return functional.normalize(total, dim=1).view(-1, 3, 3)


def _as_on_a_box(points: Float[Tensor, "*b 3"], axis: Int[Tensor, "*b"]) -> Float[Tensor, "*b 2"]:
    """Choose two coordinates of points on sides that look along an axis: along x (z, y), y (x, z), z (x, y)."""
    return points.gather(-1, torch.tensor([[2, 1], [0, 2], [0, 1]])[axis])
