"""Meshes as solids: against a ray caster of one triangle, and against the boxes and balls that they imitate."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.geometry.rotations import axis_rotation
from vo3d.world.casting import Camera, cast
from vo3d.world.meshes import Mesh, add_mesh, bent_sheet, revolved, superellipsoid, tapered_box
from vo3d.world.paints import MATERIAL_SIZE, mottled
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BALL, BOX, PLANE
from vo3d.world.render import RenderedView, render
from vo3d.world.scene import Light, Scene, SolidList, check_free, inside_static
from vo3d.world.textures import noise_lattice

CLOTH = (0.7, 0.6, 0.5, 0.5, 0.45, 0.4, 0.2, 0.3, 0.1)
PLAIN = (0.7, 0.6, 0.5, 0.7, 0.6, 0.5, 0.0, 0.3)
PRINT = (0.7, 0.2, 0.2, 0.2, 0.5, 0.6, 0.5, 0.2, 0.3)
TURN = axis_rotation(1, torch.tensor(0.6, dtype=torch.float64)) @ axis_rotation(
    0, torch.tensor(0.5, dtype=torch.float64)
)
CAMERA = Camera(torch.tensor([[90.0, 0, 63.5], [0, 90.0, 47.5], [0, 0, 1]], dtype=torch.float64), 96, 128)
LIGHT = Light((-0.6, -0.64, -0.48), (1.0, 1.0, 0.9), (0.4, 0.4, 0.4), (0.1, 0.2, 0.5), (0.6, 0.7, 0.8), 400.0, 0.3)


def standing() -> Tensor:
    """A camera 1.2 m above the ground that looks down by 20 degrees."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = axis_rotation(0, torch.tensor(-0.35, dtype=torch.float64))
    pose[1, 3] = -1.2
    return pose


def scene_of(solids: SolidList, movers: RigidPath | None = None) -> Scene:
    solids.add(PLANE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), paint=0, material=CLOTH)
    still = RigidPath(Spline(torch.zeros(9, 6, dtype=torch.float64), -1.0, 0.5))
    lattice = noise_lattice(torch.Generator().manual_seed(1))
    return Scene(solids.build(), (mottled,), LIGHT, still, movers, lattice, 50.0, shadows=True)


def alike(first: RenderedView, second: RenderedView, share: float, colour: float, depth: float) -> None:
    """Compare two views but for a share of the pixels, such as those on outlines."""
    same = (first.radiance - second.radiance).abs().amax(0) < colour
    near = (first.depth - second.depth).abs() < depth
    assert float((same & near & (first.mask == second.mask)).float().mean()) > 1 - share


def meets(corners: Tensor, ray: Tensor) -> float:
    """Find where a ray from the origin meets a triangle, by Moeller and Trumbore; inf where it does not."""
    edge, other = corners[1] - corners[0], corners[2] - corners[0]
    across = torch.linalg.cross(ray, other)
    share = torch.linalg.cross(-corners[0], edge)
    volume = float(edge @ across)
    u, v, t = (float(value) / volume for value in (-corners[0] @ across, ray @ share, other @ share))
    return t if u >= 0 and v >= 0 and u + v <= 1 and t > 0 else math.inf


