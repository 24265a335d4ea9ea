"""A place is the same from everywhere: kilometres from its origin, at the end of what is built, beside the view."""

import math
from dataclasses import replace

import pytest
import torch

from vo3d.world.casting import Camera
from vo3d.world.paints import MATERIAL_SIZE, mottled
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BOX, PLANE
from vo3d.world.render import pinhole_camera, render
from vo3d.world.scene import Light, Scene, SolidList, build_scene
from vo3d.world.sensor import Sensor
from vo3d.world.textures import noise_lattice
from vo3d.world.visit import Visit

SIZE = (64, 208)
STILL = torch.eye(4, dtype=torch.float64)
STONE = (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 1.0, 0.3)
SUN = (0.8, -0.6, 0.0)  # from the right


def plain_with_boxes(place: tuple[float, float], sun: tuple[float, float, float], across: float, **more) -> Scene:
    """A plain, and two boxes that move across it, before a camera at (x, z) that looks ahead; seen 2 metres above."""
    x, z = place
    solids = SolidList(MATERIAL_SIZE)
    solids.add(PLANE, (0.0, 2.0, 0.0), (1.0, 1.0, 1.0), paint=0, material=STONE)
    solids.add(BOX, (0.0, 1.0, 0.0), (1.0, 1.0, 2.0), paint=0, material=STONE, object_id=1)
    solids.add(BOX, (0.0, 0.0, 0.0), (0.4, 2.0, 0.4), paint=0, material=STONE, object_id=2)
    time = torch.arange(-10, 50, dtype=torch.float64) * 0.1
    control = torch.zeros(60, 12, dtype=torch.float64)
    control[:, 0], control[:, 2], control[:, 3] = x + across + 0.7 * time, z + 9.0, 0.3 * time
    control[:, 6], control[:, 8], control[:, 9] = x + across + 3.0, z + 12.0 - 0.9 * time, 0.2
    light = Light(sun, (1.0, 1.0, 1.0), (0.3, 0.3, 0.3), (0.1, 0.2, 0.5), (0.5, 0.5, 0.5), 1e6, 0.0)
    lattice = noise_lattice(torch.Generator().manual_seed(0))
    paths = RigidPath(Spline(control, -1.0, 0.1))
    return Scene(solids.build(), (mottled,), light, paths, paths, lattice, 170.0, **more)


@pytest.mark.parametrize("shadows", [False, True])
def test_views_kilometres_from_the_origin_are_as_exact_as_at_it(shadows: bool) -> None:
    camera = pinhole_camera(SIZE)
    place = (2345.6789, 1987.6543)
    far_pose = STILL.clone()
    far_pose[0, 3], far_pose[2, 3] = place
    far, near = (plain_with_boxes(where, SUN, -1.0, shadows=shadows) for where in (place, (0.0, 0.0)))
    for time in (0.0, 0.37, 2.11):
        one, other = render(far, camera, far_pose, time), render(near, camera, STILL, time)
        assert len(other.mask.unique()) == 3
        same = one.mask == other.mask
        assert int((~same).sum()) <= 2  # outlines
        torch.testing.assert_close(one.depth[same], other.depth[same], atol=3e-5, rtol=1e-6)
        assert int(((one.image - other.image).abs().amax(0) > 1e-3).sum()) <= 12


def test_what_moves_beside_the_view_casts_its_shadow_into_it() -> None:
    scene = plain_with_boxes((0.0, 0.0), SUN, 10.7)
    camera = pinhole_camera(SIZE)
    shift = 100  # pixels more on either side
    K = camera.K.clone()
    K[0, 2] += shift
    wide = render(scene, Camera(K, SIZE[0], SIZE[1] + 2 * shift), STILL, 0.0)
    narrow = render(scene, camera, STILL, 0.0)
    assert not narrow.mask.any()
    bare = render(replace(scene, movers=None, solids=scene.solids.select(torch.tensor([0]))), camera, STILL, 0.0)
    assert int(((bare.image - narrow.image).mean(0) > 0.05).sum()) > 100
    inner = wide.image[:, :, shift:-shift]
    assert int(((inner - narrow.image).abs().amax(0)[:, 1:-1] > 0.01).sum()) <= 4


@pytest.mark.parametrize("place", [11, 23, 31])
def test_a_short_visit_sees_what_a_long_one_sees_to_the_last_bit(place: int) -> None:
    """Also where it ends, and whatever way its camera looks."""
    short, long = (
        build_scene("street", 1, 61, Sensor(), Visit(place_seed=place, traffic=0.0, start=start))
        for start in (0.0, 600.0)
    )
    camera = pinhole_camera(SIZE)
    poses = short.camera.poses(torch.tensor([0.0, 3.0, 6.0], dtype=torch.float64))[:, 0]
    for pose in poses:
        for yaw in (0.0, 0.8, -1.57, math.pi):
            turn = STILL.clone()
            turn[0, 0] = turn[2, 2] = math.cos(yaw)
            turn[0, 2], turn[2, 0] = math.sin(yaw), -math.sin(yaw)
            one, other = (render(scene, camera, pose @ turn, 0.0) for scene in (short, long))
            assert torch.equal(one.depth, other.depth)
            assert int(((one.image - other.image).abs().amax(0) > 4 / 255).sum()) <= 20  # ground at the horizon