def test_triangles_are_seen_where_a_ray_caster_meets_them(generator):
    vertices = torch.rand(18, 3, generator=generator, dtype=torch.float64) * 3 - torch.tensor([1.5, 1.5, -1.0])
    faces = torch.arange(18).view(6, 3)
    solids = SolidList(MATERIAL_SIZE)
    add_mesh(solids, vertices, faces, paint=0)
    camera = Camera(torch.tensor([[24.0, 0, 19.5], [0, 24.0, 15.5], [0, 0, 1]], dtype=torch.float64), 32, 40)
    depth = camera.untile(cast(solids.build(), camera, torch.eye(4, dtype=torch.float64), 50.0).depth)
    rays = torch.cartesian_prod(torch.arange(32.0), torch.arange(40.0)).flip(1).double()
    rays = torch.cat((rays, torch.ones(len(rays), 1)), 1) @ camera.K.inverse().T
    expected = torch.tensor([min(meets(vertices[face], ray) for face in faces) for ray in rays]).view(32, 40)
    assert 200 < int((expected < torch.inf).sum()) < 1100
    assert int((depth.isinf() != expected.isinf()).sum()) == 0
    torch.testing.assert_close(depth, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("moving", [False, True])
def test_a_box_of_triangles_is_a_box(moving):
    half, centre, turn = (0.3, 0.4, 0.2), (0.2, -0.35, 3.0), TURN.flatten().tolist()
    path = None
    if moving:  # from here to there within the second
        control = torch.zeros(9, 6, dtype=torch.float64)
        control[:, 0], control[:, 3] = torch.linspace(-0.5, 0.5, 9), torch.linspace(-1.0, 1.0, 9)
        path = RigidPath(Spline(control, -1.0, 0.5))
    views = []
    for mesh in (False, True):
        solids = SolidList(MATERIAL_SIZE)
        if mesh:
            add_mesh(solids, *tapered_box(half, 1.0), centre=centre, rotation=turn, paint=0, material=PRINT,
                     object_id=int(moving))  # fmt: skip
        else:
            solids.add(BOX, centre, half, rotation=turn, paint=0, material=PRINT, object_id=int(moving))
        views.append(render(scene_of(solids, path), CAMERA, standing(), 0.7))
    assert moving == bool(views[1].mask.any())
    alike(*views, share=0.002, colour=1e-3, depth=1e-4)


def test_a_round_mesh_is_a_ball_to_the_error_of_its_faces():
    views = []
    for crease in (None, 0.7, 0.0):
        solids = SolidList(MATERIAL_SIZE)
        if crease is None:
            solids.add(BALL, (0.0, -0.5, 3.0), (0.5, 0.5, 0.5), paint=0, material=PLAIN)
        else:
            mesh = superellipsoid((0.5, 0.5, 0.5), round_=2.0, upright=2.0, steps=12)
            add_mesh(solids, *mesh, centre=(0.0, -0.5, 3.0), paint=0, material=PLAIN, crease=crease)
        views.append(render(scene_of(solids), CAMERA, standing(), 0.0))
    ball, smooth, flat = views
    # Chords of edges of 0.083 m, two by two on a diagonal, sag by no more than 0.12^2 / (8 0.5) = 3.5 mm.
    alike(ball, smooth, share=0.005, colour=0.02, depth=0.01)
    wrong = [(ball.radiance - view.radiance).abs().mean() for view in (smooth, flat)]
    assert float(wrong[0]) < 0.4 * float(wrong[1])


@pytest.mark.parametrize("turn", range(3))
def test_no_ray_slips_between_triangles(turn):
    camera = Camera(torch.tensor([[500.0, 0, 255.5], [0, 500.0, 255.5], [0, 0, 1]], dtype=torch.float64), 512, 512)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor([40.0, 1.0, -30.0])
    solids, facing = SolidList(MATERIAL_SIZE), axis_rotation(1, torch.tensor(0.3 * turn, dtype=torch.float64)) @ TURN
    vertices, faces, _ = bent_sheet((3.0,) * 30, 3.0, across=0.6, along=0.5, steps=24)
    add_mesh(solids, vertices, faces, centre=(40.5, 2.5, -27.5), paint=0, rotation=facing.flatten().tolist())
    seen = camera.untile(cast(solids.build(), camera, pose, 50.0).depth) < torch.inf
    assert int(seen.sum()) > 100_000
    assert np.array_equal(binary_fill_holes(seen.numpy()), seen.numpy())


def test_a_surface_has_no_inside():
    solids = SolidList(MATERIAL_SIZE)
    add_mesh(solids, *tapered_box((0.5, 0.5, 0.5), 1.0), centre=(0.0, 0.0, 2.0), paint=0)
    built = solids.build()
    assert not inside_static(built, torch.tensor([[0.0, 0.0, 2.0], [0.1, 0.2, 1.5]])).any()
    poses = torch.eye(4, dtype=torch.float64)[None].repeat(2, 1, 1)
    poses[:, 2, 3] = 2.0
    check_free("the camera", built, poses, torch.arange(2, dtype=torch.float64), "start")


def lengths(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """Lengths of the edges in space, and in texture coordinates."""
    vertices, faces, texture = mesh
    return tuple(
        torch.linalg.vector_norm(points[faces] - points[faces.roll(1, 1)], dim=2) for points in (vertices, texture)
    )


def test_shapes_have_the_sizes_that_were_asked_for():
    vertices, faces, _ = revolved([(0.1, 0.0), (0.2, -0.3)], 24)
    torch.testing.assert_close(vertices[:, ::2].norm(dim=1), torch.tensor([0.1, 0.2]).double().repeat_interleave(25))
    assert len(faces) == 48
    area = 0.5 * torch.linalg.cross(*(vertices[faces].diff(dim=1).unbind(1))).norm(dim=1).sum()
    assert float(area) == pytest.approx(math.pi * 0.3 * math.hypot(0.1, 0.3), rel=0.01)  # of a cone's frustum
    sheet = bent_sheet((0.4, 0.4, 0.4, 0.4, 0.4), 0.6, across=0.5, along=0.0, steps=32)
    space, texture = lengths(sheet)
    torch.testing.assert_close(space, texture, rtol=1e-3, atol=0)  # bent one way paper is not stretched
    leaf, _, _ = bent_sheet((0.0, 0.1, 0.0), 0.3, along=math.pi / 2)
    torch.testing.assert_close(leaf[-1], torch.tensor([0.0, -1.0, 1.0], dtype=torch.float64) * 0.6 / math.pi)
    cushion = superellipsoid((0.5, 0.2, 0.4), round_=6.0, upright=2.0)[0]
    torch.testing.assert_close(cushion.amax(0), torch.tensor([0.5, 0.2, 0.4], dtype=torch.float64))


def test_faces_without_area_are_left_out_and_those_without_corners_refused():
    vertices = torch.tensor([[0.0, 0, 2], [1, 0, 2], [2, 0, 2], [0, 1, 2]])
    solids = SolidList(MATERIAL_SIZE)
    add_mesh(solids, vertices, torch.tensor([[0, 1, 2], [0, 0, 3], [1, 1, 1], [0, 1, 3]]), paint=0)
    assert len(solids) == 1
    with pytest.raises(Vo3dError, match=r"faces with corners 0 to 4 of 4 vertices: expected 0 to 3"):
        add_mesh(solids, vertices, torch.tensor([[0, 1, 4]]), paint=0)
    with pytest.raises(Vo3dError, match=r"not finite"):
        add_mesh(solids, vertices * math.inf, torch.tensor([[0, 1, 3]]), paint=0)
